"""Blocks stand apart by empty lines, and what is empty leaves none."""

from __future__ import annotations

from engine.report.printers.markdown_blocks import block, bulleted, headed, joined


def test_a_block_stands_between_empty_lines() -> None:
    assert block("a", "b") == "\n\na\nb\n\n"


def test_empty_blocks_leave_no_gap() -> None:
    assert joined(["one\n\n", "", block("two"), None]) == "one\n\ntwo"
    assert headed("Title", ["", "body"]) == "## Title\n\nbody"
    assert bulleted([]) == ""
