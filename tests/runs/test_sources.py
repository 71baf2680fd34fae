"""What runs are told of models, data and libraries, before anything heavy is loaded."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError, ModelUnknown
from engine.models import load as models
from engine.runs import sources
from engine.runs.sources import (
    CHARACTERS_PER_TOKEN,
    check_corpus,
    check_prompts,
    installed_versions,
    model_facts,
    project_sources,
)
from engine.spec.inputs import PAIRS
from engine.spec.models import CorpusChoice, PromptChoice

LOADS = """
import sys
from engine.runs.sources import project_sources
made = project_sources()
made.catalog.inputs("crosscoder"), made.model_facts("smollm2-135m-instruct", "float32")
print([heavy for heavy in ("torch", "transformers", "altair") if heavy in sys.modules])
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder; a folder inside of it is the working directory."""
    (tmp_path / "mkdocs.yml").write_text("site_name: x\n")
    (tmp_path / "investigations/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "investigations/deep")
    return tmp_path


def test_a_plan_learns_of_families_and_models_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_workers_make_the_same_sources_by_name() -> None:
    assert pickle.loads(pickle.dumps(project_sources().maker)) is project_sources


def test_a_pinned_model_is_known_by_its_bytes_and_depth_before_it_is_fetched() -> None:
    facts = model_facts("smollm2-135m-instruct", "float32")
    assert (facts.n_layers, facts.n_params > 100_000_000) == (30, True)
    assert facts.hash is not None and len(facts.hash) == 64
    assert model_facts("smollm2-135m-instruct", "bfloat16").memory_bytes < facts.memory_bytes


def test_a_local_model_that_a_clone_has_not_is_known_and_not_available(project: Path) -> None:
    for name in ("./models/micro", str(project / "away"), "~/surely/not/here", "./models/micro.gguf"):
        facts = model_facts(name, "float32")
        assert (facts.available, facts.hash, facts.n_layers) == (False, None, None)
        assert facts.reason == f"there is no file or folder {name} here"


def test_a_name_that_is_no_path_and_no_model_is_a_mistake() -> None:
    with pytest.raises(ModelUnknown) as caught:
        model_facts("smollm2-135m-instrukt", "float32")
    assert caught.value.near[0] == "smollm2-135m-instruct"


def test_a_model_of_the_project_is_loaded_from_its_folder_and_keeps_its_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Loaded:
        name: str
        dtype: str

    def load(place: str, *, dtype: str, progress: Any) -> Loaded:
        loaded.append(place)
        return Loaded(place, dtype)

    loaded: list[str] = []
    monkeypatch.setattr(models, "load", load)
    model = project_sources().load_model("./models/micro", "bfloat16", lambda what, done, total: None)
    assert loaded == [str(project / "models/micro")]
    assert (model.name, model.dtype) == ("./models/micro", "bfloat16")


def test_prompts_are_counted_and_refused_by_line(tmp_path: Path) -> None:
    assert check_prompts(PromptChoice(name="facts", limit=7), tmp_path, PAIRS, str) == 7
    (tmp_path / "own.csv").write_text("prompt\n")
    with pytest.raises(DataError, match=r"own\.csv"):
        check_prompts(PromptChoice(name="own.csv"), tmp_path, PAIRS, str)


def test_tokens_of_a_text_are_estimated_from_its_characters_and_never_above_what_is_chosen(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.txt").write_text("word " * 400)
    tokens = check_corpus(CorpusChoice(name="own.txt"), tmp_path)
    assert tokens == pytest.approx(2000 / CHARACTERS_PER_TOKEN, rel=0.01)
    assert check_corpus(CorpusChoice(name="own.txt", tokens=50), tmp_path) == 50
    assert check_corpus(CorpusChoice(name="own.txt", tokens=10**6), tmp_path) == tokens


def test_where_characters_are_not_counted_what_is_chosen_is_what_is_known(tmp_path: Path) -> None:
    assert check_corpus(CorpusChoice(name="smollm2-samples", tokens=1234), tmp_path) == 1234
    assert check_corpus(CorpusChoice(name="smollm2-samples"), tmp_path) > 10**6


def test_versions_are_told_also_of_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LIBRARIES", ("numpy", "no-such-library"))
    versions = installed_versions()
    assert list(versions) == ["python", "numpy", "no-such-library"]
    assert versions["python"].startswith(f"{sys.version_info[0]}.")
    assert versions["no-such-library"] == "not installed"
