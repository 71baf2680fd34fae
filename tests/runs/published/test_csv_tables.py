"""Published tables: what is read back is what was written, and only what is drawn is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from engine.errors import StoreError
from engine.runs.published.csv_tables import PublishedTables, csv_table, read_csv_table


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"text": ["<b>", 'a,"b"\nc\r\nd', " x ", "NA", ""], "n": [1, 2, 3, 4, 5]}),
        pd.DataFrame(
            {
                "x": [0.1, np.nan, np.inf],
                "whole": pd.array([1, None, 3], dtype="Int64"),
                "yes": [True, False, True],
            }
        ),
        pd.DataFrame({"code": ["007", "1e5", "True"]}),
        pd.DataFrame({"x": pd.Series([], dtype=float), "t": pd.Series([], dtype=str)}),
    ],
)
def test_a_table_keeps_its_text_and_its_types(tmp_path: Path, table: pd.DataFrame) -> None:
    content, kinds = csv_table(table)
    (tmp_path / "t.csv").write_bytes(content)
    back = read_csv_table(tmp_path, {"file": "t.csv", "columns": kinds})
    assert_frame_equal(back, table)
    assert csv_table(back) == (content, kinds)


def published(folder: Path) -> dict[str, dict]:
    """Two tables, written, and one that was left out, as the JSON file says of them."""
    entries: dict[str, dict] = {"unshown": {"file": "", "columns": {"x": "whole"}}}
    for name in ("one", "two"):
        content, kinds = csv_table(pd.DataFrame({"x": [1, 2], name: ["a", "b"]}))
        (folder / f"{name}.csv").write_bytes(content)
        entries[name] = {"file": f"{name}.csv", "columns": kinds}
    return entries


def test_a_table_is_read_when_it_is_drawn_and_once(tmp_path: Path) -> None:
    tables = PublishedTables(tmp_path, published(tmp_path))
    assert list(tables) == ["one", "two"]
    assert "one" in tables
    assert "unshown" not in tables
    assert tables.read == {}
    assert tables["one"] is tables["one"]
    assert list(tables.read) == ["one"]


def test_a_missing_file_or_other_columns_are_told_at_once(tmp_path: Path) -> None:
    entries = published(tmp_path)
    (tmp_path / "one.csv").write_text("x,other\n1,a\n")
    with pytest.raises(StoreError, match=r"one\.csv: this is another table(?s:.)*x, other"):
        PublishedTables(tmp_path, entries)
    (tmp_path / "one.csv").unlink()
    with pytest.raises(StoreError, match=r"one\.csv: this published table cannot be read"):
        PublishedTables(tmp_path, entries)


def test_a_cell_of_another_kind_is_told_when_the_table_is_read(tmp_path: Path) -> None:
    entries = published(tmp_path)
    (tmp_path / "one.csv").write_text("x,one\nmany,a\n")
    tables = PublishedTables(tmp_path, entries)
    with pytest.raises(StoreError, match=r"one\.csv: this published table cannot be read"):
        tables["one"]
