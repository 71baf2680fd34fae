"""The toy project, made anew for each test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOY = Path(__file__).parent / "toy.py"


def _toy_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy", TOY)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toy(tmp_path: Path) -> Any:
    """A project with one investigation, `words`, of one experiment, `count`, on the model `tiny`."""
    return _toy_module().Toy(tmp_path / "project")


@pytest.fixture
def toy_program() -> list[str]:
    """The command that builds a toy project, given its root, in a process of its own."""
    return [sys.executable, str(TOY)]
