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
