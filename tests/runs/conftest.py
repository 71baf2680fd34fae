"""The toy project, made anew for each test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.runs.toy import Toy


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """A project with one investigation, `words`, of one experiment, `count`, on the model `tiny`."""
    return Toy(tmp_path / "project")


@pytest.fixture
def toy_program() -> list[str]:
    """The command that builds a toy project, given its root, in a process of its own."""
    return [sys.executable, str(Path(__file__).parent / "toy.py")]
