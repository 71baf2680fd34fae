"""`mech sweep` on the toy project: the spec it writes, the table it prints, what it resumes and refuses."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from tests.runs.toy import Toy

BASE = "name: words\nfamily: count_words\nmodel: tiny\n"
AXIS = ("--axis", "parameters.k=1,2")


@pytest.fixture
def toy(toy: Toy) -> Toy:
    """A toy project with a spec file to sweep over."""
    toy.write("base.yaml", BASE)
    return toy


def table(toy: Toy, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((toy.root / name).read_text().splitlines()))


def test_a_sweep_is_written_measured_and_taken_up_where_it_stopped(engine: Any, toy: Toy) -> None:
    written = engine("sweep", "--base", "base.yaml", *AXIS, "--output", "sweep.yaml")
    assert (written.code, toy.executed) == (0, [])
    assert "2 points" in written.out
    assert engine("run", "--spec", "sweep.yaml", "--json").code == 0
    more = ("--base", "base.yaml", "--axis", "parameters.k=1,2,3", "--output", "sweep.yaml", "--execute")
    answer = engine("sweep", *more, "--json")
    assert answer.code == 0, answer.err
    assert [row["point"] for row in answer.json] == [{"k": 1}, {"k": 2}, {"k": 3}]
    assert [row["run_id"] for row in answer.json] == [1, 2, 3]
    assert len(toy.executed) == 3
    rows = table(toy, "sweep.csv")
    assert [row["k"] for row in rows] == ["1", "2", "3"]
    assert float(rows[1]["score"]) == 9.5 + 4
    assert float(rows[1]["score_low"]) < float(rows[1]["score"]) < float(rows[1]["score_high"])
    assert rows[1]["score_n"] == "20"


def test_the_table_has_a_line_a_point_and_fits_the_screen(
    engine: Any, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    toy.models(tiny={"hash": "aa11", "n_layers": 4}, small={"hash": "bb22", "n_layers": 12})
    toy.write("base.yaml", BASE.replace("model: tiny", "models: [tiny, small]"))
    answer = engine("sweep", "--base", "base.yaml", *AXIS, "--execute", "--jobs", "2")
    assert answer.code == 0, answer.err
    lines = [line.split() for line in answer.out.splitlines()]
    heads = [line for line in lines if line[:3] == ["model", "k", "run"]]
    assert len(heads) > 1
    assert {name for line in heads for name in line[3:]} == {"score", "n_words", "chance"}
    assert len([line for line in lines if line[:2] == ["small", "2"]]) == len(heads)
    assert not list(toy.root.glob("*.csv"))


def test_a_point_that_fails_is_told_and_the_others_are_there(engine: Any, toy: Toy) -> None:
    axis = ("--axis", "parameters.spoil=nan,fine")
    answer = engine("sweep", "--base", "base.yaml", *axis, "--output", "out.yaml", "--execute")
    assert answer.code == 1
    assert "[spoil=nan] on tiny: not measured: " in answer.out
    rows = table(toy, "out.csv")
    assert [bool(row["score"]) for row in rows] == [False, True]
    assert "score is not a number" in rows[0]["reason"]


def test_hook_sites_are_a_column_and_only_the_sweep_is_measured(engine: Any, toy: Toy) -> None:
    toy.spec(
        one={"hook_site": "blocks.0.hook_resid_pre", "parameters": {"k": 7}, "uses": {"of": "two"}},
        two={"parameters": {"k": 9}},
        three={"parameters": {"k": 11}},
    )
    base = ("--base", "investigations/words/spec.yaml", "--experiment", "one")
    axis = ("--axis", "hook_site=blocks.0.hook_resid_pre,blocks.100%.hook_resid_pre")
    answer = engine("sweep", *base, *axis, "--execute", "--json")
    assert answer.code == 0, answer.err
    sites = [row["point"]["hook_site"] for row in answer.json]
    assert sites == ["blocks.0.hook_resid_pre", "blocks.100%.hook_resid_pre"]
    assert toy.executed == ["tiny k=9 seed=0", "tiny k=7 seed=0", "tiny k=7 seed=0"]
    with toy.store() as store:
        command = store.runs()[-1].record.provenance["command"]
    assert command.startswith("mech sweep --base investigations/words/spec.yaml --axis hook_site=")
    assert command.endswith("--experiment one --execute --model tiny")


def test_without_a_file_the_spec_is_printed_and_a_dry_run_plans(engine: Any, toy: Toy) -> None:
    printed = engine("sweep", "--base", "base.yaml", *AXIS)
    toy.write("again.yaml", printed.out)
    assert engine("run", "--spec", "again.yaml", "--dry-run", "--json").json["runs"][1]["point"] == {"k": 2}
    assert engine("sweep", "--base", "base.yaml", *AXIS, "--json").json["points"] == 2
    dry = engine("sweep", "--base", "base.yaml", *AXIS, "--execute", "--dry-run")
    assert "To measure: 2 runs" in dry.out
    assert toy.executed == []


def test_a_sweep_measured_by_two_processes_is_what_one_measures(engine, project):
    base = ("--base", "investigations/planted/spec.yaml", "--axis", "parameters.named_depth=0.5,0.75")
    answer = engine("sweep", *base, "--execute", "--jobs", "2", "--json")
    assert answer.code == 0, answer.err
    assert [row["point"] for row in answer.json] == [{"named_depth": 0.5}, {"named_depth": 0.75}]
    status = engine("status", "--json").json[0]  # the investigation's own run is the second point
    assert status["state"] == "up to date"
    alone = engine("run", "--name", "planted/lens", "--force", "--json").json[0]
    assert alone["measurements"] == answer.json[1]["measurements"]


BAD = {
    "an unknown parameter": (["--axis", "parameters.sede=1"], "nearest: parameters.seed"),
    "a value of the wrong kind": (["--axis", "parameters.k=much"], "a whole number"),
    "no values": (["--axis", "parameters.k="], "parameters.k=8,16,32"),
    "an experiment that is not there": ([*AXIS, "--experiment", "wards"], "words"),
    "a model that is not there": ([*AXIS, "--execute", "--model", "tinny"], "nearest: tiny"),
    "a file of a person": ([*AXIS, "--output", "base.yaml"], "did not write"),
    "a folder that is not there": ([*AXIS, "--output", "nowhere/sweep.yaml"], "no such folder"),
    "a cluster that does not answer": ([*AXIS, "--execute", "--cluster", "nowhere"], "--cluster"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_refusal_is_one_message_and_nothing_is_measured(engine: Any, toy: Toy, case: str) -> None:
    arguments, needed = BAD[case]
    answer = engine("sweep", "--base", "base.yaml", *arguments)
    assert answer.code == 2
    assert needed in answer.err
    assert toy.executed == []
    assert (toy.root / "base.yaml").read_text() == BASE


def test_a_base_that_is_not_there_is_refused(engine: Any, toy: Toy) -> None:
    answer = engine("sweep", "--base", "bse.yaml", *AXIS)
    assert (answer.code, "nearest: base.yaml" in answer.err) == (2, True)
