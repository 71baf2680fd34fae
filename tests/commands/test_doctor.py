"""`engine doctor`: what this machine can do, and an exit status that says whether the engine works here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.commands import doctor


def test_a_machine_that_passes_the_tests_is_well(engine: Any, project: Path) -> None:
    answer = engine("doctor", "--json")
    assert answer.code == 0
    states = {row["name"]: row["state"] for row in answer.json}
    assert (states["torch"], states[".engine"]) == ("ok", "ok")


def test_what_is_missing_is_said_with_its_mending(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "CORE", ("no-such-package",))
    answer = engine("doctor")
    assert answer.code == 1
    assert "not installed  -> make site" in answer.out
    assert "not inside a project" in answer.out


def test_extras_and_what_lays_papers_out_are_named(engine: Any, project: Path) -> None:
    found = {row["name"]: row for row in engine("doctor", "--json").json}
    assert {"extra demo", "extra papers", "extra cluster", "Quarto", "pandoc", "Typst"} <= set(found)
    # The tests run with all extras.
    assert found["extra demo"]["state"] == "ok" and "mech demo" in found["extra demo"]["seen"]


def test_an_extra_that_is_missing_says_what_it_serves_and_how_to_have_it(
    engine: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = doctor._is_installed
    absent = ("gradio", "typst", "pypandoc-binary")
    monkeypatch.setattr(doctor, "_is_installed", lambda name: name not in absent and installed(name))
    monkeypatch.setattr(doctor.shutil, "which", lambda program: None)
    answer = engine("doctor", "--json")
    found = {row["name"]: row for row in answer.json}
    assert answer.code == 0
    assert found["extra demo"] == {
        "name": "extra demo",
        "state": "note",
        "seen": "not here: mech demo, the live panels (gradio)",
        "mend": "pip install 'mech-interpretability[demo]'",
    }
    assert [found[name]["state"] for name in ("Quarto", "pandoc", "Typst")] == ["note"] * 3
    assert "pandoc and Typst" in found["Quarto"]["seen"]
