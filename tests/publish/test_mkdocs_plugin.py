"""A site built with kept pages is the site that would be built anew."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import markdown
import pytest

from engine.errors import SiteError
from engine.publish.mkdocs_site import build_site
from engine.publish.page_cache import PageCache
from tests.publish import made_up


@pytest.fixture
def kept(project: Path) -> PageCache:
    kept = PageCache()
    build(project, "First text.", kept)
    return kept


def build(project: Path, text: str, kept: PageCache | None = None, out: str = "public") -> dict[str, bytes]:
    """Every file of the site with this text in its report."""
    files = made_up.files(project, made_up.report(project, text=f"{text}\n"))
    build_site(project, files, project / out, kept)
    found = {
        str(p.relative_to(project / out)): p.read_bytes() for p in (project / out).rglob("*") if p.is_file()
    }
    return {
        name: gzip.decompress(content) if name.endswith(".gz") else content for name, content in found.items()
    }


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of every page that is converted from now on."""
    texts, convert = [], markdown.Markdown.convert
    monkeypatch.setattr(markdown.Markdown, "convert", lambda *a: texts.append(a[1]) or convert(*a))
    return texts


def forget(project: Path) -> None:
    shutil.rmtree(project / ".engine/pages")


def test_an_edited_page_is_converted_alone_and_the_site_is_as_if_built_anew(
    project: Path, kept: PageCache, converted: list[str]
) -> None:
    edited = build(project, "Another text, with a [link](../index.md).\n\n## A part\n", kept)
    (alone,) = converted
    assert "Another text" in alone
    forget(project)
    anew = build(project, "Another text, with a [link](../index.md).\n\n## A part\n", out="anew")
    sites = edited, anew
    found, expected = (json.loads(site.pop("search/search_index.json"))["docs"] for site in sites)
    assert edited == anew
    assert {d["location"] for d in found} == {
        d["location"] for d in expected if "#a-part" not in d["location"]
    }
    assert any("First text." in d["text"] for d in found)


def test_no_more_is_kept_after_many_edits_than_after_one(project: Path, kept: PageCache) -> None:
    sizes = len(kept.pages), len(kept.entries)
    for edit in range(3):
        build(project, f"Edit {edit}.", kept)
    assert (len(kept.pages), len(kept.entries)) == sizes


def test_a_kept_page_still_complains_of_the_part_that_an_edit_took_away(project: Path) -> None:
    kept = PageCache()
    (project / "site/links.md").write_text(
        "# Links\n\n[A part](investigations/fact-recall/index.md#a-part)\n"
    )
    build(project, "## A part\n", kept)
    with pytest.raises(SiteError, match=r"links.md.*a-part"):
        build(project, "## Another part\n", kept)


def test_a_mistake_is_told_again_as_long_as_it_is_there(project: Path, kept: PageCache) -> None:
    for _ in range(2):
        with pytest.raises(SiteError, match=r"nowhere.md"):
            build(project, "See [this](nowhere.md).", kept)


def test_a_kept_page_complains_of_a_file_that_is_gone(project: Path, kept: PageCache) -> None:
    (project / "site/links.md").write_text("# Links\n\n[Other](other.md)\n")
    (project / "site/other.md").write_text("# Other\n")
    build(project, "Text.", kept)
    (project / "site/other.md").unlink()
    with pytest.raises(SiteError, match=r"links.md.*other.md"):
        build(project, "Text.", kept)


def test_the_next_process_converts_only_what_changed_and_every_byte_is_as_if_built_anew(
    project: Path, kept: PageCache, converted: list[str]
) -> None:
    again = build(project, "First text.")
    assert not converted
    edited = build(project, "Another text.\n\n## A part\n\n### Of it\n")
    (alone,) = converted
    assert "Another text." in alone
    forget(project)
    assert edited == build(project, "Another text.\n\n## A part\n\n### Of it\n", out="anew")
    forget(project)
    assert again == build(project, "First text.", out="first")


def test_plain_mkdocs_gives_the_same_pages(project: Path, kept: PageCache) -> None:
    kept_pages = build(project, "First text.", out="kept")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "-q", "-d", str(project / "plain")]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    for name in ("investigations/fact-recall/index.html", "search/search_index.json", "index.html"):
        assert (project / "plain" / name).read_bytes() == kept_pages[name]


@pytest.mark.parametrize(
    ("file", "more"), [("mkdocs.yml", "# a note\n"), ("site/another-page.md", "# Another page\n")]
)
def test_pages_are_converted_anew_where_settings_or_files_changed(
    project: Path, kept: PageCache, converted: list[str], file: str, more: str
) -> None:
    with (project / file).open("a") as opened:
        opened.write(more)
    build(project, "First text.")
    assert any("First text." in text for text in converted)


def test_a_damaged_page_is_converted_anew(project: Path, kept: PageCache, converted: list[str]) -> None:
    for path in (project / ".engine/pages").iterdir():
        path.write_bytes(path.read_bytes()[:-2])
    build(project, "First text.", out="anew")
    assert any("First text." in text for text in converted)


def test_the_next_process_complains_again(project: Path, kept: PageCache) -> None:
    for _ in range(2):
        with pytest.raises(SiteError, match=r"nowhere.md"):
            build(project, "See [this](nowhere.md).")
