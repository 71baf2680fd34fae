"""The tutorial, from nothing to a published claim: its files are written and its commands run, in order."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import Any

import pytest

import engine as package
from tests.hand_written import blocks, replaced

PAGE = "guide/tutorial.md"
FAMILY = "output_entropy"


@pytest.fixture
def own_families(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The families of the project count beside the engine's, as in a clone, where they are one folder."""
    from engine import families

    folder = project / "engine/families"
    folder.mkdir(parents=True)
    shipped = families.files()
    own = {FAMILY: folder / f"{FAMILY}.py"}
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(folder)])
    monkeypatch.setattr(
        families, "files", lambda: {**shipped, **{n: p for n, p in own.items() if p.is_file()}}
    )


def test_the_tutorial_leads_to_a_published_claim(project: Path, own_families: None, engine: Any) -> None:
    facts = project / "investigations/planted/facts.csv"
    # Of the planted model all prompts are known, and there are 32 of them.
    instead = {"smollm2-135m-instruct": project / "model", "{name: facts, limit: 120}": facts}
    told: dict[str, str] = {}
    for language, title, text in blocks(PAGE, "console", "python", "yaml", "jinja"):
        if language != "console":
            write(project, title, replaced(text, instead))
            continue
        for line in text.splitlines():
            answer = engine(*shlex.split(line)[1:])
            # A planted model is no language model: a sentence about it may be broken, which check reports.
            assert answer.code == 0 or " check " in line, f"{line}: {answer.out}{answer.err}"
            told[line] = answer.out
    assert "passed" in told[f"engine calibrate {FAMILY}"]
    assert "final" in told["mech run --name when-is-it-sure/entropy"]
    check_family_tests(project / f"tests/families/test_{FAMILY}.py")
    published = list((project / "investigations/when-is-it-sure/published").glob("*.json"))
    assert len(published) == 1 and "shuffled_final" in published[0].read_text()
    page = (project / "public/investigations/when-is-it-sure/index.html").read_text()
    assert 'data-claim="order-matters"' in page and "entropy.entropy.json" in page
    assert (project / f"public/reference/families/{FAMILY}/index.html").is_file()
    assert "one token alone" in (project / "public/reading-the-evidence/calibrations/index.html").read_text()
    assert package.load("when-is-it-sure")["entropy.final"].control is not None


def write(project: Path, title: str, text: str) -> None:
    """A whole file by its title; without one, a sentence in the place of the one on the same claim."""
    if title:
        (project / title).write_text(text)
        return
    report = project / "investigations/when-is-it-sure/report.md"
    begin = text.partition(",")[0]  # `{% claim "id"`
    lines = report.read_text().splitlines()
    assert any(line.startswith(begin) for line in lines)
    report.write_text("\n".join(text.strip() if line.startswith(begin) else line for line in lines) + "\n")


def check_family_tests(path: Path) -> None:
    """The tests of the tutorial's family, each run as a function."""
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    checks = [function for name, function in vars(module).items() if name.startswith("test_")]
    assert len(checks) == 4
    for check in checks:
        check()
