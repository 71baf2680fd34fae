"""`mech run`: a spec of a person's own, and one that names a second model, to stored numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.models.micro import WORDS, micro_model
from engine.report.popovers import provenance_facts
from engine.runs.assemble import assemble
from engine.runs.investigation import load_investigation
from engine.runs.planning.plan import make_plan
from engine.runs.sources import project_sources
from engine.runs.store.store import open_store
from tests.conftest import Answer, save_model
from tests.runs.toy import Toy

SPEC = """\
name: diff
family: crosscoder
model: {own}
corpus: text.txt
parameters:
  against: {second}
  n_features: 16
  k: 2
  batch_size: 64
  held_out: 0.2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models with the same tokens and one with others, a text, and a cache of their own."""
    save_model(micro_model(d_model=32), tmp_path / "own")
    save_model(micro_model(d_model=48, n_layers=4, seed=1), tmp_path / "wide")
    save_model(micro_model(vocab_words=WORDS[:9]), tmp_path / "other")
    words = np.random.default_rng(0).choice(WORDS, size=2000)
    (tmp_path / "text.txt").write_text(" ".join(words))
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spec(folder: Path, second: str) -> Path:
    file = folder / "diff.yaml"
    file.write_text(SPEC.format(own=folder / "own", second=second))
    return file


def test_a_spec_with_a_second_model_is_measured_and_its_provenance_names_both(
    folder: Path, engine: Callable[..., Answer]
) -> None:
    file = spec(folder, str(folder / "wide"))
    answer = engine("run", "--spec", file, "--debug")
    assert answer.code == 0, answer.err
    assert "shared_fraction" in answer.out
    investigation, sources = load_investigation(file, project_sources().catalog), project_sources()
    with open_store(folder) as store:
        plan = make_plan([investigation], store, sources)
        assert [run.state for run in plan.runs] == ["up to date"]
        (entry,) = assemble(investigation, store, plan, {}).entries
    assert entry.provenance is not None
    assert set(entry.provenance.second) == {str(folder / "wide")}
    assert str(folder / "wide") in dict(provenance_facts(entry.provenance))["Compared with"]
    sites = entry.tables["by_site"]["site"].unique().tolist()
    assert sites == [f"{folder}/own blocks.1.hook_resid_post", f"{folder}/wide blocks.2.hook_resid_post"]


@pytest.mark.parametrize(
    ("second", "code", "told"),
    [
        ("other", 1, ["own and ", "other do not share a tokenizer", "expected: the "]),
        (
            "wdie",
            2,
            ["diff.yaml:6:12: ", "parameters.against: no model is called", "expected: one of smollm2"],
        ),
        ("smollm2-135m-instuct", 2, ["diff.yaml:6:12: ", "nearest: smollm2-135m-instruct"]),
    ],
)
def test_what_cannot_be_compared_is_told(
    folder: Path, engine: Callable[..., Answer], second: str, code: int, told: list[str]
) -> None:
    answer = engine("run", "--spec", spec(folder, str(folder / second) if second == "other" else second))
    assert answer.code == code
    for words in told:
        assert words in answer.out + answer.err


def test_a_flat_spec_runs_outside_a_project(engine, project, tmp_path, monkeypatch):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    monkeypatch.chdir(outside)
    facts = project / "investigations/planted/facts.csv"
    (outside / "mine.yaml").write_text(
        f"name: mine\nfamily: logit_lens\nmodel: {project / 'model'}\nprompts: {facts}\n"
    )
    answer = engine("run", "--spec", "mine.yaml")
    assert answer.code == 0, answer.err
    assert "commit_layer" in answer.out


def test_a_flat_spec_in_experiments_runs_by_name_without_a_project(
    engine: Callable[..., Answer], toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps = tmp_path / "published/experiments/sweeps"
    sweeps.mkdir(parents=True)
    (sweeps / "k.yaml").write_text("name: by k\nfamily: count_words\nmodel: tiny\nsweep: {k: [1, 2]}\n")
    monkeypatch.chdir(sweeps.parent)
    answer = engine("run", "--name", "by k")
    assert answer.code == 0, answer.err
    assert "k/by_k[k=2] on tiny, run 2" in answer.out
    assert (tmp_path / "published/.engine/runs.db").is_file()
    assert "no experiment 'by'" in engine("run", "--name", "by").err


def test_debug_shows_the_traceback_of_a_failed_run(engine: Callable[..., Answer], toy: Toy) -> None:
    toy.write("mine.yaml", "family: count_words\nmodel: tiny\nparameters: {spoil: error}\n")
    told = engine("run", "--spec", "mine.yaml")
    assert told.code == 1
    assert "the family has a mistake" in told.out
    for arguments in (("--debug", "run"), ("run", "--debug")):
        with pytest.raises(RuntimeError, match="the family has a mistake"):
            engine(*arguments, "--spec", "mine.yaml")
