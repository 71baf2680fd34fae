"""An investigation is left out of a build only where its pages would come out as they lie there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.commands.reports import print_reports, summaries
from engine.evidence.result import Calibration
from engine.publish import summary_cache
from engine.publish.files import write_files
from engine.publish.pages import reference_files, site_files
from engine.publish.summary_cache import FILE, SummaryCache
from engine.runs.investigation import find_investigations
from engine.runs.planning.plan import make_plan
from engine.runs.published.write import write_published
from tests.publish import made_up
from tests.runs.toy import Toy

WORDS = "Score {{ count.score }}.\n\n{{ how_measured() }}\n"
READER = "There it is {{ words.count.score }}, here {{ count.score }}.\n\n{{ how_measured() }}\n"
APART = "By itself: {{ count.score }}.\n\n{{ how_measured() }}\n"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Three investigations that were measured, of which `reader` prints a number of `words`."""
    made = Toy(tmp_path / "project")
    monkeypatch.setattr("engine.commands.reports.project_sources", made.sources)
    monkeypatch.setattr("engine.publish.pages.vega_bundle", lambda: "// the chart library\n")
    monkeypatch.setattr(summary_cache, "KNOWN_NAMES", frozenset({"tiny", "small"}))
    monkeypatch.chdir(made.root)
    made.write("site/home.md", "# Home\n\n<!-- headline cards -->\n")
    made.write("data.csv", "a,b\n")
    for slug, text in {"words": WORDS, "reader": READER, "apart": APART}.items():
        made.spec(slug, count={"prompts": {"name": "../../data.csv"}, "parameters": {"k": len(slug)}})
        made.write(f"investigations/{slug}/report.md", text)
    made.build()
    return made


CALIBRATED = {"count_words": [Calibration("a case", "known", "1", 1.0, 0.9, 1.1)]}
FAILED = {"count_words": [Calibration("a case", "known", "1", 2.0, 0.9, 1.1)]}


def build(toy: Toy, calibrated: Mapping[str, list[Calibration]] = CALIBRATED) -> set[str]:
    """What a build that only renders does for site/; the investigations that it left out."""
    with toy.store() as store:
        sources = toy.sources()
        known = SummaryCache(toy.root, store, sources, dict(calibrated))
        found = find_investigations(toy.root, sources.catalog, without=known.unchanged)
        plan = make_plan(found, store, sources, budget=0)
        reports = print_reports(plan, store)
        parts: Any = {
            "reference": reference_files(made_up.command_line(), {}, {}),
            "calibrations": calibrated,
        }
        files = site_files(toy.root, reports, unchanged=known.unchanged, **parts)
        write_files(toy.root / "site", files, known.unchanged_files)
        known.remember(plan, summaries(reports, dict(calibrated)), files)
    return set(known.unchanged)


def site(toy: Toy) -> dict[str, bytes]:
    root = toy.root / "site"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def publish(toy: Toy) -> None:
    """Publish the numbers of `apart`, which is the first."""
    write_published(toy.ledger(budget=0), toy.root / "investigations/apart/published")


def damage(toy: Toy) -> None:
    """A file of each stored run is cut off."""
    for path in (toy.root / ".engine/runs").glob("*/result.json"):
        path.write_text(path.read_text()[:-9])


def commit(toy: Toy) -> None:
    """Put the investigations into a repository, so that their pages name the commit."""
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "investigations"], ["commit", "-q", "-m", "all of them"]):
        subprocess.run([*git, *command], cwd=toy.root, check=True)


ALL = {"words", "reader", "apart"}
CHANGES: dict[str, tuple[Callable[[Toy], object], set[str]]] = {
    "nothing": (lambda toy: None, ALL),
    "prose": (
        lambda toy: toy.edit("investigations/apart/report.md", "By itself", "Alone"),
        {"words", "reader"},
    ),
    "what another prints": (
        lambda toy: toy.edit("investigations/words/spec.yaml", "k: 5", "k: 50"),
        {"apart"},
    ),
    "a title": (
        lambda toy: toy.edit("investigations/apart/spec.yaml", "title: apart", "title: Apart"),
        {"words", "reader"},
    ),
    "a reference": (
        lambda toy: toy.write("investigations/apart/references.bib", "@misc{a, title = {A}}"),
        {"words", "reader"},
    ),
    "something published": (publish, {"words", "reader"}),
    "data elsewhere": (lambda toy: toy.write("data.csv", "a,b\nc,d\n"), set()),
    "the bytes of a model": (
        lambda toy: toy.models(tiny={"hash": "cc33", "n_layers": 4}, small={"hash": "bb22", "n_layers": 12}),
        set(),
    ),
    "a model out of reach": (
        lambda toy: toy.models(tiny={"hash": "aa11", "n_layers": 4, "reason": "the hub cannot be reached"}),
        set(),
    ),
    "who is to be cited": (lambda toy: toy.write("CITATION.cff", "authors: [{name: A team}]\n"), set()),
    "a commit": (commit, set()),
    "a library": (lambda toy: toy.write("torch.txt", "2.14.0"), set()),
    "damage to stored runs": (damage, set()),
    "a failure": (
        lambda toy: toy.store().note_failure(toy.plan().runs[0].name, "no memory"),
        {"words", "reader"},
    ),
    "the runs": (lambda toy: shutil.rmtree(toy.root / ".engine/runs"), set()),
    "a new investigation": (
        lambda toy: (toy.spec("new"), toy.write("investigations/new/report.md", "New.\n")),
        ALL,
    ),
    "one investigation less": (
        lambda toy: shutil.rmtree(toy.root / "investigations/apart"),
        {"words", "reader"},
    ),
    "a page that was written": (
        lambda toy: toy.write("site/investigations/apart/index.md", "By hand."),
        {"words", "reader"},
    ),
    "a page that went": (
        lambda toy: (toy.root / "site/investigations/apart/spec.yaml").unlink(),
        {"words", "reader"},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_every_change_the_pages_are_those_of_a_build_that_knows_nothing(toy: Toy, change: str) -> None:
    assert build(toy) == set()
    assert build(toy) == ALL
    make, left_out = CHANGES[change]
    make(toy)
    assert build(toy) == left_out
    seen = site(toy)
    shutil.rmtree(toy.root / ".engine/reports")
    (toy.root / ".engine" / FILE).unlink()
    assert build(toy) == set()
    assert seen == site(toy)


def test_a_failed_calibration_marks_every_page(toy: Toy) -> None:
    build(toy)
    assert build(toy, FAILED) == set()
    marked = [content for name, content in site(toy).items() if name.endswith("/index.md")]
    assert b"calibration failed" in site(toy)["investigations/apart/index.md"] and len(marked) > 3


def test_other_code_of_the_engine_prints_every_page(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    build(toy)
    monkeypatch.setattr(summary_cache, "engine_hash", lambda: "other code")
    assert build(toy) == set()


def test_what_needs_a_person_is_told_of_pages_that_did_not_change(toy: Toy) -> None:
    toy.edit("investigations/apart/report.md", "By itself", "In 17.3 cases, by itself")
    build(toy)
    with toy.store() as store:
        known = SummaryCache(toy.root, store, toy.sources(), CALIBRATED)
        (concern,) = known.unchanged["apart"].concerns
    assert concern.kind == "typed-number" and "apart" in known.unchanged["apart"].outcome


def test_a_model_that_may_be_a_folder_is_looked_up_each_time(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_cache, "KNOWN_NAMES", frozenset({"small"}))
    build(toy)
    assert build(toy) == set()


def test_a_report_that_cannot_be_printed_is_told_each_time(toy: Toy) -> None:
    toy.edit("investigations/apart/report.md", "count.score", "count.scroe")
    build(toy)
    assert build(toy) == {"words", "reader"}


def test_an_edit_while_a_build_runs_is_a_change_of_the_next(toy: Toy) -> None:
    """The folder is hashed before it is read, so that what was printed of an earlier text does not count."""
    with toy.store() as store:
        known = SummaryCache(toy.root, store, toy.sources(), CALIBRATED)
        assert known.unchanged == {}
        plan = make_plan(toy.investigations(), store, toy.sources(), budget=0)
        reports = print_reports(plan, store)
        toy.edit("investigations/apart/report.md", "By itself", "Alone")
        toy.write("data.csv", "other data\n")
        known.remember(plan, summaries(reports, CALIBRATED), [])
    with toy.store() as store:
        assert SummaryCache(toy.root, store, toy.sources(), CALIBRATED).unchanged == {}
    toy.write("data.csv", "a,b\n")
    with toy.store() as store:
        unchanged = SummaryCache(toy.root, store, toy.sources(), CALIBRATED).unchanged
    assert set(unchanged) == {"words", "reader"}


@pytest.mark.parametrize("damage", ["", "[]", '{"words": 3}', '{"words": {"needs": {}}}'])
def test_damaged_notes_are_as_good_as_none(toy: Toy, damage: str) -> None:
    build(toy)
    (toy.root / ".engine" / FILE).write_text(damage)
    assert build(toy) == set()
