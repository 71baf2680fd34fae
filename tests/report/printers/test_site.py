"""The page as a browser and a screen reader meet it: data is text, every button has its popover."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from markdown import markdown

from engine.errors import PictureError
from engine.evidence.result import Check, Figure
from engine.report.charts.pictures import PictureCache
from engine.report.lint import Concern
from engine.report.numbers import digits_of, interval_of
from engine.report.render import RenderedReport, render
from engine.spec.models import KeyNumber
from tests.report.conftest import NASTY, measurements

TEMPLATE = """# Title

{{ lens.final_rank }} begins a line, **{{ lens.final_rank }}** again, {{ lens.final_rank.on("tiny-gpt2") }},
{{ lens.final_rank.on("far-away") }}, {{ bad.final_rank }}, {{ lens.share_known | percent }}.

- {% claim "rank-falls" %}The rank *falls* to {{ lens.final_rank }}.{% endclaim %}
- {% claim "mostly-known" %}It knows.{% endclaim %}
- {% claim "mostly-known", "contradicted" %}No.{% endclaim %}

| a | b |
|---|---|
| {{ lens.final_rank }} | {{ lens.seed_spread }} |

{{ chart("lens.by_layer") }} {{ chart("lens.by_layer") }}

{{ table("lens.per_prompt") }}

{{ where_it_holds() }}

{{ how_measured() }}

{{ repeat() }}
"""
CHARTS = '{{ chart("lens.by_layer") }} {{ chart("lens.by_layer") }}'
VOID = {"br", "hr", "img", "meta", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes, parents and text; every element closed in its order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str = "", cls: str = "") -> list[dict[str, str | None]]:
        return [
            a for t, a, _ in self.elements if tag in ("", t) and cls in ("", *(a.get("class") or "").split())
        ]


EXTENSIONS = ["attr_list", "md_in_html", "tables", "toc", "footnotes", "admonition", "pymdownx.superfences"]
MORE = ["smarty", "pymdownx.emoji", "pymdownx.magiclink", "pymdownx.smartsymbols", "pymdownx.caret"]
MORE += ["pymdownx.tilde", "pymdownx.mark", "pymdownx.betterem", "pymdownx.arithmatex", "pymdownx.critic"]


def page(ledger, template: str = TEMPLATE, extensions=("attr_list", "md_in_html", "tables")) -> Page:
    """What stands below the opening of a page, and its popovers; `opened` is a whole one."""
    spec = ledger.spec.model_copy(update={"headline": ""})
    rendered = render(replace(ledger, spec=spec), template, Path("report.md"))
    return Page(markdown(rendered.markdown, extensions=list(extensions)) + rendered.popovers)


def opened(ledger) -> Page:
    """The opening of a page with two key numbers, and its popovers."""
    numbers = [
        KeyNumber(number="lens.final_rank", says="the <b>rank</b>", control_says="another's"),
        KeyNumber(number="lens.share_known", says="of the facts", percent=True, control="lens.n_kept"),
    ]
    spec = ledger.spec.model_copy(update={"key_numbers": numbers, "headline": "*So*: {{ lens.final_rank }}."})
    rendered = render(replace(ledger, spec=spec), "", Path("report.md"))
    text = rendered.opening + rendered.claims
    return Page(markdown(text, extensions=["attr_list", "md_in_html", "tables"]) + rendered.popovers)


@pytest.mark.parametrize("extensions", [("attr_list", "md_in_html", "tables"), EXTENSIONS, EXTENSIONS + MORE])
def test_data_appears_as_text_and_as_nothing_else(ledger, extensions) -> None:
    shown = page(ledger, '{{ table("lens.per_prompt", rows=1) }}', extensions)
    assert {t for t, *_ in shown.elements} <= {
        "div",
        "p",
        "span",
        "a",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert len(shown.all("td")) == 4
    expected = NASTY.replace("\n", "⏎").replace("\x02", "\ufffd").replace("\x03", "\ufffd")
    assert expected in shown.text


def nasty_everywhere(ledger):
    """A ledger in which every text that comes from outside is hostile."""
    figure = Figure("strip", "t", {"x": "x", "y": "y", "label": "label"}, NASTY, NASTY)
    table = pd.DataFrame({"x": [NASTY], "y": [1.0], "label": [NASTY], NASTY: [NASTY]})
    first = ledger.entries[0]
    assert first.provenance is not None
    measured = {k: replace(m, about=NASTY, note=NASTY, unit=NASTY) for k, m in first.measurements.items()}
    provenance = replace(first.provenance, device=NASTY, command=NASTY, versions={NASTY: NASTY})
    tables = {"by_layer": table, "per_prompt": table, "t": table}
    entry = replace(
        first, reason=NASTY, measurements=measured, tables=tables,
        figures={"by_layer": figure}, checks=(Check(NASTY, 0.0, 1.0, NASTY),), provenance=provenance,
    )  # fmt: skip
    said = {k: replace(v, reason=NASTY) for k, v in ledger.verdicts["tiny-llama"].items()}
    verdicts = {**ledger.verdicts, "tiny-llama": said}
    claims = {k: c.model_copy(update={"says": NASTY}) for k, c in ledger.spec.claims.items()}
    spec = ledger.spec.model_copy(update={"claims": claims})
    return replace(ledger, spec=spec, entries=(entry, *ledger.entries[1:]), verdicts=verdicts)


def test_no_text_from_outside_becomes_markup(ledger) -> None:
    shown = page(nasty_everywhere(ledger))
    tags = {t for t, *_ in shown.elements}
    assert "script" not in tags and "b" not in tags and "h1" in tags
    assert not [a for _, a, _ in shown.elements if "onclick" in a]
    assert len(shown.all("h1")) == 1 and shown.text.count("<script>alert(1)</script>") > 20
    assert "<script>alert(1)</script>" in str(shown.all("span", "mech-alt")[0]["aria-label"])


def test_every_button_opens_a_popover_that_is_there_once(ledger) -> None:
    shown = page(ledger)
    ids = [a["id"] for a in shown.all() if "id" in a]
    assert len(ids) == len(set(ids))
    popovers = {a["id"] for a in shown.all("div", "mech-popover") if "popover" in a}
    targets = [
        a["popovertarget"] for a in shown.all("button", "mech-number") + shown.all("button", "mech-verdict")
    ]
    assert set(targets) == popovers and len(targets) > len(popovers)
    for a in shown.all("div", "mech-popover"):
        assert a["role"] == "dialog" and a["aria-labelledby"] in ids
    assert {a["type"] for a in shown.all("button")} == {"button"}


def test_every_number_and_claim_has_an_address_that_its_popover_tells(ledger) -> None:
    shown = page(ledger)
    numbers = [a["id"] for a in shown.all("button", "mech-number")]
    assert numbers[:6] == [
        "lens.final_rank",
        "lens.final_rank-2",
        "lens.final_rank-tiny-gpt2",
        "lens.final_rank-far-away",
        "bad.final_rank",
        "lens.share_known",
    ]
    claims = [a["id"] for a in shown.all("span", "mech-claim")]
    assert claims == ["claim.rank-falls", "claim.mostly-known", "claim.mostly-known-2"]
    links = {str(a["href"])[1:] for a in shown.all("a", "mech-permalink")}
    # One popover for all places of a number or claim, which names the first of them.
    assert links == {id for id in [*numbers, *claims] if not re.search(r"-\d$", str(id))}
    assert links <= {a["id"] for a in shown.all() if "id" in a}


def test_in_prose_stands_only_what_a_paragraph_may_hold(ledger) -> None:
    inside = {t for t, _, parents in page(ledger).elements if {"p", "li", "td"} & set(parents)}
    assert inside <= {"button", "span", "strong", "em", "a", "p", "td", "li", "ul", "code"}


def test_a_number_carries_its_evidence(ledger) -> None:
    evidence, rank = page(ledger, "{{ lens.final_rank }}").text, measurements()["final_rank"]
    for fact in (
        "Value", digits_of(rank), "95\u00a0% interval", interval_of(rank), "120 prompts", "mean",
        "other_rank 375", "the select half",
        "Replicated", "12.8 was published", "b71cb71cb71c", "a3f9a3f9a3f9", "tiny-llama, hash c0dec0dec0de",
        "dequantised from Q4_1", "float32", "cpu", "torch 2.13.0", "2026-01-31 12:40 UTC",
        "8.25 s", "1.2 GB", "code c0ffee, data da7a",
        "mech run --name fact-recall/lens --model tiny-llama",
    ):  # fmt: skip
        assert fact in evidence, fact


@pytest.mark.parametrize(
    ("number", "state", "reason"),
    [
        ('lens.final_rank.on("far-away")', "unmeasured", "the hub cannot be reached"),
        ('lens.final_rank.on("tiny-gpt2")', "published", "not measured here"),
        ("bad.final_rank", "withheld", "check padding failed: 0.2, at most 0.0001 is allowed"),
    ],
)
def test_numbers_say_where_they_come_from(ledger, number: str, state: str, reason: str) -> None:
    shown = page(ledger, f"{{{{ {number} }}}}")
    assert shown.all("button", "mech-number")[0]["data-state"] == state
    assert reason in shown.text


def test_drift_is_said(ledger) -> None:
    assert "Drift0.9 was published" in page(ledger, "{{ lens.share_known }}").text


def test_claims_say_their_verdict_in_words(ledger) -> None:
    shown = page(ledger, '{% claim "mostly-known", "contradicted" %}No.{% endclaim %}')
    claim = shown.all("span", "mech-claim")[0]
    assert (claim["data-verdict"], claim["data-asserted"]) == ("contradicted", "contradicted")
    assert "No. Hypothesis: The model knows most facts contradicted" in shown.text
    assert "On tiny-gpt2undetermined: holds in 60\u00a0%" in shown.text


def test_a_sentence_that_says_its_hypothesis_has_the_verdict_alone(ledger) -> None:
    shown = page(ledger, '{% claim "rank-falls" %}It falls.{% endclaim %}')
    assert "It falls. supported" in shown.text and not shown.all("span", "mech-hypothesis")


def test_charts_say_what_they_show(ledger) -> None:
    shown = page(ledger, '{{ chart("lens.by_layer") }}')
    (alt,) = shown.all("span", "mech-alt")
    assert alt["role"] == "img" and "falls from 380 at layer 0" in str(alt["aria-label"])
    assert shown.all("noscript") and shown.all("figcaption") and shown.all("div", "mech-chart-view")


def undrawn(rendered: RenderedReport) -> list[Concern]:
    return [concern for concern in rendered.concerns if concern.kind == "undrawn-chart"]


def test_a_chart_stands_as_its_picture_until_a_script_draws_it(ledger) -> None:
    rendered = render(ledger, CHARTS, Path("report.md"), pictures=PictureCache())
    shown = Page(markdown(rendered.markdown, extensions=EXTENSIONS))
    first, again = shown.all("img", "mech-picture")
    assert first == again and first["src"] == "charts/lens.by_layer.svg"
    assert "falls from 380 at layer 0" in str(first["alt"]) and first["loading"] == "lazy"
    # Drawn 720 wide, less what this machine's letters leave over beside the axes.
    assert 700 <= float(str(first["width"])) <= 720 and float(str(first["height"])) > 200
    assert list(rendered.pictures) == ["lens.by_layer"] and not undrawn(rendered)
    assert rendered.pictures["lens.by_layer"].startswith("<svg")
    # Said once, by the picture.
    assert not shown.all("span", "mech-alt") and not shown.all("noscript")


def test_a_chart_that_has_no_picture_is_told_once_and_drawn_by_the_script(ledger, monkeypatch) -> None:
    def refused(cache: PictureCache, spec: dict) -> None:
        raise PictureError("a chart could not be drawn", seen="too hard to draw")

    monkeypatch.setattr(PictureCache, "picture", refused)
    rendered = render(ledger, CHARTS, Path("report.md"), pictures=PictureCache())
    shown = Page(markdown(rendered.markdown, extensions=EXTENSIONS))
    assert not shown.all("img") and not rendered.pictures
    assert len(shown.all("figure", "mech-chart")) == len(shown.all("span", "mech-alt")) == 2
    assert "Data (CSV)" in shown.text and "Picture (SVG)" not in shown.text
    (concern,) = undrawn(rendered)
    assert concern.where == "report.md: chart lens.by_layer"
    assert "too hard to draw" in concern.message


def test_a_chart_of_a_table_without_rows_is_a_notice(ledger) -> None:
    first = ledger.entries[0]
    entry = replace(first, tables={**first.tables, "by_layer": first.tables["by_layer"].iloc[:0]})
    empty = replace(ledger, entries=(entry, *ledger.entries[1:]))
    rendered = render(empty, '{{ chart("lens.by_layer") }} And more.', Path("report.md"))
    shown = Page(markdown(rendered.markdown))
    assert "Chart lens.by_layer is not drawn, because its table by_layer has no rows." in shown.text
    assert "And more." in shown.text and not rendered.charts
    (concern,) = undrawn(rendered)
    assert "lens.by_layer" in concern.message


def test_a_spec_with_markdown_in_it_is_copied_as_text(ledger, tmp_path) -> None:
    written = "# heading\n\n    indented\n\n- *item*\n<b>{{ x }}</b>\n"
    (tmp_path / "spec.yaml").write_text(written)
    source = render(ledger, "{{ repeat() }}\n\nafter", tmp_path / "report.md").markdown
    for extensions in (["md_in_html"], EXTENSIONS):
        shown = Page(markdown(source, extensions=extensions))
        assert written.strip() in shown.text and not shown.all("h1") and not shown.all("b")
        assert shown.text.strip().endswith("after")


def test_a_reference_leads_back_to_each_place_that_cites_it(ledger, tmp_path) -> None:
    (tmp_path / "references.bib").write_text("@misc{a, title={A}, year=2020}\n@misc{b, title={B}, year=2021}")
    rendered = render(ledger, "One [@a], two [@a; @b].", tmp_path / "report.md")
    shown = Page(markdown(rendered.markdown, extensions=EXTENSIONS))
    cited = [(a["id"], a["href"]) for a in shown.all("a", "mech-citation")]
    assert cited == [("cite-a", "#ref-a"), ("cite-a-2", "#ref-a"), ("cite-b", "#ref-b")]
    back = [(a["href"], a["aria-label"]) for a in shown.all("a", "mech-back")]
    assert back == [
        ("#cite-a", "Back to where A 2020 is cited, 1"),
        ("#cite-a-2", "Back to where A 2020 is cited, 2"),
        ("#cite-b", "Back to where B 2021 is cited"),
    ]


def test_a_page_opens_with_its_finding_and_each_key_number_beside_its_control(ledger) -> None:
    shown = opened(ledger)
    assert "*So*: 13." in shown.text
    assert len(shown.all("p", "mech-headline")) == 1
    assert len(shown.all("div", "mech-card")) == 2
    for said in ("13 ranks", "the <b>rank</b>", "Control: 375, another's", "75\u00a0%", "of the facts"):
        assert said in shown.text
    assert "95 % CI" not in shown.text.split("Hypotheses and verdicts")[0]
    assert {t for t, _, parents in shown.elements if "p" in parents} <= {
        "button",
        "small",
        "span",
        "a",
        "code",
    }


def test_no_line_begins_with_the_punctuation_behind_a_number(ledger) -> None:
    shown = page(ledger, "It is ({{ lens.n_kept }}), {{ lens.n_kept }} or so.")
    assert len(shown.all("span", "mech-unbroken")) == 1
    assert "It is (120), 120 or so." in shown.text


def test_claims_stand_below_the_finding_with_the_verdict_on_the_primary_model(ledger) -> None:
    text = opened(ledger).text.split("Hypotheses and verdicts")[1]
    assert "On tiny-llama" in text and "lens.final_rank < lens.other_rank" in text
    assert "The model knows most facts" in text and "contradicted 0.1" in text


def test_a_popover_writes_a_percentage_as_the_text_does(ledger) -> None:
    text = page(ledger, "{{ lens.share_known | percent }}").text
    assert "Value75\u00a0%" in text and "71\u00a0% to 79\u00a0%" in text.replace(" 95\u00a0%", "")
