"""Broken YAML is told in words that say what to mend, at the line where it is to be mended."""

import pytest

from engine.errors import SpecError
from engine.spec.broken import one_line
from engine.spec.document import read_document

BROKEN = [
    ("a:\n\tb: 1\n", "2:1", "a tab"),
    ("a: [1, 2\nb: 3\n", "1:4", "a list opened with ["),
    ("a: {x: 1\n", "1:4", "a mapping opened with {"),
    ("a: 'x\nb: 2\n", "1:4", "a quote that does not close"),
    ("title: Do we: find\n", "1:13", "put text that contains ': ' in quotes"),
    ("a: 1\nb\nc: 2\n", "3:1", "a line without `key: value`"),
    ("a: 1\n- b\n", "2:1", "a line that does not fit"),
    ("  a: 1\nb: 2\n", "2:1", "a line that does not fit"),
    ("a: @x\n", "1:4", "text in quotes"),
    ("a: *x\n", "1:4", "an alias without its anchor"),
    ("a: 1\n---\nb: 2\n", "2:1", "a second document"),
    ("requires: [a[seed=1].x > 1]\n", "1:11", "put an item that contains [ ]"),
    ("[" * 5000, "1:41", "nested too deeply"),
    ("%YAML 1.1\na: 1\n", "2:1", "a line that does not fit"),
    ('a: "x" y\n', "1:8", "quote the whole of a text that begins with a quote"),
]


def message(folder, text: str) -> str:
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        read_document(path)
    return str(caught.value)


@pytest.mark.parametrize(("text", "place", "told"), BROKEN)
def test_a_slip_is_told_with_its_place_and_what_to_do(tmp_path, text, place, told):
    seen = message(tmp_path, text)
    assert f"spec.yaml:{place}" in seen
    assert told in seen


def test_the_line_is_shown_and_the_end_of_the_file_is_called_so(tmp_path):
    assert "seen: title: Do we: find" in message(tmp_path, "title: Do we: find\n")
    assert "seen: a: {x: 1" in message(tmp_path, "a: {x: 1\n")


def test_a_line_is_shown_on_one_line_and_cut_where_it_is_long():
    assert one_line("  a:   \t b ") == "a: b"
    assert one_line("x" * 80) == "x" * 80
    assert one_line("x" * 81) == "x" * 77 + "..."
