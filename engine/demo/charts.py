"""A declared figure in the app: the same Vega-Lite spec as on the site, drawn by a component of our own.

The component is plain HTML with the spec in an attribute; `assets/demo.js` draws it with the site's own build
of Vega, redraws it when light turns dark, and tells a click on a mark with the row that the mark stands for.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

import gradio as gr
import pandas as pd

from engine.evidence.result import Figure
from engine.report.charts.draw import draw

# The one line that runs in the component: what demo.js tells becomes an event of Gradio's.
ON_LOAD = "element.addEventListener('mech-mark', event => trigger('click', event.detail))"


def figure_view(label: str, *, clickable: bool = False) -> gr.HTML:
    """The component that shows `figure_html(...)`; its `click` carries a mark's datum (`clicked_datum`).

    A function and no class of ours: Gradio writes a stub file beside the module of every subclass.
    """
    classes = ["mech-figure", "mech-clickable"] if clickable else ["mech-figure"]
    return gr.HTML("", label=label, elem_classes=classes, js_on_load=ON_LOAD, padding=False)


def figure_html(figure: Figure, table: pd.DataFrame) -> str:
    """A figure of a table as what `figure_view` shows: chart, title, caption and the chart in words."""
    drawn = draw(figure, table)
    spec = escape(json.dumps(drawn.spec, separators=(",", ":")), quote=True)
    caption = " ".join(filter(None, [figure.caption, drawn.sampled]))
    return (
        f'<figure class="mech-chart" data-spec="{spec}">'
        f"<figcaption><strong>{escape(figure.title)}</strong> {escape(caption)}</figcaption>"
        '<div class="mech-scroll">'
        f'<div class="mech-drawing" role="img" aria-label="{escape(drawn.alt)}"></div></div>'
        f"<details><summary>In words</summary><p>{escape(drawn.alt)}</p></details></figure>"
    )


def clicked_datum(event: gr.EventData) -> dict[str, Any]:
    """The row of the mark that was clicked, by column; empty for what is no row."""
    datum = getattr(event, "_data", None)
    return dict(datum) if isinstance(datum, dict) else {}
