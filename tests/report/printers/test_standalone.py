"""A page that carries everything inside of it, and that nothing inside of it can end."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pandas as pd

from engine.report.charts.chart import Chart
from engine.report.printers.standalone import StandalonePrinter
from engine.report.tables import Grid
from tests.report.conftest import NASTY, figures
from tests.report.printers.test_site import Page

TABLES = {"lens.by_layer": pd.DataFrame({"prompt": [NASTY, "b,c"], "layer": [0, 1]})}


def test_a_link_carries_the_whole_table_whatever_it_holds() -> None:
    page = Page(str(StandalonePrinter(TABLES).table("lens.by_layer", "Ranks", Grid(["a"], [["x"]]), "")))
    (link,) = page.all("a")
    kind, _, data = str(link["href"]).partition(";base64,")
    assert kind == "data:text/csv"
    assert base64.b64decode(data).decode() == TABLES["lens.by_layer"].to_csv(index=False)


def test_charts_are_drawn_in_the_order_of_their_places_and_cannot_end_the_script() -> None:
    printer = StandalonePrinter(TABLES)
    assert printer.end() == ""
    for name in ("first", "</script><b>second"):
        printer.chart(name, figures()["by_layer"], Chart({"name": name}, "It falls.", ""), "lens.by_layer")
    specs = re.search(r'<script type="application/json" id="charts">(.*?)</script>', printer.end(), re.S)
    assert specs
    assert [spec["name"] for spec in json.loads(specs[1])] == ["first", "</script><b>second"]


def test_a_page_without_charts_has_no_script() -> None:
    printer = StandalonePrinter({})
    page = Page(printer.page("<Title>", str(printer.paragraph("<b>"))))
    assert page.all("script") == []
    assert "<Title>" in page.text and "<b>" in page.text


def test_numbers_stand_flush_right_and_missing_sides_are_left() -> None:
    html = str(StandalonePrinter({}).grid(Grid(["n", "word"], [[3, "x"]], [True])))
    assert '<th scope="col" class="right">n</th><th scope="col">word</th>' in html
    assert '<td class="right">3</td><td>x</td>' in html


def test_an_empty_list_is_nothing_at_all() -> None:
    printer = StandalonePrinter({})
    assert printer.items([]) == ""
    assert printer.items(["a & b"]) == "<ul><li>a &#x26; b</li></ul>"


def test_a_page_lets_its_own_scripts_run_and_no_other() -> None:
    printer = StandalonePrinter({})
    policy = re.search(r'Content-Security-Policy" content="(.*?)">', printer.page("Empty", ""))
    assert policy and "script-src 'none';" in policy[1]
    printer.charts.append({"name": "first"})
    html = printer.page("A run", "")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.S)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(hashes) == 2
    assert "script-src " + " ".join(f"'sha256-{text}'" for text in hashes) + ";" in html


def test_a_chart_that_cannot_be_drawn_as_a_picture_keeps_its_words() -> None:
    shown = Page(
        str(
            StandalonePrinter(TABLES).chart(
                "a", figures()["by_layer"], Chart({}, "It falls.", ""), "lens.by_layer"
            )
        )
    )
    (alt,) = shown.all("span", "mech-alt")
    assert (alt["role"], alt["aria-label"]) == ("img", "It falls.")
    assert shown.all("noscript") and not shown.all("img")
