"""A local model has one name, however its path is spelled and from wherever it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.data.packaged_coders import packaged_coder_folder, packaged_coder_names
from engine.errors import SpecError
from engine.runs.investigation import canonical_models, load_investigation
from engine.runs.model_paths import canonical_folder, canonical_model, located
from engine.runs.planning.given_coders import coder_folder
from engine.runs.sources import project_sources
from engine.runs.store.store import open_store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a model beside a spec and one in a folder of models; not the working directory."""
    for folder in ("project/investigations/x/micro", "project/models/micro", "elsewhere/micro"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("micro", "./investigations/x/micro"),  # the spec's folder comes first
        ("./micro", "./investigations/x/micro"),
        ("{root}/investigations/x/micro", "./investigations/x/micro"),
        ("../x/./micro", "./investigations/x/micro"),
        ("../../models/micro", "./models/micro"),
        ("models/micro", "./models/micro"),  # then the project's
        ("./models/micro", "./models/micro"),  # a name of this kind is its own
        ("./missing", "./investigations/x/missing"),  # the same in a clone that lacks the weights
        ("missing.gguf", "./investigations/x/missing.gguf"),
        ("gpt2", "gpt2"),
        ("org/model", "org/model"),
        ("mikro", "mikro"),
    ],
)
def test_every_spelling_is_one_name(root: Path, written: str, name: str) -> None:
    written = written.format(root=root)
    assert canonical_model(written, root / "investigations/x", root) == name


def test_a_path_outside_of_a_project_is_absolute(root: Path) -> None:
    other = root.parent / "elsewhere/micro"
    assert canonical_model("../../../elsewhere/micro", root / "investigations/x", root) == str(other)
    assert canonical_model("micro", root.parent, None) == str(other)  # the working directory comes last


def test_a_link_in_the_project_is_called_by_its_place_there(root: Path) -> None:
    (root / "weights").symlink_to(root.parent / "elsewhere")
    assert canonical_model("weights/micro", root, root) == "./weights/micro"


def test_a_name_leads_back_to_the_model(root: Path) -> None:
    assert located("./models/micro", root) == str(root / "models/micro")
    assert located("gpt2", root) == "gpt2"
    assert located("/elsewhere/micro", root) == "/elsewhere/micro"


def test_respelling_a_model_neither_makes_a_run_stale_nor_breaks_a_build(
    project: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = project / "investigations/planted/spec.yaml"
    template = spec.read_text()
    (project / "model").rename(spec.parent / "micro")
    for written, where in [
        ("micro", project),
        ("./micro", spec.parent),
        (str(spec.parent / "micro"), project),
        ("../planted/micro", spec.parent),
    ]:
        spec.write_text(template.replace(str(project / "model"), written))
        monkeypatch.chdir(where)
        answer = engine("build")
        assert answer.code == 0, answer.err
        assert list((project / "public").rglob("planted/index.html"))
        with open_store(project) as store:
            assert [run.name.model for run in store.runs()] == ["./investigations/planted/micro"]
        assert canonical_models(["micro"], spec.parent) == ["./investigations/planted/micro"]


def test_a_run_that_was_measured_under_another_name_of_its_model_serves(toy: Any) -> None:
    toy.models(tiny={"hash": "aa11", "n_layers": 4}, also_tiny={"hash": "aa11", "n_layers": 4})
    toy.ledger()
    toy.spec(models=("also_tiny",), claims={"more": {"holds": "count.score > count.chance"}}, count={})
    ledger = toy.ledger()
    assert len(toy.executed) == 1
    assert ledger.entry("count").model == "also_tiny"
    assert ledger.verdicts["also_tiny"]["more"].verdict == "supported"


def test_one_model_named_twice_by_two_spellings_is_told_by_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = project / "investigations/planted/spec.yaml"
    text = spec.read_text()
    first_line = f"model: {project / 'model'}"
    spec.write_text(text.replace(first_line, "models: [../../model, ./../../model]"))
    with pytest.raises(SpecError, match=r"spec\.yaml:3:\d+: models\[1\]: .* is the model .* once more"):
        load_investigation(spec, project_sources().catalog)


def test_a_missing_model_leaves_its_column_unmeasured_and_says_where_it_was_looked_for(
    project: Path, engine: Any
) -> None:
    spec = project / "investigations/planted/spec.yaml"
    spec.write_text(spec.read_text().replace(str(project / "model"), "./nowhere"))
    answer = engine("build", "--dry-run", "--verbose")
    assert answer.code == 0, answer.err
    assert "there is no file or folder ./investigations/planted/nowhere here" in answer.out


def test_a_packaged_dictionary_goes_by_its_name_and_lies_in_the_package(root: Path) -> None:
    name = packaged_coder_names()[0]
    assert canonical_folder(name, root, root) == name
    assert coder_folder(name, root) == packaged_coder_folder(name)
    # Any other name is a path, a packaged one's name with a sign of a path too.
    assert canonical_folder(f"./{name}", root, root) == f"./{name}"
    assert coder_folder(f"./{name}", root) == root / name
