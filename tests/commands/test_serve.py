"""What `engine serve` makes anew after which change."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli import app
from engine.commands.serve import LiveSite
from engine.errors import EngineError
from engine.publish.server import stamps


@pytest.fixture
def site(engine, project: Path) -> LiveSite:
    assert engine("build").code == 0
    site = LiveSite(project, app)
    site.rebuild(set())
    return site


@pytest.fixture
def template(site: LiveSite) -> Path:
    return site.root / "investigations/planted/report.md"


def page(site: LiveSite) -> str:
    return (site.root / "public/investigations/planted/index.html").read_text()


def shown_run(site: LiveSite) -> int | None:
    (report,) = site.reports.values()
    (entry,) = report.ledger.entries
    return entry.provenance.run_id if entry.provenance else None


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("this was made already")


def test_an_edited_sentence_is_printed_from_the_ledger_that_is_there(
    site: LiveSite, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.commands.serve.current_plan", refuse)
    template.write_text(template.read_text() + "\n\nA sentence of its own.\n")
    site.rebuild({template})
    assert "A sentence of its own." in page(site)
    assert "charts/lens.rank.json" in page(site)


def test_a_measured_run_is_seen_and_shown(engine, site: LiveSite) -> None:
    before = stamps(site.root)
    assert shown_run(site) == 1
    engine("run", "--name", "planted/lens", "--force")
    changed = {path for path, _ in before.items() ^ stamps(site.root).items()}
    assert [path.name for path in changed] == ["2"]
    site.rebuild(changed)
    assert shown_run(site) == 2


def test_a_mistake_leaves_the_page_and_is_mended_by_the_next_edit(site: LiveSite, template: Path) -> None:
    good = template.read_text()
    template.write_text(good + "{{ lens.nothing }}")
    with pytest.raises(EngineError, match="nothing"):
        site.rebuild({template})
    assert "The answer is settled in the middle." in page(site)
    template.write_text(good + "\n\nMended.\n")
    site.rebuild({template})
    assert "Mended." in page(site)
