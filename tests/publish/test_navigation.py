"""The order of pages: readers first, each page once, none left out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.errors import SiteError
from engine.publish.navigation import FILE, navigation, write_navigation

TITLED = '---\ntitle: "What is it: a question?"\ndescription: d\n---\n'


def pages(root: Path, *names: str) -> Path:
    for name in names:
        path = root / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TITLED)
    return root / "site"


def paths(items: Any) -> Iterator[str]:
    for item in items:
        if isinstance(item, str):
            yield item
        else:
            yield from paths(inside for each in item.values() for inside in each)


def tabs(items: list[Any]) -> list[str]:
    return [item if isinstance(item, str) else next(iter(item)) for item in items]


def test_readers_come_first_and_an_empty_section_is_no_tab(tmp_path: Path) -> None:
    site = pages(
        tmp_path,
        *("index.md", "getting-started.md", "guide/index.md", "guide/text-to-run-over.md", "scale.md"),
        *("investigations/index.md", "reading-the-evidence/index.md", "reference/commands.md"),
    )
    found = navigation(site)
    assert tabs(found) == ["index.md", "Investigations", "Getting started", "How to read", "Reference"]
    assert found[2] == {"Getting started": ["getting-started.md", "guide/index.md"]}
    assert found[4] == {"Reference": ["reference/commands.md", "guide/text-to-run-over.md", "scale.md"]}
    pages(tmp_path, "publications/index.md", "demo.md")
    assert tabs(navigation(site))[:4] == ["index.md", "Investigations", "Publications", "Demo"]


def test_an_investigation_is_a_page_and_one_with_more_pages_a_section_under_its_title(tmp_path: Path) -> None:
    site = pages(tmp_path, "investigations/index.md", "investigations/a/index.md")
    assert navigation(site) == [{"Investigations": ["investigations/index.md", "investigations/a/index.md"]}]
    pages(tmp_path, "investigations/a/changes.md")
    (_, section) = navigation(site)[0]["Investigations"]  # type: ignore[index, call-overload]
    inside = ["investigations/a/index.md", "investigations/a/changes.md"]
    assert section == {"What is it: a question?": inside}


def test_every_page_stands_once_whatever_it_is_called(tmp_path: Path) -> None:
    names = ["reference/families/index.md", "reference/families/x.md", "reference/z.md", "odd.md"]
    names += ["more/one.md", "more/two.md", "guide/b.md"]
    site = pages(tmp_path, *names)
    pages(tmp_path, "home.md", "overrides/part.md")
    assert sorted(paths(navigation(site))) == sorted(names)
    assert {"More": ["more/one.md", "more/two.md"]} in navigation(site)
    (reference,) = [item for item in navigation(site) if isinstance(item, dict) and "Reference" in item]
    families = {"What is it: a question?": ["reference/families/index.md", "reference/families/x.md"]}
    assert reference == {"Reference": [families, "reference/z.md"]}


def test_of_many_pages_of_a_kind_the_one_that_lists_them_stands_there(tmp_path: Path) -> None:
    listed = ["investigations/index.md", "replication/index.md"]
    site = pages(tmp_path, *listed, *(f"replication/{slug}.md" for slug in "abc"))
    assert navigation(site) == [{"Investigations": listed}]
    (site / "replication/index.md").unlink()
    assert navigation(site) == [{"Investigations": listed[:1]}]


def test_what_is_written_is_read_by_mkdocs_and_touched_only_where_it_changed(tmp_path: Path) -> None:
    site = pages(tmp_path, "index.md", "replication/index.md", "replication/a.md")
    (tmp_path / ".engine").mkdir()
    write_navigation(tmp_path)
    written = tmp_path / FILE
    before = written.stat().st_mtime_ns
    assert yaml.safe_load(written.read_text())["nav"] == navigation(site)
    write_navigation(tmp_path)
    assert written.stat().st_mtime_ns == before


def test_where_it_cannot_be_written_is_told(tmp_path: Path) -> None:
    pages(tmp_path, "index.md")
    with pytest.raises(SiteError, match="order of the site's pages"):
        write_navigation(tmp_path)
