"""What a published file says of a record is held to the annotations of the record."""

from __future__ import annotations

from typing import Any

import pytest

from engine.evidence.result import Figure
from engine.evidence.verdicts import Verdict
from engine.runs.ledger import Provenance
from engine.runs.published.field_types import checked, checked_date


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        (Verdict, {"verdict": "found here", "share": None, "reason": ""}),
        (Verdict, {"share": 1, "p": 0.5}),
        (Figure, {"columns": {"x": "layer"}, "options": {"log_y": True, "order": ["a"]}}),
        (Provenance, {"sites": {"gpt2": ["blocks.0.hook_resid_pre"]}, "asked": {"k": [1]}, "peak_bytes": 0}),
    ],
)
def test_what_has_the_types_is_handed_back(record: type, fields: dict[str, Any]) -> None:
    assert checked(record, fields) == fields


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        (Verdict, {"verdict": "<b>"}),
        (Verdict, {"share": "all"}),
        (Verdict, {"share": True}),
        (Figure, {"columns": {"x": ["layer"]}}),
        (Figure, {"columns": "x"}),
        (Provenance, {"sites": {"gpt2": "blocks.0"}}),
        (Provenance, {"sites": {"gpt2": [1]}}),
        (Provenance, {"peak_bytes": "much"}),
    ],
)
def test_another_type_is_named(record: type, fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(TypeError, match=f"{name} is"):
        checked(record, fields)


@pytest.mark.parametrize("text", ["", "2026-01-31", "2026-01-31T12:40:09Z", "2026-07-29T12:00:00.5+00:00"])
def test_dates_are_dates(text: str) -> None:
    assert checked_date(text) == text


@pytest.mark.parametrize("text", ["<b>", "by hand", "2026-01-31\n", "2026-01-31T<b>"])
def test_anything_else_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match="no date"):
        checked_date(text)
