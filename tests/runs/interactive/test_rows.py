"""Prompts that are at hand as rows are written as a spec writes them."""

from __future__ import annotations

import pandas as pd

from engine.runs.interactive.rows import with_rows

ROWS = [{"prompt": "Paris is in", "answer": " France"}, {"prompt": "Rome is in"}]


def test_a_list_and_a_frame_of_rows_are_the_same_prompts() -> None:
    assert with_rows(ROWS) == with_rows(pd.DataFrame(ROWS)) == {"rows": ROWS}


def test_a_name_and_a_choice_stay_as_they_are() -> None:
    assert with_rows("facts") == "facts"
    assert with_rows({"name": "facts", "limit": 3}) == {"name": "facts", "limit": 3}
    assert with_rows(None) is None
