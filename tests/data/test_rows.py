"""Rows of table files: every cell to the letter, every row with its line, every fault with its place."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from engine.data.rows import Row, read_rows
from engine.errors import DataError


def rows(folder: Path, name: str, content: str | bytes) -> list[Row]:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(folder / name)


def refusal(folder: Path, name: str, content: str | bytes) -> DataError:
    with pytest.raises(DataError) as caught:
        rows(folder, name, content)
    return caught.value


def lines_of(found: list[Row]) -> list[str]:
    return [row.where.rpartition(":")[2] for row in found]


def test_cells_of_a_csv_are_text_to_the_letter(tmp_path: Path) -> None:
    found = rows(tmp_path, "a.csv", 'id,text\n007,NA\n1e3,null\n,"a ""b"""\ntrue, x \n')
    assert [row.cells for row in found] == [
        {"id": "007", "text": "NA"},
        {"id": "1e3", "text": "null"},
        {"id": "", "text": 'a "b"'},
        {"id": "true", "text": " x "},
    ]


def test_a_row_of_a_csv_stands_at_the_line_where_it_begins(tmp_path: Path) -> None:
    found = rows(tmp_path, "a.csv", 'id,text\r\n1,"one\ntwo\nthree"\r\n\r\n2,b\r\n3,c')
    assert lines_of(found) == ["2", "6", "7"]
    assert found[0].cells["text"] == "one\ntwo\nthree"


def test_values_of_jsonl_keep_their_kind_and_blank_lines_count(tmp_path: Path) -> None:
    found = rows(tmp_path, "a.jsonl", '\n{"id": 7, "text": null}\n   \n{"id": "7", "more": [1]}\n')
    assert lines_of(found) == ["2", "4"]
    assert [row.cells for row in found] == [{"id": 7, "text": None}, {"id": "7", "more": [1]}]


def test_rows_of_parquet_go_by_number(tmp_path: Path) -> None:
    content = io.BytesIO()
    pd.DataFrame({"id": ["a", "b"], "n": [1, 2]}).to_parquet(content)
    found = rows(tmp_path, "a.PARQUET", content.getvalue())
    assert lines_of(found) == ["row 1", "row 2"]
    assert found[1].cells == {"id": "b", "n": 2}


@pytest.mark.parametrize(
    ("name", "content", "place", "problem", "seen"),
    [
        ("a.csv", "id,text\n1,a\n2,b,c\n", ":3", "the row does not fit the header", "3"),
        ("a.csv", "id,text\n1\n", ":2", "the row does not fit the header", "1"),
        ("a.csv", "id,id\n1,2\n", ":1", "two columns are called 'id'", ""),
        ("a.csv", 'id,text\n1,"a\n', ":2", "not valid CSV", "unexpected end of data"),
        ("a.jsonl", '{"id": 1}\n[1]\n', ":2", "a line is not an object", "list"),
        ("a.jsonl", '{"id": 1}\n{"id": \n', ":2", "not valid JSON", "Expecting value"),
        ("a.jsonl", "[" * 100_000, ":1", "not valid JSON", "recursion"),
        ("a.parquet", b"PAR1", "", "not a readable parquet file", ""),
        ("a.csv", "id,text\n", "", "the file has no rows", ""),
        ("a.jsonl", "", "", "the file is empty", ""),
    ],
)
def test_a_fault_is_named_with_its_line_and_what_was_seen(
    tmp_path: Path, name: str, content: str | bytes, place: str, problem: str, seen: str
) -> None:
    error = refusal(tmp_path, name, content)
    assert (error.problem, error.where) == (problem, f"{tmp_path / name}{place}")
    assert seen in error.seen


def test_half_of_a_character_is_refused_in_a_cell_and_in_the_name_of_a_column(tmp_path: Path) -> None:
    assert refusal(tmp_path, "a.jsonl", '{"id": "\\ud83d"}').where == f"{tmp_path / 'a.jsonl'}:1"
    assert refusal(tmp_path, "a.jsonl", '{"\\ud83d": "x"}').where == f"{tmp_path / 'a.jsonl'}:1"
