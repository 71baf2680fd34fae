"""A figure in the app is the figure of the site."""

from __future__ import annotations

import json
import re
from html import unescape

import pandas as pd

from engine.demo.charts import figure_html
from engine.evidence.result import Figure
from engine.report.charts.draw import draw
from tests.demo.toy_panel import FIGURE


def test_the_spec_is_the_sites_own_whatever_the_data_say() -> None:
    table = pd.DataFrame({"word": ['"><script>', "&amp;", "a'b"], "letters": [1, 2, 3]})
    html = figure_html(FIGURE, table)
    found = re.search(r'data-spec="([^"]*)"', html)
    assert found and json.loads(unescape(found[1])) == draw(FIGURE, table).spec
    assert "<script>" not in html


def test_title_caption_and_words_are_there_without_the_drawing() -> None:
    table = pd.DataFrame({"x": [1, 2], "y": [0.5, 1.5]})
    figure = Figure("line", "t", {"x": "x", "y": "y"}, "How <y> moves", caption="A caption.")
    html = figure_html(figure, table)
    assert "How &lt;y&gt; moves" in html and "A caption." in html
    assert 'role="img"' in html and draw(figure, table).alt.split(".")[1].strip()[:5] in unescape(html)
