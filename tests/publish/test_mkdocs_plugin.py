"""A site built with kept pages is the site that would be built anew."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import markdown
import pytest

from engine.errors import SiteError
from engine.publish.mkdocs_site import build_site
from engine.publish.page_cache import MadePage, PageCache
from engine.report.process_share import Processes, ProcessShare
from tests.publish import made_up


@pytest.fixture
def kept(project: Path) -> PageCache:
    kept = PageCache()
    build(project, "First text.", kept)
    return kept


def build(
    project: Path, text: str, kept: PageCache | None = None, out: str = "public", jobs: int = 1
) -> dict[str, bytes]:
    """Every file of the site with this text in its report."""
    files = made_up.files(project, made_up.report(project, text=f"{text}\n"))
    with Processes(jobs) as processes:
        build_site(project, files, project / out, kept, processes=processes)
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


def test_pages_are_converted_anew_where_settings_changed(
    project: Path, kept: PageCache, converted: list[str]
) -> None:
    with (project / "mkdocs.yml").open("a") as opened:
        opened.write("# a note\n")
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


def taken_over(project: Path, out: str = "public") -> dict[str, int]:
    """The files of the site by which file on the disk they are."""
    root = project / out
    return {str(p.relative_to(root)): p.stat().st_ino for p in root.rglob("*") if p.is_file()}


REPORT = "investigations/fact-recall/index.html"


def test_an_edit_makes_its_own_page_and_takes_over_all_others(project: Path) -> None:
    build(project, "First text.")
    before = taken_over(project)
    after = build(project, "Another text.")
    now = taken_over(project)
    anew = {name for name, file in now.items() if before.get(name) != file and name.endswith(".html")}
    # The page of an error is a template and no page.
    assert anew == {REPORT, "404.html"}
    assert len(before) > 50
    assert after == build(project, "Another text.", out="anew")


def everywhere(pages: dict[str, bytes], text: str) -> bool:
    return all(text.encode() in content for name, content in pages.items() if name.endswith("/index.html"))


def overwrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


AROUND = {
    "settings": lambda p: overwrite(p / "mkdocs.yml", "copyright: MIT licence", "copyright: Another licence"),
    "a template of the project": lambda p: overwrite(
        p / "site/overrides/main.html", "{% block libs %}", "{% block libs %}<!-- Another licence -->"
    ),
    "the title of another page": lambda p: overwrite(p / "site/a-page.md", "# A page", "# Another licence"),
    "a new page": lambda p: (p / "site/b-page.md").write_text("# Another licence\n"),
    "a page's front matter": lambda p: overwrite(
        p / "site/a-page.md", "# A page", "---\nsubtitle: Another licence\n---\n# A page"
    ),
}


@pytest.mark.parametrize("change", AROUND)
def test_what_stands_around_pages_changes_on_all_of_them(project: Path, change: str) -> None:
    (project / "site/a-page.md").write_text("# A page\n")
    assert not everywhere(build(project, "Text."), "Another licence")
    AROUND[change](project)
    changed = build(project, "Text.")
    assert everywhere(changed, "Another licence")
    assert changed == build(project, "Text.", out="anew")


def test_what_a_page_alone_says_in_its_head_frames_no_other(project: Path) -> None:
    page = project / "site/a-page.md"
    page.write_text('---\ndescription: One\nhead_tags:\n  - ["og:title", "One"]\n---\n# A page\n')
    build(project, "Text.")
    before = taken_over(project)
    page.write_text(page.read_text().replace("One", "Two"))
    after = build(project, "Text.")
    now = taken_over(project)
    anew = {name for name, file in now.items() if before.get(name) != file and name.endswith(".html")}
    assert anew == {"a-page/index.html", "404.html"}
    assert after["a-page/index.html"].count(b'content="Two"') == 2
    assert after == build(project, "Text.", out="anew")


def test_the_address_of_the_site_is_a_variable_that_changes_all_pages(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(project, "Text.")
    monkeypatch.setenv("SITE_URL", "https://elsewhere.example/")
    assert everywhere(build(project, "Text."), "https://elsewhere.example/")


def test_a_page_that_went_is_in_no_navigation(project: Path) -> None:
    (project / "site/a-page.md").write_text("# Of short life\n")
    assert everywhere(build(project, "Text."), "Of short life")
    (project / "site/a-page.md").unlink()
    pages = build(project, "Text.")
    assert not any(b"Of short life" in content for content in pages.values())


def test_a_template_that_looks_at_other_pages_sees_them_as_they_are(project: Path) -> None:
    override = project / "site/overrides/main.html"
    overwrite(
        override, "{{ super() }}", "{% for file in pages %}{{ file.page.content }}{% endfor %}{{ super() }}"
    )
    build(project, "First text.")
    assert everywhere(build(project, "Another text."), "Another text.")


def test_a_page_that_somebody_edited_in_the_site_is_made_anew(project: Path) -> None:
    whole = build(project, "Text.")
    with (project / "public" / REPORT).open("a") as page:
        page.write("by hand")
    assert build(project, "Text.") == whole


def test_an_asset_that_was_edited_is_copied(project: Path) -> None:
    build(project, "Text.")
    style = project / "site/stylesheets/mech.css"
    before = style.stat()
    text = style.read_text()
    style.write_text(text.replace("a", "b", 1))
    os.utime(style, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert build(project, "Text.")["stylesheets/mech.css"] == style.read_bytes()


def test_a_page_whose_front_matter_is_no_json_is_converted_each_time(
    project: Path, converted: list[str]
) -> None:
    (project / "site/dated.md").write_text("---\ndate: 2026-01-31\n---\n# Dated\n")
    first = build(project, "Text.")
    converted.clear()
    assert build(project, "Another text.")["dated/index.html"] == first["dated/index.html"]
    assert any("Dated" in text for text in converted)


def test_settings_that_read_other_files_keep_no_pages(project: Path, converted: list[str]) -> None:
    snippets = f"  - pymdownx.superfences\n  - pymdownx.snippets: {{base_path: ['{project}']}}"
    overwrite(project / "mkdocs.yml", "  - pymdownx.superfences", snippets)
    (project / "part.txt").write_text("First part.")
    (project / "site/whole.md").write_text('# Whole\n\n--8<-- "part.txt"\n')
    assert b"First part." in build(project, "Text.")["whole/index.html"]
    (project / "part.txt").write_text("Another part.")
    assert b"Another part." in build(project, "Another text.")["whole/index.html"]


def test_a_kept_page_finds_a_file_that_came(project: Path) -> None:
    """A link that mkdocs left alone, since nothing lay there, leads to a page as soon as there is one."""
    overwrite(project / "mkdocs.yml", "not_found: warn, anchors", "not_found: info, anchors")
    (project / "site/links.md").write_text("# Links\n\n[Other](other.md)\n")
    build(project, "Text.")
    (project / "site/other.md").write_text("# Other\n")
    assert b'href="../other/"' in build(project, "Text.")["links/index.html"]


def test_a_kept_page_finds_an_asset_that_came(project: Path) -> None:
    """No navigation changes with it, so that only the page itself tells."""
    overwrite(project / "mkdocs.yml", "not_found: warn, anchors", "not_found: info, anchors")
    (project / "site/links.md").write_text("# Links\n\n[Data](data.csv)\n")
    assert b'href="data.csv"' in build(project, "Text.")["links/index.html"]
    (project / "site/data.csv").write_text("a,b\n")
    assert b'href="../data.csv"' in build(project, "Text.")["links/index.html"]


def test_what_was_edited_while_the_site_was_served_is_found_by_the_next_process(
    project: Path, kept: PageCache
) -> None:
    build(project, "Another text.", kept)
    # Another page changes, so that the report is taken over or made, and in both cases indexed.
    (project / "site/getting-started.md").write_text("# Getting started\n")
    docs = json.loads(build(project, "Another text.")["search/search_index.json"])["docs"]
    assert any("Another text." in entry["text"] for entry in docs)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that another process has converted; each that one may convert is waited for."""
    taken: list[str] = []

    def take(share: ProcessShare, name: str) -> MadePage | None:
        if name not in share.futures:
            return None
        if made := share.futures.pop(name).result():
            taken.append(name)
        return made

    monkeypatch.setattr(ProcessShare, "take", take)
    monkeypatch.setattr("engine.publish.mkdocs_plugin.PAGES_BEFORE_SHARING", 1)
    return taken


def many_pages(project: Path) -> None:
    for number in range(24):
        text = f"# Part {number}\n\n[The next](part-{number + 1}.md#a-part)\n\n## A part\n\nWords {number}.\n"
        (project / f"site/part-{number}.md").write_text(text)
    (project / "site/part-24.md").write_text("---\ntitle: The last\n---\n\nNo heading.\n\n## A part\n")


def test_pages_that_another_process_converts_are_as_if_converted_here(
    project: Path, shared: list[str], converted: list[str]
) -> None:
    many_pages(project)
    alone = build(project, "First text.", jobs=1)
    kept = {path.name: path.read_bytes() for path in (project / ".engine/pages").iterdir()}
    assert not shared
    forget(project)
    converted.clear()
    assert build(project, "First text.", out="anew", jobs=2) == alone
    assert {path.name: path.read_bytes() for path in (project / ".engine/pages").iterdir()} == kept
    assert {"part-3.md", "part-24.md"} <= set(shared)
    assert not any("Words 3." in text for text in converted)
    # What the other process made is known to the next build.
    converted.clear()
    build(project, "First text.", out="again", jobs=2)
    assert not converted


def test_what_is_wrong_with_a_page_of_another_process_is_told_as_here(
    project: Path, shared: list[str]
) -> None:
    many_pages(project)
    (project / "site/part-7.md").write_text("# Part\n\n[A page](nowhere.md)\n")
    (project / "site/part-9.md").write_text("# Part\n\n[A part](part-3.md#nowhere)\n")
    told = []
    for jobs in (1, 2):
        with pytest.raises(SiteError, match=r"(?s)part-7.md.*nowhere.md") as caught:
            build(project, "First text.", jobs=jobs)
        told.append(str(caught.value))
    assert told[0] == told[1] and "part-3.md#nowhere" in told[0]
    assert "part-9.md" in shared and "part-7.md" not in shared


def test_pages_of_a_site_without_a_search_are_converted_by_another_process_too(
    project: Path, shared: list[str]
) -> None:
    many_pages(project)
    yml = project / "mkdocs.yml"
    yml.write_text(yml.read_text().replace("plugins:\n  - search\n", "plugins: []\n"))
    made = build(project, "First text.", jobs=2)
    assert "part-3.md" in shared
    assert "part-3/index.html" in made and "search/search_index.json" not in made
