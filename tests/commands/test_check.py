"""`engine check`: what needs a person is listed, and decides the exit status."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from engine.publish.overview import Report, masthead
from engine.report.render import render
from engine.runs.published.write import write_published
from tests.runs.toy import Toy

PAGE = (
    "# Words\n\nThe score is {{ count.score }}. "
    '{% claim "fewer", "contradicted" %}It is smaller than chance.{% endclaim %}\n'
)


def test_a_broken_sentence_needs_a_person(engine, project):
    engine("build")
    report = project / "investigations/planted/report.md"
    report.write_text(
        report.read_text().replace('"found-at-once", "contradicted"', '"found-at-once"')
        + "\nIt takes 7 blocks.\n"
    )
    answer = engine("check", "--json")
    assert answer.code == 1
    assert {c["kind"] for c in answer.json} >= {"broken-sentence", "typed-number"}
    assert engine("build").code == 0
    assert engine("build", "--strict").code == 1


def test_a_link_that_leads_nowhere_is_told_with_the_line_that_has_it(engine: Any, project: Path) -> None:
    report = project / "investigations/planted/report.md"
    text = report.read_text()
    number = re.search(r"{{ (\w+\.\w+) }}", text)
    assert number
    lines = [
        f"[a number](#{number[1]})",
        f"[another](#{number[1]}x)",
        "[Markdown](../../gettin-started.md)",
        "[elsewhere](https://example.com/never-asked)",
    ]
    report.write_text(text + "\n" + "\n\n".join(lines) + "\n")
    first = len(text.split("\n")) + 1
    answer = engine("check", "planted", "--links", "--json")
    assert answer.code == 1
    links = answer.json["links"]
    broken = {found["where"]: found for found in links["broken"]}
    anchor = broken[f"investigations/planted/report.md:{first + 2}"]
    assert (anchor["target"], anchor["near"][0]) == (f"#{number[1]}x", f"#{number[1]}")
    page = broken[f"investigations/planted/report.md:{first + 4}"]
    assert (page["target"], page["page"]) == ("../../gettin-started.md", "investigations/planted/index.html")
    assert f"investigations/planted/report.md:{first}" not in broken
    assert links["external"]["https://example.com/never-asked"] == ["investigations/planted/index.html"]
    kinds = [concern["kind"] for concern in answer.json["concerns"]]
    assert kinds.count("broken-link") == len(links["broken"]) >= 2
    # What is built to be looked at is gone again, and so is the site that nobody built.
    assert not list((project / ".engine").glob("links-*")) and not (project / "public").exists()


@pytest.fixture
def published(toy: Toy) -> Path:
    """What the toy project has published; a claim of it does not hold."""
    toy.write("investigations/words/report.md", PAGE)
    toy.spec(claims={"fewer": {"holds": "count.score < count.chance"}}, count={})
    folder = toy.root / "investigations/words/published"
    write_published(toy.ledger(), folder)
    return folder


def test_what_was_published_needs_nobody(engine: Any, toy: Toy, published: Path) -> None:
    answer = engine("check")
    assert answer.code == 0
    assert answer.out.endswith("nothing needs a person: words\n")


def test_an_edited_number_and_verdict_are_named_with_what_the_run_here_measured(
    engine: Any, toy: Toy, published: Path
) -> None:
    toy.edit("investigations/words/published/tiny.json", '"value": 25.5', '"value": 999.0')
    toy.edit("investigations/words/published/tiny.json", '"contradicted"', '"supported"')
    answer = engine("check", "--json")
    assert answer.code == 1
    found = {(c["kind"], c["where"]): c["message"] for c in answer.json}
    assert set(found) == {
        ("not-as-published", "words/published/tiny.json: runs.count"),
        ("not-as-published", "words/published/tiny.json: verdicts.fewer"),
        ("drift", "words/claims.fewer on tiny"),
    }
    number = found["not-as-published", "words/published/tiny.json: runs.count"]
    assert number.startswith("edited since it was published")
    assert "count.measurements.score.value: published 999.0, its run here measured 25.5" in number
    assert found["drift", "words/claims.fewer on tiny"] == "published supported, here contradicted"


def test_in_a_fresh_clone_an_edited_number_is_named_and_kept_off_the_page(
    engine: Any, toy: Toy, published: Path
) -> None:
    (toy.root / ".engine").rename(toy.root / ".elsewhere")
    toy.edit("investigations/words/published/tiny.json", '"value": 25.5', '"value": 999.0')
    answer = engine("check", "--json")
    assert answer.code == 1
    told = [c for c in answer.json if c["kind"] == "not-as-published"]
    assert [c["where"] for c in told] == ["words/published/tiny.json: runs.count"]
    ledger = toy.ledger(measure=False, budget=0.0)
    printed = render(ledger, PAGE, toy.root / "investigations/words/report.md")
    assert "999" not in printed.markdown
    assert "not measured here" in printed.markdown
    banner = html.unescape(masthead(Report(ledger, printed, toy.root)))
    assert "mech-not-as-published" in banner
    assert "published/tiny.json: runs.count" in banner and "edited since it was published" in banner


def test_an_edited_table_is_named(engine: Any, toy: Toy, published: Path) -> None:
    toy.edit("investigations/words/published/tiny.count.words.csv", "w3,", "w999,")
    answer = engine("check", "--json")
    assert answer.code == 1
    (found,) = answer.json
    assert (found["kind"], found["where"]) == ("not-as-published", "words/published/tiny.count.words.csv")
    assert "w999" in found["message"]
