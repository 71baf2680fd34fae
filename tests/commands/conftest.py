"""Commands on toys: a project whose families, models and data every command takes from `tests.runs.toy`."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

from engine import commands
from tests.runs.toy import Toy


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A toy project; the working directory."""
    made = Toy(tmp_path / "project")
    for found in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
        module = import_module(found.name)
        if hasattr(module, "project_sources"):
            monkeypatch.setattr(module, "project_sources", made.sources)
    monkeypatch.chdir(made.root)
    return made
