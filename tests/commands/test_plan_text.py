"""A plan as a person reads it: counts by investigation, and rows only where something is measured."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runs.toy import Toy

SWEEP = {"sweep": {"k": list(range(60))}}
OTHER = {"parameters": {"k": 99}}


@pytest.fixture
def toy(toy: Toy) -> Toy:
    """A toy project of two investigations, where all but one of 61 runs were measured."""
    toy.spec(one=SWEEP, two=OTHER)
    toy.build(select=lambda run: run.experiment == "one")
    toy.spec("others")
    toy.build(select=lambda run: run.slug == "others")
    return toy


def rows(answer: Any, start: str) -> list[list[str]]:
    return [line.split() for line in answer.out.splitlines() if line.startswith(start)]


def test_what_is_up_to_date_is_counted_and_what_is_measured_has_a_row(engine: Any, toy: Toy) -> None:
    answer = engine("build", "--dry-run")
    assert rows(answer, "words ")[0][:5] == ["words", "1", "60", "-", "-"]
    assert rows(answer, "others ") == [["others", "-", "1", "-", "-"]]
    assert rows(answer, "words/two ")[0][1:3] == ["tiny", "measure"]
    assert "words/one" not in answer.out
    assert "To measure: 1 run, about " in answer.out
    assert "--verbose lists every run." in answer.out


def test_verbose_has_a_row_for_every_run(engine: Any, toy: Toy) -> None:
    answer = engine("build", "--dry-run", "--verbose")
    assert len(rows(answer, "words/one[k=")) == 60
    assert len(rows(answer, "others/count ")) == 1
    assert "--verbose" not in answer.out
    assert len(rows(engine("status", "--verbose"), "words/one[k=")) == 60


def test_what_is_asked_for_by_name_has_rows_a_sweep_one_together(engine: Any, toy: Toy) -> None:
    answer = engine("build", "words", "--dry-run")
    (together,) = rows(answer, "words/one ")
    assert " ".join(together) == "words/one (60 points) tiny up to date runs 1, 2, 3, ..."
    assert "others/count" not in answer.out
    (together,) = rows(engine("run", "--name", "words/one", "--force", "--dry-run"), "words/one ")
    assert " ".join(together).startswith("words/one (60 points) tiny measure")


def test_investigations_that_are_up_to_date_share_a_row(engine: Any, toy: Toy) -> None:
    toy.build()
    assert rows(engine("build", "--dry-run"), "2 investigations ")[0][2:4] == ["-", "62"]


def test_a_guess_is_labelled_as_one(engine: Any, toy: Toy) -> None:
    toy.spec("guessed", count={"family": "other"})
    toy.write("engine/families/other.py", (toy.root / "engine/families/count_words.py").read_text())
    answer = engine("build", "guessed", "--dry-run")
    assert "(a guess)" in " ".join(rows(answer, "guessed/count ")[0])
    total = next(line for line in engine("build", "--dry-run").out.splitlines() if "To measure" in line)
    assert "To measure: 2 runs, about " in total
    assert "(partly a guess)" in total
    assert "a guess" not in engine("build", "words", "--dry-run").out


def test_status_lists_what_would_be_measured(engine: Any, toy: Toy) -> None:
    answer = engine("status")
    assert rows(answer, "words ")[0] == ["words", "60", "-", "1", "-"]
    assert len(rows(answer, "words/two ")) == 1
    assert "words/one" not in answer.out
    toy.spec(one={**SWEEP, "parameters": {"seed": 1}}, two=OTHER)
    (together,) = rows(engine("status"), "words/one ")
    assert " ".join(together).startswith("words/one (60 points) tiny stale")
    assert len(rows(engine("status", "others"), "others/count ")) == 1
