"""`engine diff` on the toy project: what is compared, what is drift, and the exit status of each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.runs.published.write import write_published
from tests.runs.toy import Toy

NOTHING = "nothing to compare: no published number was measured here\n"


def publish(toy: Toy, slug: str = "words", **score: Any) -> None:
    """Publish what is measured now, as another machine with another `score` would have, years ago."""
    folder = toy.root / "investigations" / slug / "published"
    write_published(toy.ledger(), folder)
    path = folder / "tiny.json"
    data = json.loads(path.read_text())
    data["runs"]["count"]["provenance"]["date"] = "2020-01-01T00:00:00+00:00"
    data["runs"]["count"]["measurements"]["score"] |= score
    path.write_text(json.dumps(data))


def test_a_number_that_was_measured_again_is_replicated_and_the_exit_status_is_0(
    engine: Any, toy: Toy
) -> None:
    publish(toy)
    answer = engine("diff")
    assert (answer.code, answer.err) == (0, "")
    header, row, verdict = answer.out.splitlines()
    assert header.split() == ["number", "model", "published", "here"]
    # Mean of 0 to 19 plus twice eight; the interval is the toy family's own bootstrap.
    assert row.split()[:4] == ["count.score", "tiny", "25.5", "25.5"]
    assert row.endswith("agrees")
    assert verdict == "replicated 1 of 1"


def test_drift_is_marked_at_its_number_and_the_exit_status_is_1(engine: Any, toy: Toy) -> None:
    publish(toy, value=99.0)
    answer = engine("diff")
    assert answer.code == 1
    assert answer.err == ""  # drift is a result, not an error
    _, row, verdict = answer.out.splitlines()
    assert row.split()[:4] == ["count.score", "tiny", "99", "25.5"]
    assert row.endswith("DRIFT")
    assert verdict == "replicated 0 of 1"


@pytest.mark.parametrize(("past_the_end", "code"), [(-0.01, 0), (0.01, 1)])
def test_what_decides_is_whether_the_interval_measured_here_holds_the_published_number(
    engine: Any, toy: Toy, past_the_end: float, code: int
) -> None:
    measurement, _ = toy.ledger().number("count.score")
    assert measurement is not None and measurement.high is not None
    publish(toy, value=measurement.high + past_the_end)
    assert engine("diff").code == code


def test_json_holds_each_comparison_with_both_numbers_and_the_interval(engine: Any, toy: Toy) -> None:
    publish(toy, value=99.0)
    answer = engine("diff", "--json")
    assert answer.code == 1
    (row,) = answer.json["numbers"]
    measurement, _ = toy.ledger().number("count.score")
    assert measurement is not None
    assert row == {
        "name": "count.score",
        "model": "tiny",
        "published": 99.0,
        "fresh": 25.5,
        "low": pytest.approx(measurement.low),
        "high": pytest.approx(measurement.high),
        "agrees": False,
    }


def test_only_the_investigations_that_are_named_are_compared(engine: Any, toy: Toy) -> None:
    publish(toy, value=99.0)
    toy.write("investigations/other/report.md", "# Other\n")
    toy.spec("other")
    assert engine("diff", "other").code == 0
    assert engine("diff", "words").code == 1
    assert engine("diff").code == 1


def test_one_drifting_number_among_several_is_enough_for_exit_status_1(engine: Any, toy: Toy) -> None:
    toy.spec(count={}, more={"parameters": {"k": 2}})
    publish(toy, value=99.0)
    path = toy.root / "investigations/words/published/tiny.json"
    data = json.loads(path.read_text())
    data["runs"]["more"]["provenance"]["date"] = "2020-01-01T00:00:00+00:00"
    path.write_text(json.dumps(data))
    answer = engine("diff")
    assert answer.code == 1
    assert [line.split()[-1] for line in answer.out.splitlines()[1:3]] == ["DRIFT", "agrees"]
    assert answer.out.endswith("replicated 1 of 2\n")


def test_the_numbers_published_from_a_run_must_be_those_of_the_run(engine: Any, toy: Toy) -> None:
    write_published(toy.ledger(), toy.root / "investigations/words/published")
    answer = engine("diff")
    assert answer.code == 0
    assert answer.out == "compared 3 published numbers with their own runs: all are equal\n"
    assert engine("diff", "--json").json["numbers"] == []


def test_a_number_that_was_edited_is_told_beside_the_one_that_its_own_run_measured(
    engine: Any, toy: Toy
) -> None:
    toy.spec(claims={"more": {"holds": "count.score < count.chance"}}, count={})
    write_published(toy.ledger(), toy.root / "investigations/words/published")
    toy.edit("investigations/words/published/tiny.json", '"value": 25.5', '"value": 999.0')
    toy.edit("investigations/words/published/tiny.json", '"contradicted"', '"supported"')
    answer = engine("diff")
    assert answer.code == 1
    rows = [line.split() for line in answer.out.splitlines()]
    assert rows[1] == ["count.measurements.score.value", "tiny", "999.0", "25.5", "NOT", "ITS", "RUN"]
    assert rows[2] == ["claims.more", "tiny", "supported", "contradicted", "DRIFT"]
    assert answer.out.endswith("compared 3 published numbers with their own runs: 1 value differs\n")
    found = engine("diff", "--json").json
    assert [row["here"] for row in (*found["not_its_run"], *found["verdicts"])] == ["25.5", "contradicted"]


def test_an_edited_number_is_compared_with_another_run_as_well(engine: Any, toy: Toy) -> None:
    publish(toy)
    toy.edit("investigations/words/published/tiny.json", '"value": 25.5', '"value": 999.0')
    answer = engine("diff")
    assert answer.code == 1
    assert answer.out.splitlines()[1].split()[:4] == ["count.score", "tiny", "999", "25.5"]


def test_it_measures_nothing_itself(engine: Any, toy: Toy) -> None:
    publish(toy)
    (toy.root / ".engine").rename(toy.root / ".elsewhere")  # a fresh clone
    executed = list(toy.executed)
    answer = engine("diff")
    assert (answer.code, answer.out) == (0, NOTHING)
    assert toy.executed == executed


def test_numbers_of_a_run_that_failed_a_check_are_not_compared(engine: Any, toy: Toy) -> None:
    publish(toy, value=99.0)
    toy.edit("engine/families/count_words.py", "1e-7", "1e-3")
    toy.build()
    assert engine("diff").out == NOTHING


def test_an_unknown_investigation_is_refused_with_the_nearest(engine: Any, toy: Toy) -> None:
    answer = engine("diff", "wrods")
    assert answer.code == 2
    assert "nearest: words" in answer.err
    assert "Traceback" not in answer.err
