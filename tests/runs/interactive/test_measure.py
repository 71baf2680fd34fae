"""Specs measured from Python: a dictionary, a path, an experiment of the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError, SpecError
from engine.runs.interactive import measure as module
from engine.runs.interactive import results
from engine.runs.interactive.measure import measure, run
from tests.runs.toy import Toy

FLAT = {"family": "count_words", "model": "tiny"}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    made = Toy(tmp_path / "project")
    monkeypatch.setattr(module, "project_sources", made.sources)
    monkeypatch.setattr(results, "project_sources", made.sources)
    monkeypatch.chdir(made.root)
    return made


def test_a_dictionary_is_measured_once(toy: Toy, capsys: pytest.CaptureFixture) -> None:
    assert run({**FLAT, "parameters": {"k": np.int64(3)}})["score"] == 15.5
    assert capsys.readouterr().err.splitlines() == [
        "[1/1] notebook/count_words on tiny: measuring",
        "[1/1] notebook/count_words on tiny: measured",
    ]
    again = run({**FLAT, "parameters": {"k": 3}}, quiet=True)
    assert len(toy.executed) == 1
    provenance = again["score"].entry.provenance
    assert provenance is not None and provenance.run_id == 1
    assert provenance.command.startswith("engine.run({'family': 'count_words'")
    assert capsys.readouterr().err == ""
    run(FLAT | {"parameters": {"k": 3}}, force=True, quiet=True)
    assert len(toy.executed) == 2


def test_an_experiment_of_the_project_is_measured_alone(toy: Toy) -> None:
    toy.spec(models=("tiny", "small"), count={}, other={"parameters": {"k": 1}})
    found = run("words/count", model="small", quiet=True)
    assert toy.executed == ["small k=8 seed=0"]
    assert found.number("score", model="small") == 25.5
    assert results.load("words").number("count.score", model="small") == 25.5


def test_a_path_is_measured_whole(toy: Toy) -> None:
    path = toy.write("own.yaml", "family: count_words\nmodel: tiny\nsweep: {k: [1, 2]}\n")
    for spec in (path, "own.yaml"):
        assert run(spec, quiet=True).experiments == ["count_words[k=1]", "count_words[k=2]"]
    assert len(toy.executed) == 2


def test_a_family_is_measured_by_its_parameters(toy: Toy) -> None:
    assert measure("count_words", model="tiny", k=3, quiet=True)["score"] == 15.5
    assert measure("count_words", model="tiny", quiet=True)["score"] == 25.5


def test_no_family_has_a_parameter_that_measure_takes_itself() -> None:
    import inspect

    from engine import families

    own = set(inspect.signature(measure).parameters) - {"parameters"}
    for name in families.names():
        assert not own & set(families.params_model(name).model_fields), name


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({**FLAT, "family": "count_word"}, "<spec>: family: unknown family"),
        ({**FLAT, "paramters": {}}, "nearest: parameters"),
        ({**FLAT, "parameters": {"kk": 1}}, "<spec>: parameters.kk: unknown key"),
        ({"family": "count_words"}, "no model is named"),
        ("words/cuont", "nearest: words/count"),
        ("nowhere.yaml", "there is no such file"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(toy: Toy, spec: object, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(spec, quiet=True)  # pyright: ignore[reportArgumentType]
    assert said in str(caught.value)


def test_a_run_that_fails_is_an_error_with_its_reason(toy: Toy) -> None:
    with pytest.raises(EngineError, match="the family has a mistake"):
        measure("count_words", model="tiny", spoil="error", quiet=True)


def test_a_check_that_fails_keeps_the_numbers_back(toy: Toy) -> None:
    with pytest.raises(EngineError, match="check identity failed"):
        measure("count_words", model="tiny", spoil="check", quiet=True)


def test_a_model_that_cannot_be_had_is_an_error_with_its_reason(toy: Toy) -> None:
    toy.models(away={"hash": "cc33", "n_layers": 4, "reason": "the hub is out of reach"})
    with pytest.raises(EngineError, match="the hub is out of reach"):
        measure("count_words", model="away", quiet=True)


def test_another_model_than_the_specs_is_refused(toy: Toy) -> None:
    with pytest.raises(EngineError, match="one of tiny"):
        run(FLAT, model="small", quiet=True)
