"""Prompt sets that parameters name beside the own prompts: judged in the plan, in the key, handed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError
from engine.runs.execution.executor import Task
from engine.runs.execution.ray_node import require_same_inputs
from engine.spec.models import PromptChoice

FAMILY = "engine/families/count_words.py"
FILE = "investigations/words/known.csv"
DECLARED = """
from engine.spec.inputs import CHAT, Inputs

inputs = Inputs(prompt_parameters={'known': CHAT})


class Params("""


@pytest.fixture
def given(toy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The toy, whose family names a prompt set in a parameter, and an experiment that does."""
    monkeypatch.chdir(toy.root)
    toy.edit(FAMILY, "    seed: int = 0\n", "    seed: int = 0\n    known: str = ''\n")
    toy.edit(FAMILY, "\nclass Params(", DECLARED)
    toy.write(FILE, "request\nBonjour?\n")
    toy.count(known="known.csv")
    return toy


def test_its_bytes_are_in_the_key_and_what_changed_is_told_by_parameter_and_name(given: Any) -> None:
    (outcome,) = given.build().values()
    assert set(outcome.run.record.inputs.data) == {"known"}
    assert given.plan().runs[0].state == "up to date"
    given.write(FILE, "request\nBonsoir?\n")
    (run,) = given.plan().runs
    assert (run.state, run.reason) == ("stale", "known known.csv changed")


def test_another_name_is_told_as_a_changed_parameter_alone(given: Any) -> None:
    given.build()
    given.write("investigations/words/others.csv", "request\nHello?\n")
    given.count(known="others.csv")
    (run,) = given.plan().runs
    assert run.reason == "parameter known: known.csv -> others.csv"


def test_an_empty_name_reads_nothing(given: Any) -> None:
    given.count(known="")
    assert given.plan().runs[0].examined.inputs.data == {}


def test_it_is_handed_to_the_family_and_stands_in_the_provenance(given: Any) -> None:
    handed = "    assert lab.further_prompts['known'].amount == '3 prompts'\n"
    family = given.root / FAMILY
    run = next(line for line in family.read_text().splitlines(keepends=True) if line.startswith("def run("))
    given.edit(FAMILY, run, run + handed)
    (entry,) = given.ledger().entries
    assert entry.provenance.read == {"known": "a toy set: 3 prompts"}


def test_what_cannot_be_read_is_told_at_the_parameter(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(choice: PromptChoice, base: Path) -> str:
        raise DataError("no such prompts", seen=str(choice.name))

    sources = replace(given.sources(), data_hash=unreadable)
    monkeypatch.setattr(given, "sources", lambda: sources)
    with pytest.raises(DataError, match=r"no such prompts") as caught:
        given.plan()
    spec = (given.root / "investigations/words/spec.yaml").read_text().splitlines()
    (line,) = [number for number, text in enumerate(spec, 1) if "known" in text]
    assert f"spec.yaml:{line}" in caught.value.where


def test_a_node_with_another_set_is_refused(given: Any) -> None:
    run = given.plan().runs[0].examined
    task = Task(
        name=run.name,
        experiment=run.experiment,
        inputs=run.inputs,
        folder=given.root / "investigations/words",
        store_folder=given.root / ".engine",
    )
    require_same_inputs(given.sources(), task)
    given.write(FILE, "request\nBonsoir?\n")
    with pytest.raises(DataError, match=r"known\.csv is another set on this node"):
        require_same_inputs(given.sources(), task)
