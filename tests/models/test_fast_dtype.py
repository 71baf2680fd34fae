"""The faster number format: chosen by rates, decided once, for each machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.models.fast_dtype import FILE, ProductRates, fast_dtype, product_rates


def test_bfloat16_has_to_be_worth_its_rounding() -> None:
    assert ProductRates(float32=100, bfloat16=149).faster == "float32"
    assert ProductRates(float32=100, bfloat16=150).faster == "bfloat16"
    assert ProductRates(float32=100, bfloat16=10).of("bfloat16") == 10
    assert ProductRates(float32=100, bfloat16=10).of("float32") == 100


def test_what_was_decided_stays_whatever_a_busy_moment_says(cache: Path) -> None:
    assert fast_dtype(ProductRates(100, 300)) == "bfloat16"
    assert fast_dtype(ProductRates(100, 90)) == "bfloat16"
    # Another device is another machine.
    assert fast_dtype(ProductRates(100, 90), "mps") == "float32"
    assert sorted(json.loads((cache / FILE).read_text()).values()) == ["bfloat16", "float32"]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_damaged_file_is_written_anew(cache: Path, content: str) -> None:
    cache.mkdir()
    (cache / FILE).write_text(content)
    assert fast_dtype(ProductRates(100, 300)) == "bfloat16"
    assert "bfloat16" in json.loads((cache / FILE).read_text()).values()


def test_a_cache_that_cannot_be_written_only_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "file" / "below"))
    assert fast_dtype(ProductRates(100, 300)) == "bfloat16"


def test_rates_are_those_of_a_machine() -> None:
    rates = product_rates()
    assert 1e8 < rates.float32 < 1e16
    assert 1e7 < rates.bfloat16 < 1e16
