"""Files of the last site are taken over where they were made from the same and nobody touched them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.publish.previous_site import PreviousSite, previous_site


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of notes of a site with one page."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/page.html").write_text("A page")
    first = previous_site(tmp_path / "site", tmp_path)
    assert not first.take("page.html", "a text", tmp_path / "new/page.html")
    first.note()
    return tmp_path


def take(notes: Path, made_from: str = "a text", out: str = "site") -> bool:
    return previous_site(notes / out, notes).take("page.html", made_from, notes / "new/page.html")


def test_a_file_that_was_made_from_the_same_is_taken_over(notes: Path) -> None:
    assert take(notes)
    assert (notes / "new/page.html").samefile(notes / "site/page.html")


def test_a_file_that_was_made_from_something_else_is_not(notes: Path) -> None:
    assert not take(notes, "another text")
    assert not (notes / "new").exists()


def test_a_file_that_was_edited_under_its_old_date_is_not(notes: Path) -> None:
    page = notes / "site/page.html"
    before = page.stat()
    page.write_text("B page")
    os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not take(notes)


def test_a_file_that_went_is_not(notes: Path) -> None:
    (notes / "site/page.html").unlink()
    assert not take(notes)


def test_the_notes_of_one_site_are_none_of_another(notes: Path) -> None:
    (notes / "site").rename(notes / "other")
    assert not take(notes, out="other")


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"out": 1}', '{"out": "SITE", "files": {"page.html": 3}}']
)
def test_damaged_notes_are_as_good_as_none(notes: Path, damage: str) -> None:
    (notes / "site.files").write_text(damage.replace("SITE", str(notes / "site")))
    assert not take(notes)


def test_a_file_system_without_links_makes_every_file_anew(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert not take(notes)


def test_a_source_that_just_changed_may_change_again_within_one_tick(tmp_path: Path) -> None:
    source = tmp_path / "source.css"
    source.write_text("a {}")
    changed = source.stat().st_ctime_ns
    assert PreviousSite(begun=changed).source_hash(str(source)) == ""
    assert str(source) in PreviousSite(begun=changed + 3_000_000_000).source_hash(str(source))


def test_without_notes_nothing_is_kept() -> None:
    nowhere = PreviousSite()
    assert not nowhere.take("page.html", "a text", Path("page.html"))
    nowhere.note()
