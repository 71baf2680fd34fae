"""The publications of an investigation on its page, newest first."""

from __future__ import annotations

import html

from engine.publish.change_log_page import SHOWN, change_log_blocks
from engine.runs.published.change_log import ChangeLogEntry
from engine.runs.published.changes import NumberChange, VerdictChange

FIRST = ChangeLogEntry("2026-01-01", came={"lens on gpt2": 12})


def said(*log: ChangeLogEntry) -> str:
    return html.unescape("\n".join(change_log_blocks(log)))


def test_the_first_publication_says_how_many_numbers_there_were() -> None:
    assert "2026-01-01</time>: first published, 12 numbers: lens on gpt2 (12)." in said(FIRST)


def test_what_moved_is_told_newest_first_with_verdicts_and_numbers() -> None:
    number = NumberChange("lens.x", "gpt2", "finding", 1, 0, 2, 5, 4, 6, True)
    flip = VerdictChange("late", "gpt2", "supported", "contradicted", False)
    later = ChangeLogEntry("2026-02-01", "abc123", 3, 1, 2, verdicts=(flip,), numbers=(number,))
    text = said(FIRST, later)
    assert text.index("2026-02-01") < text.index("2026-01-01")
    assert "3 numbers moved, 2 of them so far that the intervals exclude each other" in text
    assert "1 interval moved alone; 1 verdict flipped" in text
    assert "<code>late</code> on gpt2: supported, now contradicted" in text
    assert "<code>lens.x</code> on gpt2: 1.0 (0.0 to 2.0), now 5.0 (4.0 to 6.0)" in text
    assert "and 1 number more whose intervals exclude each other" in text
    assert "abc123" in text


def test_older_publications_are_folded_and_a_line_that_was_edited_shows_nothing_of_itself() -> None:
    edited = ChangeLogEntry("2026-01-02", fault="line 2 of changes.jsonl was edited since it was written")
    text = said(FIRST, edited, *[ChangeLogEntry("2026-03-01", moved=1)] * SHOWN)
    assert "<summary>2 older publications</summary>" in text
    assert "line 2 of changes.jsonl was edited since it was written, and is left out." in text


def test_names_from_the_file_are_text_and_no_log_is_no_section() -> None:
    assert "<script" not in "\n".join(change_log_blocks([ChangeLogEntry("2026-01-01", came={"<script>": 1})]))
    assert change_log_blocks([]) == []
