"""The file that holds a text's works."""

from __future__ import annotations

from pathlib import Path

from engine.report.references_file import references_beside


def test_the_file_beside_a_text_is_read_and_none_is_no_error(tmp_path: Path) -> None:
    assert len(references_beside(tmp_path / "report.md")) == 0
    (tmp_path / "references.bib").write_text("@misc{a, title = {T}}", encoding="utf-8")
    assert references_beside(tmp_path / "report.md")["a"].long == "T."
