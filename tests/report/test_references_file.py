"""The file that holds a text's works."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.report.references_file import bibtex_beside, references_beside


def test_the_file_beside_a_text_is_read_and_none_is_no_error(tmp_path: Path) -> None:
    assert len(references_beside(tmp_path / "report.md")) == 0
    assert not bibtex_beside(tmp_path / "report.md").entries
    (tmp_path / "references.bib").write_text("@misc{a, title = {T}}", encoding="utf-8")
    assert references_beside(tmp_path / "report.md")["a"].long == "T."
    assert bibtex_beside(tmp_path / "report.md").text == "@misc{a, title = {T}}\n"


def test_a_bibliography_has_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.report.references_file.MOST_BYTES", 10)
    (tmp_path / "references.bib").write_text("@misc{a, title = {A}}")
    with pytest.raises(TemplateError, match="too large"):
        references_beside(tmp_path / "report.md")


def test_a_bibliography_is_a_file_of_the_folder_and_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("a secret of the machine")
    (tmp_path / "references.bib").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TemplateError, match="not read") as caught:
        references_beside(tmp_path / "report.md")
    assert caught.value.where == str(tmp_path / "references.bib")
    assert caught.value.seen == "a link"
