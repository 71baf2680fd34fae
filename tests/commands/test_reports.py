"""What is wrong in one investigation leaves the others standing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from engine.commands.reports import concerns, print_reports, template_text, wrong_templates
from engine.errors import EngineError
from engine.publish.overview import Report
from engine.report.process_share import Processes, ProcessShare
from tests.runs.toy import Toy

PRINTED = """# Words

The score is {{ count.score }}. {{ chart("count.scores") }} {{ table("count.words") }}

{{ how_measured() }}
"""


def test_a_claim_on_a_number_that_is_not_there_leaves_the_other_investigations_standing(toy: Toy) -> None:
    toy.spec("first", claims={"more": {"holds": "count.scores > 1"}}, count={})
    toy.spec("second", claims={"more": {"holds": "count.score > 1"}}, count={})
    for slug in ("first", "second"):
        toy.write(f"investigations/{slug}/report.md", "The score is {{ count.score }}.\n")
    toy.build()
    plan = toy.plan()
    with toy.store() as store:
        reports = {report.slug: report for report in print_reports(plan, store)}
        (told,) = wrong_templates(plan, store)
    assert "count has no number 'scores'" in str(told) and "nearest" in str(told)
    assert str(reports["first"].rendered.error) == str(told)
    assert "cannot be printed" in reports["first"].rendered.markdown
    assert reports["second"].rendered.error is None
    assert "The score is" in reports["second"].rendered.markdown
    found = [(concern.kind, concern.where) for concern in concerns([reports["first"]], {})]
    assert [kind for kind, _ in found] == ["broken-claim"]
    assert found[0][1].endswith("first/spec.yaml: claims.more")


def test_two_processes_print_what_one_prints_and_tell_the_same_error(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    slugs = [f"part-{number}" for number in range(6)]
    for slug in slugs:
        toy.spec(slug, count={})
        toy.write(f"investigations/{slug}/report.md", PRINTED)
    toy.write("investigations/part-5/report.md", "The score is {{ count.scores }}.\n")
    toy.write("investigations/part-4/report.md", f"{PRINTED} {{{{ part_0.count.score }}}}\n")
    toy.build()
    plan = toy.plan()
    shared = share_noted(monkeypatch)

    def printed(jobs: int) -> dict[str, dict]:
        with toy.store() as store, Processes(jobs) as processes:
            for kept in (store.folder / "reports").glob("*"):
                kept.unlink()
            reports = print_reports(plan, store, processes=processes)
        return {report.slug: as_told(report) for report in reports}

    alone = printed(1)
    assert shared == []
    # Worth a process each, so that the last ones, the wrong one among them, are printed by another.
    monkeypatch.setattr("engine.commands.reports.REPORTS_WORTH_A_PROCESS", 1)
    assert printed(2) == alone
    assert "part-5" in shared
    assert alone["part-0"]["charts"] and alone["part-0"]["tables"]
    assert "nearest" in alone["part-5"]["error"] and not alone["part-4"]["error"]


def share_noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which reports another process has printed; each that another may print is waited for."""
    noted: list[str] = []

    def take(share: ProcessShare, slug: str) -> Any:
        if slug not in share.futures:
            return None
        noted.append(slug)
        return share.futures.pop(slug).result()

    monkeypatch.setattr(ProcessShare, "take", take)
    return noted


def as_told(report: Report) -> dict[str, Any]:
    return {**asdict(report.rendered), "error": str(report.rendered.error or "")}


def test_a_report_in_another_encoding_is_refused_with_its_line(toy: Toy) -> None:
    path = toy.write("investigations/first/report.md", "")
    path.write_bytes("Text.\nJürgen.\n".encode("latin-1"))
    with pytest.raises(EngineError, match="not in UTF-8") as caught:
        template_text(path)
    assert caught.value.where == f"{path}:2" and "0xFC" in caught.value.seen
    path.write_bytes("\ufeffJürgen.\n".encode())
    assert template_text(path) == "Jürgen.\n"
