"""A site is left alone where it is what would be built, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.publish import mkdocs_site
from engine.publish.mkdocs_site import build_site
from tests.publish import made_up


@pytest.fixture
def builds(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where every build of the site builder went; the site is built once, as in another process."""
    ran: list[Path] = []
    run = mkdocs_site._run_mkdocs
    monkeypatch.setattr(
        mkdocs_site, "_run_mkdocs", lambda yml, out, *more: ran.append(out) or run(yml, out, *more)
    )
    build(project)
    return ran


def build(project: Path, text: str = "Text.") -> None:
    build_site(project, made_up.files(project, made_up.report(project, text=f"{text}\n")))


def page(project: Path, name: str = "investigations/fact-recall") -> str:
    return (project / "public" / name / "index.html").read_text()


def state(project: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in (project / "public").rglob("*")}


def test_a_site_of_which_nothing_changed_is_left_as_it_is(project: Path, builds: list[Path]) -> None:
    before = state(project)
    build(project)
    assert len(builds) == 1 and state(project) == before


def with_its_old_date(path: Path, change: Callable[[str], str]) -> None:
    """Another text of the same length, by a program that sets the date of the file back."""
    before = path.stat()
    text = path.read_text()
    path.write_text(change(text))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a hand-written page": lambda p: with_its_old_date(
        p / "site/getting-started.md", lambda t: t.replace(" the ", " teh ")
    ),
    "a new page": lambda p: (p / "site/more.md").write_text("# More\n"),
    "the style": lambda p: (p / "site/stylesheets/mech.css").write_text("p { color: red }"),
    "the theme": lambda p: with_its_old_date(
        p / "site/overrides/main.html", lambda t: t.replace("here", "hare")
    ),
    "the settings": lambda p: (p / "mkdocs.yml").write_text((p / "mkdocs.yml").read_text() + "\n"),
    "a built page": lambda p: with_its_old_date(p / "public/index.html", str.swapcase),
    "a built page removed": lambda p: (p / "public/index.html").unlink(),
    "a file too many": lambda p: (p / "public/mine.txt").write_text("mine"),
    "what was kept": lambda p: (p / ".engine/site.built").write_text("damaged"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changed_is_built_again(project: Path, builds: list[Path], change: str) -> None:
    whole = state(project).keys()
    CHANGES[change](project)
    build(project)
    assert len(builds) == 2
    assert change == "a new page" or state(project).keys() == whole
    build(project)
    assert len(builds) == 2


def test_a_variable_that_the_settings_name_counts(
    project: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_URL", "https://example.org/elsewhere/")
    build(project)
    assert len(builds) == 2 and "https://example.org/elsewhere/" in page(project)
    monkeypatch.setenv("UNNAMED_VARIABLE", "1")
    build(project)
    assert len(builds) == 2


def test_what_is_edited_during_a_build_is_in_the_next(
    project: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = mkdocs_site._swap

    def edited_meanwhile(*folders: Path) -> None:
        (project / "site/getting-started.md").write_text("# Edited meanwhile\n")
        swap(*folders)

    with monkeypatch.context() as patched:
        patched.setattr(mkdocs_site, "_swap", edited_meanwhile)
        build(project, "Another text.")
    assert "Edited meanwhile" not in page(project, "getting-started")
    build(project, "Another text.")
    assert "Edited meanwhile" in page(project, "getting-started")


def test_a_build_that_failed_is_not_taken_for_built(project: Path, builds: list[Path]) -> None:
    for _ in range(2):
        with pytest.raises(mkdocs_site.SiteError, match=r"nowhere.md"):
            build(project, "See [this](nowhere.md).")
    build(project)
    assert len(builds) == 4 and "Text." in page(project)


def test_nothing_changed_loads_no_mkdocs() -> None:
    script = "import sys; import engine.commands.build; print(*{'mkdocs', 'material'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "\n"
