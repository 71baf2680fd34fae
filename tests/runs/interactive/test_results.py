"""An investigation as Python has it: numbers with their evidence, tables, verdicts, and clear refusals."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.runs.interactive import results
from engine.runs.interactive.results import Results, load
from tests.runs.toy import Toy


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    made = Toy(tmp_path / "project")
    made.spec(
        models=("tiny", "small"),
        claims={"more": {"holds": "count.score > count.chance"}},
        count={},
        sizes={"sweep": {"k": [1, 2]}},
    )
    monkeypatch.setattr(results, "project_sources", made.sources)
    monkeypatch.chdir(made.root)
    return made


def test_a_number_is_a_float_with_its_evidence(toy: Toy) -> None:
    toy.build()
    score = load("words")["count.score"]
    assert score == 25.5 and score + 1 == 26.5 and f"{score:.1f}" == "25.5"
    assert score.low is not None and score.high is not None and score.low < score < score.high
    assert (score.n, score.unit, score.model, score.state) == (20, "word", "tiny", "measured")
    assert score.control is not None and score.control.name == "count.chance"
    assert score.control == 9.5
    assert score.samples is not None and len(score.samples) == 20
    assert repr(score).startswith("25.5 words (95 % CI")
    assert "count.score" in score._repr_html_() and "control" in score._repr_html_()
    again = pickle.loads(pickle.dumps(score))
    assert again == score and again.low == score.low


def test_tables_and_verdicts_are_frames(toy: Toy) -> None:
    toy.build()
    found = load("words")
    assert found.experiments == ["count", "sizes[k=1]", "sizes[k=2]"]
    assert len(found.numbers) == 3 * 3 * 2
    assert list(found.numbers.columns[:3]) == ["name", "model", "value"]
    assert found.tables[0] == "count.words"
    table = found.table("sizes[k=2].words", model="small")
    table["score"] = 0.0
    assert load("words").table("sizes[k=2].words", model="small").loc[3, "score"] == 7
    assert found.verdict("more").verdict == "supported"
    assert set(found.verdicts["verdict"]) == {"supported"}
    assert "words" in repr(found)
    assert "sizes[k=1].score" in found._repr_html_() and "supported" in found._repr_html_()


def test_measurements_runs_checks_and_comparisons_are_frames(toy: Toy) -> None:
    toy.build()
    found = load("words")
    measured = found.measurements.set_index(["name", "model"])
    row = measured.loc[("count.score", "tiny")]
    assert (row["value"], row["n"], row["role"], row["control"]) == (25.5, 20, "finding", "chance")
    assert row["low"] < row["value"] < row["high"] and found.numbers.equals(found.measurements)
    runs = found.provenance
    assert sorted({*runs["experiment"]}) == found.experiments and len(runs) == 3 * 2
    assert all(runs["run_id"].notna()) and all(runs["command"].str.startswith("mech run"))
    run = found["count.score"].provenance
    assert run is not None and runs.loc[0, "key"] == run.key
    assert all(found.checks["passed"]) and {"check", "limit"} <= {*found.checks}
    assert found.comparisons.empty


def test_a_claim_comes_with_its_words_and_its_verdict(toy: Toy) -> None:
    toy.build()
    claim = load("words").claim("more", model="small")
    assert (claim.says, claim.holds) == ("more", "count.score > count.chance")
    assert claim.verdict.verdict == "supported" and claim.specifications.empty
    assert repr(claim).startswith("more on small: supported, holds in 100.000% of replicates")
    assert "count.score &gt; count.chance" in claim._repr_html_()
    frame = load("words").verdicts
    assert frame.loc[0, ["claim", "says", "holds"]].tolist() == ["more", "more", claim.holds]


def test_results_are_gone_through_by_name_and_complete_in_a_notebook(toy: Toy) -> None:
    toy.build()
    found = load("words")
    assert len(list(found)) == len(found) == 9 and "count.score" in found and "score" not in found
    assert found[next(iter(found))] is not None
    assert found._ipython_key_completions_() == list(found)


def test_a_project_elsewhere_is_named_by_its_folder(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.build()
    monkeypatch.chdir(tmp_path)
    assert load("words", project=toy.root)["count.score"] == 25.5
    with pytest.raises(EngineError, match="not inside a project"):
        load("words", project=tmp_path / "nowhere")


def test_a_figure_comes_with_the_table_that_it_draws(toy: Toy) -> None:
    toy.build()
    found = load("words")
    assert found.figures == ["count.scores", "sizes[k=1].scores", "sizes[k=2].scores"]
    figure, table = found.figure("sizes[k=2].scores", model="small")
    assert (figure.kind, figure.columns) == ("strip", {"x": "word", "y": "score"})
    assert table.equals(found.table("sizes[k=2].words", model="small"))
    assert Results(found.ledger, "count").figure("scores")[0] == found.figure("count.scores")[0]
    with pytest.raises(EngineError, match="nearest: scores"):
        found.figure("count.score")


def test_what_was_not_measured_says_why_and_how_to(toy: Toy) -> None:
    with pytest.raises(EngineError, match=r'engine\.run\("words/count"\)'):
        load("words")["count.score"]
    with pytest.raises(EngineError, match=r"count\.words was not measured on tiny"):
        load("words").table("count.words")


@pytest.mark.parametrize(
    ("call", "near"),
    [
        (lambda found: found["score"], "count.score"),
        (lambda found: found["scor"], "sizes[k=2].score"),
        (lambda found: found.table("word"), "count.words"),
        (lambda found: found.figure("scores"), "count.scores"),
    ],
)
def test_a_name_without_its_experiment_is_told_with_where_it_is(
    toy: Toy, call: Callable[[Results], object], near: str
) -> None:
    toy.build()
    with pytest.raises(EngineError) as caught:
        call(load("words"))
    assert near in caught.value.near


def test_what_is_no_name_is_refused(toy: Toy) -> None:
    toy.build()
    with pytest.raises(EngineError, match="by its slug"):
        load(3)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="by its name"):
        load("words")[0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "near"),
    [("cuont.score", "count"), ("count.scor", "score"), ("sizes[k=3].score", "sizes[k=1]")],
)
def test_a_wrong_number_is_told_with_the_nearest(toy: Toy, name: str, near: str) -> None:
    toy.build()
    with pytest.raises(EngineError) as caught:
        load("words")[name]
    assert near in caught.value.near


def test_wrong_slugs_models_claims_and_tables_are_told(toy: Toy) -> None:
    toy.build()
    with pytest.raises(EngineError, match="nearest: words"):
        load("word")
    found = load("words")
    with pytest.raises(EngineError, match="nearest: small"):
        found.number("count.score", model="smal")
    with pytest.raises(EngineError, match="nearest: more"):
        found.verdict("mor")
    with pytest.raises(EngineError, match="nearest: words"):
        found.table("count.word")


def test_outside_of_a_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match="not inside a project"):
        load("words")


def test_of_one_experiment_its_name_goes_without_saying(toy: Toy) -> None:
    toy.build()
    ledger = load("words").ledger
    assert Results(ledger, "count")["score"] == 25.5
    assert Results(ledger, "count").table("words") is not None
    with pytest.raises(EngineError, match=r"sizes\[k=1\]\.score"):
        Results(ledger, "sizes")["score"]
