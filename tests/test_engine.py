"""`import engine`: the public interface, light until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import engine

HEAVY = ("torch", "pandas", "numpy", "transformers", "pydantic", "mkdocs", "altair")


def test_importing_the_engine_loads_nothing_heavy() -> None:
    read = f"import engine, sys; dir(engine); print([m for m in {HEAVY!r} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_every_public_name_is_there_and_listed() -> None:
    pytest.importorskip("torch", reason="the quick part of the suite goes without torch")
    for name in engine.__all__:
        assert getattr(engine, name) is not None
        assert name in dir(engine)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        getattr(engine, "lode")  # noqa: B009
