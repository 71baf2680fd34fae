"""Plain text and Markdown without HTML: evidence in words, code that cannot end its own block."""

from __future__ import annotations

from dataclasses import replace

from engine.evidence.verdicts import Verdict
from engine.report.bibliography import Reference, ReferencePart
from engine.report.charts.chart import Chart
from engine.report.claim_sentences import ClaimSentence
from engine.report.escape import as_it_is
from engine.report.printers.text import TextPrinter
from engine.report.tables import Grid
from engine.spec.models import Claim
from tests.report.conftest import figures

PRINTER = TextPrinter()


def test_code_that_holds_a_fence_stands_in_a_longer_one() -> None:
    text = PRINTER.code("before\n````\nafter\n", "yaml")
    assert text.strip().splitlines() == ["`````yaml", "before", "````", "after", "`````"]
    assert PRINTER.code("plain", "sh").strip().splitlines() == ["```sh", "plain", "```"]


def test_a_chart_is_said_in_words_and_what_was_left_out_of_it() -> None:
    figure = figures()["by_layer"]
    text = PRINTER.chart("lens.by_layer", figure, Chart({}, "It falls.", "1 of 2 rows drawn."), "t")
    assert text.strip() == r"[Chart] It falls. Band: 95 % interval. 1 of 2 rows drawn."


def test_a_broken_sentence_is_marked_where_it_stands() -> None:
    cited = ClaimSentence("c", Claim(holds="a.b > 1"), "supported", {"m": Verdict("c", "contradicted", 0.0)})
    assert r"[Hypothesis: a.b \> 1 (broken: the text says supported" in PRINTER.claim(cited, "It is so.")
    said = PRINTER.claim(replace(cited, asserted="contradicted"), "It is not so.")
    assert said == r"It is not so. [Hypothesis: a.b \> 1 (contradicted)]"


def test_data_has_its_marks_behind_backslashes_or_as_they_are() -> None:
    assert PRINTER.paragraph("a *b* | c") == r"a \*b\* \| c"
    assert TextPrinter(as_it_is).paragraph("a *b* | c") == "a *b* | c"
    assert PRINTER.notice("not *here*").strip() == r"[not \*here\*]"


def test_a_table_has_its_name_and_what_it_leaves_out_under_it() -> None:
    text = PRINTER.table("lens.t", "lens.t", Grid(["a", "n"], [["x|y", 3]], [False, True]), "1 of 2 rows.")
    table = ["| a | n |", "| --- | ---: |", r"| x\|y | 3 |"]
    assert text.strip().splitlines() == [*table, "", "lens.t. 1 of 2 rows."]


def test_works_are_cited_by_name_and_listed_with_their_address() -> None:
    link = ReferencePart("arXiv:2501.1", "link", "https://arxiv.org/abs/2501.1")
    work = Reference("paulo2025", "Paulo", "2025", (ReferencePart("G. Paulo. *T*. "), link))
    assert PRINTER.citation(work, "bracketed") == "Paulo 2025"
    assert PRINTER.citation(work, "narrative") == "Paulo (2025)"
    listed = PRINTER.references([work]).strip()
    assert listed == r"- G. Paulo. \*T\*. arXiv:2501.1 https://arxiv.org/abs/2501.1"
    assert PRINTER.end() == ""


def test_facts_and_folds_are_lists_and_headings() -> None:
    assert PRINTER.facts([("Run", "12"), ("Device", "cpu")]) == "- Run: 12\n- Device: cpu"
    assert PRINTER.folded("More", "\nbody\n").strip() == "**More**\n\nbody"
    assert PRINTER.section("Checks", ["one", "", "two"]) == "## Checks\n\none\n\ntwo"
