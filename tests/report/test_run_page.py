"""One run on one page: whole, without a network, with nothing of the data taken for markup."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import pytest

from engine.evidence.result import Check
from engine.report.numbers import interval_of
from engine.report.run_page import run_page
from tests.report.conftest import NASTY, entry, measurements
from tests.report.printers.test_site import Page

EXPERIMENT = {"family": "logit_lens", "parameters": {"text": "</script><script>alert(1)</script>"}}


@pytest.fixture(scope="module")
def pages() -> tuple[str, str]:
    return run_page(entry(), EXPERIMENT, slug="fact-recall")


def test_the_page_is_whole(pages) -> None:
    html, markdown = pages
    for text in (Page(html).text, markdown.replace("\\", "")):
        for said in (
            "fact-recall/lens on tiny-llama", "final_rank", interval_of(measurements()["final_rank"]),
            "counted by design", "five seeds are too few", "other_rank", "Rank of the answer by layer",
            "hooked logits equal the plain forward pass", "10 of 25 rows",
            "torch 2.13.0", "dequantised from Q4_1", "logit_lens", "mech run --name fact-recall/lens",
        ):  # fmt: skip
            assert said in text, said


def test_the_page_needs_nothing_from_elsewhere(pages) -> None:
    shown = Page(pages[0])
    links = [v for _, a, _ in shown.elements for k, v in a.items() if k in ("src", "href") and v]
    inside = ("data:text/csv;base64,", "data:image/svg+xml;base64,")
    assert links and all(link.startswith(inside) for link in links)
    assert not shown.all("link")
    assert not re.search(r"url\(|@import", "".join(pages[0].partition("</style>")[0]))


def test_charts_are_inside_and_the_data_cannot_end_a_script(pages) -> None:
    html = pages[0]
    assert [t for t, *_ in Page(html).elements].count("script") == 3
    specs = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.S)
    assert specs and len(json.loads(specs[1])) == 2
    assert NASTY.partition("\n")[0] in Page(html).text


def test_tables_can_be_scrolled_and_read(pages) -> None:
    shown = Page(pages[0])
    for box in shown.all("div", "scroll"):
        assert box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"]
    assert {a.get("scope") for a in shown.all("th")} == {"col"}


def test_charts_have_their_pictures_inside(pages) -> None:
    pictures = Page(pages[0]).all("img", "picture")
    assert len(pictures) == 2 and all("layer" in str(a["alt"]) or "logit" in str(a["alt"]) for a in pictures)
    for picture in pictures:
        start, _, data = str(picture["src"]).partition(",")
        assert start == "data:image/svg+xml;base64" and base64.b64decode(data).startswith(b"<svg")


def test_a_failed_check_withholds_the_numbers_and_says_why() -> None:
    failed = replace(entry(), checks=(Check("padding", 0.2, 1e-4, "about"),))
    html, markdown = run_page(failed, EXPERIMENT)
    assert "check padding failed: 0.2, at most 0.0001 is allowed" in markdown
    assert (
        "final_rank" not in html + markdown and "other_rank" not in html + markdown and "<script" not in html
    )


def test_an_unmeasured_entry_says_why_and_how_to_measure_it() -> None:
    absent = replace(
        entry(), state="unmeasured", reason="no network", measurements={}, tables={}, figures={}, checks=(),
        provenance=None,
    )  # fmt: skip
    _, markdown = run_page(absent, EXPERIMENT, slug="fact-recall")
    assert (
        "unmeasured: no network" in markdown
        and "mech run --name fact-recall/lens --model tiny-llama" in markdown
    )


def test_what_a_command_says_stands_before_the_numbers_under_its_own_title() -> None:
    pages = run_page(
        entry(),
        EXPERIMENT,
        title="Refusal of <tiny>",
        opening=lambda printer: [printer.section("Answers", [printer.paragraph("Yes & no.")])],
    )
    for text in (Page(pages[0]).text, pages[1].replace("\\", "")):
        assert "Refusal of <tiny>" in text
        assert text.index("Answers") < text.index("Yes & no.") < text.index("Findings")
    assert "<tiny>" not in pages[0]
