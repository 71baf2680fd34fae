"""The reference of what a family can use says what the code says."""

from __future__ import annotations

import re

from markdown import markdown

from engine.evidence.builder import Evidence
from engine.publish.instruments import ENGINE, PARTS, definitions, instruments_page
from engine.report.charts.kinds import KINDS, OPTIONS

PAGE = instruments_page(["logit_lens"])


def test_lab_evidence_and_charts_are_there_whole() -> None:
    for name in ("known_facts", "stage", "used_over", "hook_site", "receipts"):
        assert re.search(rf"(^\| |It has .*)`{name}[(:`]", PAGE, re.M), name
    for name in (n for n in vars(Evidence) if not n.startswith("_")):
        assert re.search(rf"(^\| |It has .*)`{name}[(:`]", PAGE, re.M), name
    assert "`statistic` is `mean`, `median`, `fraction`" in PAGE
    assert (
        "| `line(...)`{.mech-signature} | y over x, a line for each color, a panel for each facet. |" in PAGE
    )
    for name in (*KINDS, *OPTIONS, *PARTS):
        assert f"| `{name}` |" in PAGE


def test_what_a_class_inherits_in_its_file_is_told_with_it() -> None:
    pairs = definitions(ENGINE / "data/pairs.py")["PromptPairs"]
    assert {"clean", "corrupted", "answer"} <= {part.name for part in pairs.parts}


def test_every_part_that_a_chart_can_have_is_explained() -> None:
    assert {part for kind in KINDS.values() for part in (*kind.needs, *kind.may)} == PARTS.keys()


def test_an_instrument_tells_its_signature_and_who_uses_it() -> None:
    (lens,) = re.findall(r"^\| `read_lens\(.*$", PAGE, re.M)
    assert "model: HookedModel" in lens and "-> LensReading" in lens
    assert "Final norm and unembedding on the residual stream" in lens
    assert "[logit_lens](families/logit_lens.md)" in lens
    assert "](families/tuned_lens.md)" not in PAGE  # it has no page here


def test_it_is_a_page_with_tables() -> None:
    html = markdown(PAGE.partition("---\n\n")[2], extensions=["tables", "attr_list"])
    assert html.count("<table>") > 10
    assert html.count('<code class="mech-signature">') > 50 and "{.mech" not in html
    assert "<p>|" not in html


def test_a_class_has_its_fields_methods_and_partial_methods() -> None:
    table = definitions(ENGINE / "evidence/builder.py")["EvidenceTable"]
    parts = {part.name: part for part in table.parts}
    assert parts["name"].signature == "name: str"
    assert parts["draw"].signature.startswith("draw(kind: str, figure: str, x: str, y: str=''")
    assert parts["bar"].about == "A bar for each row; it lies down where y holds words."
