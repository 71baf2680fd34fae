"""A whole project in a temporary folder: a planted model on disk, its facts, one investigation."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import shape_checks

# Where several processes run the suite each has its share of the cores: threads of torch that wait for one
# another spin. Before torch is imported, and for the processes that tests start.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

shape_checks.install()  # before any test imports the rooms that are checked

REPOSITORY = Path(__file__).parents[1]
HAND_WRITTEN = (  # of site/; the rest is generated
    "home.md",
    "getting-started.md",
    "reading-the-evidence",
    "guide",
    "scale.md",
    "scale.json",
    "overrides",
    "stylesheets",
    "javascripts",
)

SPEC = """\
title: Where does the planted model look its facts up?
question: Which block of the planted model looks the answer up, and does the lens see it?
model: {model}
experiments:
  lens:
    family: logit_lens
    prompts: facts.csv
claims:
  found-in-the-middle:
    says: The middle one of three blocks is where the answer comes in.
    holds: lens.specific_layer == 1
    population: these
    registered: 2026-11-22
  found-at-once:
    holds: lens.specific_layer < 1
    population: these
headline: "The answer is settled after {{{{ lens.commit_layer }}}} blocks."
key_numbers:
  - {{number: lens.commit_layer, says: blocks until the answer is settled, control: lens.other_logprob}}
"""

REPORT = """\
Of {{ lens.prompts_given }} prompts the model knows {{ lens.prompts_known }}.
{% claim "found-in-the-middle" %}The answer is settled in the middle.{% endclaim %}
{% claim "found-at-once", "contradicted" %}It is not there at once.{% endclaim %}

{{ chart("lens.rank") }}

{{ table("lens.per_prompt", rows=3) }}

{{ where_it_holds() }}

{{ how_measured() }}

{{ repeat() }}
"""


@dataclass(frozen=True)
class Answer:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def unchecked_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations are not held to: what a person may pass wrongly reaches the engine's own refusal."""
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)


@pytest.fixture
def engine(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Runs a command as the shell would, in this process."""

    def call(*arguments: str) -> Answer:
        from engine.cli import main

        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["engine", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Current calibrations for all projects: those of the family that the project asks, and stand-ins.

    A build calibrates every family whose calibrations are not current. What all of them find is the matter of
    tests/calibration; here it would take a minute and say nothing of the commands.
    """
    pytest.importorskip("torch", reason="the quick part of the suite goes without torch")
    from engine.evidence.result import Calibration
    from engine.runs.calibrations import FILE, calibrations
    from engine.runs.sources import project_sources
    from engine.runs.store.store import FOLDER

    case = Calibration("stand-in", "a family that no test here runs", "0", 0.0, 0.0, 0.0)
    stand_in = SimpleNamespace(calibrate=lambda: [case])
    sources = project_sources()
    root = tmp_path_factory.mktemp("calibrated")
    only_asked = replace(
        sources, family=lambda name: sources.family(name) if name == "logit_lens" else stand_in
    )
    calibrations(root, only_asked)
    return root / FOLDER / FILE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calibrated: Path) -> Path:
    """A project whose one investigation asks a planted model, with an empty store; the working directory."""
    from engine.lab.planted import planted_lab

    lab = planted_lab()
    assert lab.prompts is not None
    root = tmp_path / "project"
    folder = root / "investigations" / "planted"
    folder.mkdir(parents=True)
    save_model(lab.model, root / "model")
    lab.prompts.table.to_csv(folder / "facts.csv", index=False)
    (folder / "spec.yaml").write_text(SPEC.format(model=root / "model"))
    (folder / "report.md").write_text(REPORT)
    shutil.copy(REPOSITORY / "mkdocs.yml", root)
    (root / ".engine").mkdir()
    shutil.copy(calibrated, root / ".engine")
    (root / "site").mkdir()
    for name in HAND_WRITTEN:
        source = REPOSITORY / "site" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / "site" / name)
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(root)
    return root


def save_model(model, folder: Path) -> None:
    """A model built in code as a Hugging Face folder: config.json, model.safetensors, tokenizer.json."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(model.weights), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(dict(model.config)))
    model.text.save(str(folder / "tokenizer.json"))
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
