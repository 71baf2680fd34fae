"""Which harvests no run of a present spec would read any more."""

from __future__ import annotations

from typing import Any

import pytest

from engine.lab.activation_cache import FORMAT
from engine.runs.planning.unneeded_activations import unneeded_activations
from tests.commands.harvests import CORPUS, harvest


@pytest.fixture
def reading(toy: Any) -> Any:
    """A toy project whose experiment reads a corpus."""
    toy.spec(count={"corpus": CORPUS})
    return toy


def unneeded(toy: Any) -> list[str]:
    return [found.folder.name for found in unneeded_activations(toy.plan(), toy.root / ".engine")]


def test_what_a_run_to_be_measured_reads_stays_until_it_is_measured(reading: Any) -> None:
    harvest(reading, "needed")
    assert unneeded(reading) == []
    reading.build()
    assert unneeded(reading) == ["needed"]


def test_model_and_corpus_must_both_be_those_of_one_run(reading: Any) -> None:
    harvest(reading, "needed")
    harvest(reading, "other_corpus", corpus_hash="other")
    harvest(reading, "other_model", model_hash="other")
    assert unneeded(reading) == ["other_corpus", "other_model"]


def test_once_the_code_changed_the_text_is_read_again(reading: Any) -> None:
    harvest(reading, "needed")
    reading.build()
    reading.edit("engine/lab/tools.py", "2 * k", "3 * k")
    assert unneeded(reading) == []


def test_a_harvest_that_an_engine_of_another_format_wrote_is_read_by_nobody(reading: Any) -> None:
    about = harvest(reading, "old") / "about.json"
    about.write_text(about.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    assert unneeded(reading) == ["old"]


def test_without_harvests_there_is_nothing_to_free(reading: Any) -> None:
    assert unneeded(reading) == []
