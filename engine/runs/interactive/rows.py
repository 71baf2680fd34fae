"""Prompts that are rows at hand, in a list or a frame, in the words of a spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd


def with_rows(prompts: Any) -> Any:
    """`{rows: [...]}` for rows; what names prompts stays as it is."""
    if isinstance(prompts, pd.DataFrame):
        # A cell that is empty is a key that is left out.
        return {"rows": [row.dropna().to_dict() for _, row in prompts.iterrows()]}
    if isinstance(prompts, Sequence) and not isinstance(prompts, str):
        return {"rows": [dict(row) for row in prompts]}
    return prompts
