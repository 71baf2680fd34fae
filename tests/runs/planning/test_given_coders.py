"""Dictionaries that an experiment is given: their bytes in the key, their absence and misfit in the plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError, SpecError
from engine.lab.sparse.coder import random_coder
from engine.lab.sparse.saelens import write_saelens
from engine.lab.sparse.saelens_config import CONFIG, folder_hash
from engine.runs.assemble import assemble
from engine.runs.published.write import write_published

FAMILY = "engine/families/count_words.py"
SITE = "blocks.2.hook_resid_post"
DECLARED = """
from engine.spec.inputs import Inputs

inputs = Inputs(site=True, coder_parameters=('coder',))


class Params("""
PATH = "./dictionaries/theirs"


@pytest.fixture
def given(toy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The toy, whose family takes a dictionary, one in its project, and an experiment that names it."""
    monkeypatch.chdir(toy.root)
    before = toy.plan().runs[0].examined.inputs
    toy.edit(FAMILY, "    seed: int = 0\n", "    seed: int = 0\n    coder: str | None = None\n")
    toy.edit(FAMILY, "\nclass Params(", DECLARED)
    toy.before = before
    write(toy.root / "dictionaries/theirs")
    toy.spec(count={"hook_site": SITE, "parameters": {"coder": "dictionaries/theirs"}})
    return toy


def write(folder: Path, model: str = "tiny", seed: int = 0) -> None:
    write_saelens(random_coder(8, 16, 2, seed=seed), folder, model_name=model, hook_name=SITE)


def test_its_bytes_are_part_of_the_key(given: Any) -> None:
    (outcome,) = given.build().values()
    record = outcome.run.record
    assert record.inputs.experiment["parameters"]["coder"] == PATH
    assert list(record.inputs.coders) == [PATH]
    assert given.plan().runs[0].state == "up to date"
    write(given.root / "dictionaries/theirs", seed=1)
    (run,) = given.plan().runs
    assert (run.state, run.reason) == ("stale", f"dictionary {PATH} changed")


def test_its_hash_is_part_of_the_provenance_here_and_where_it_is_published(given: Any) -> None:
    folder = given.root / "dictionaries/theirs"
    (entry,) = given.ledger().entries
    assert entry.provenance.coders == {PATH: folder_hash(folder)}
    with given.store() as store:
        ledger = assemble(given.investigations()[0], store, given.plan())
        write_published(ledger, given.root / "investigations/words/published")
        store.remove(store.runs())
    (entry,) = given.ledger(measure=False).entries
    assert entry.state == "published"
    assert entry.provenance.coders == {PATH: folder_hash(folder)}


def test_an_experiment_without_one_is_what_it_was_before_the_family_had_the_field(given: Any) -> None:
    given.count()
    given.edit(FAMILY, "site=True, ", "")
    inputs = given.plan().runs[0].examined.inputs
    assert inputs.spec_hash == given.before.spec_hash
    assert set(inputs.parts) == {"experiment", "code", "model", "data", "uses"}


@pytest.mark.parametrize("written", ["./dictionaries/theirs", "../../dictionaries/theirs", PATH, "absolute"])
def test_one_folder_has_one_name(given: Any, written: str) -> None:
    path = str(given.root / "dictionaries/theirs") if written == "absolute" else written
    given.spec(count={"hook_site": SITE, "parameters": {"coder": path}})
    assert list(given.plan().runs[0].examined.inputs.coders) == [PATH]
    given.spec(count={"hook_site": SITE, "sweep": {"coder": [path]}})
    assert list(given.plan().runs[0].examined.inputs.coders) == [PATH]


def test_one_that_is_not_here_is_told_and_its_published_numbers_serve(given: Any) -> None:
    given.build()
    with given.store() as store:
        ledger = assemble(given.investigations()[0], store, given.plan())
        write_published(ledger, given.root / "investigations/words/published")
        store.remove(store.runs())
    shutil.rmtree(given.root / "dictionaries")
    (run,) = given.plan().runs
    assert (run.state, run.reason) == ("not measurable", f"there is no folder {PATH} here")
    assert run.decision == "published"
    (entry,) = given.ledger(measure=False).entries
    assert entry.state == "published" and "published with other" not in entry.reason
    write(given.root / "dictionaries/theirs", seed=1)
    (entry,) = given.ledger(measure=False).entries
    assert f"published with other bytes of {PATH}" in entry.reason


def test_another_model_leaves_its_column_empty_and_another_site_is_a_mistake_of_the_spec(given: Any) -> None:
    experiment = {"hook_site": SITE, "parameters": {"coder": PATH}}
    given.spec(models=("tiny", "small"), count=experiment)
    tiny, small = given.plan().runs
    assert (tiny.state, small.state) == ("new", "not measurable")
    assert small.reason == "this dictionary is of another model (tiny)"
    elsewhere = {"hook_site": "blocks.1.hook_resid_post", "parameters": {"coder": "dictionaries/theirs"}}
    given.spec(count=elsewhere)
    with pytest.raises(SpecError, match=r"spec\.yaml:\d+:\d+: experiments\.count\.parameters\.coder") as told:
        given.plan()
    assert "expected: blocks.1.hook_resid_post" in str(told.value)
    assert f"seen: {SITE}" in str(told.value) and "--hook-site" in str(told.value)


def test_a_relative_depth_is_judged_by_its_layer(given: Any) -> None:
    given.spec(count={"hook_site": "blocks.75%.hook_resid_pre", "parameters": {"coder": PATH}})
    assert given.plan().runs[0].state == "new", "block 3's input is block 2's output"


def test_a_broken_folder_is_told_by_its_file(given: Any) -> None:
    file = given.root / "dictionaries/theirs" / CONFIG
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"architecture": "gated"}))
    with pytest.raises(DataError, match="gated") as told:
        given.plan()
    assert str(file) in str(told.value)


def test_the_run_is_told_where_the_folder_lies(given: Any) -> None:
    given.edit(FAMILY, "def run(lab, params):\n", READ)
    (outcome,) = given.build().values()
    assert outcome.run is not None
    assert (given.root / "read.txt").read_text() == f"{PATH} {16}"


READ = """def run(lab, params):
    from engine.lab.sparse.saelens import read_saelens
    coder, _ = read_saelens(lab.coders[params.coder])
    Path("read.txt").write_text(f"{params.coder} {coder.n_features}")
"""
