"""`engine models`: what is known, and where each comes from."""

from __future__ import annotations

from typing import Any


def test_every_known_model_is_listed_with_its_size(engine: Any) -> None:
    rows = engine("models", "--json").json
    shown = engine("models").out
    assert {"smollm2-135m-instruct", "gpt2"} <= {row["name"] for row in rows}
    assert all(row["name"] in shown for row in rows)
    assert "any hub id" in shown
