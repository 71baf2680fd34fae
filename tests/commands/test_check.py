"""`engine check`: what needs a person is listed, and decides the exit status."""

from __future__ import annotations

import html
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
