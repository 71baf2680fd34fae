"""A chart that stands still: SVG for print, for a page without script and for a paper, PNG for posts.

Vega draws it at build, by vl-convert, in this process and with no network. It is drawn for white paper,
whatever the reader's screen looks like, and kept by a hash of what it shows, so that each is drawn once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

from engine.errors import PictureError
from engine.report.charts.vega import VEGA_LITE
from engine.report.json_cache import JsonCache

WIDTH = 720
"""Pixels of a chart that would fill its page, its axes and legends included."""

PLOT_WIDTH = 650  # leaves room for an axis of numbers or of short words
SHORT_WORDS = 20  # characters
PNG_SCALE = 2.0
MOST_PIXELS = 40_000_000  # of a PNG: 160 MB while it is made
TITLE_CHARACTERS = 84  # of the title's size that fit into WIDTH

# The same widths as Arial and Helvetica, which a reader without it has; vl-convert brings it along.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
INK = "#1b2026"
QUIET = "#59626d"
LINE = "#e2e5e9"
_TEXT = {
    "labelColor": QUIET,
    "labelFont": FONT,
    "labelFontSize": 12,
    "labelLimit": 240,
    "titleColor": INK,
    "titleFont": FONT,
    "titleFontSize": 12,
    "titleFontWeight": 600,
}
PAPER = {
    "aria": False,  # words for every mark; a picture has one text that says what it shows
    "font": FONT,
    "axis": {**_TEXT, "gridColor": LINE, "domainColor": LINE, "tickColor": LINE},
    "axisQuantitative": {"tickCount": 6},  # nobody zooms in
    "legend": _TEXT,
    "header": _TEXT,
    "title": {"color": INK, "subtitleColor": QUIET, "font": FONT, "anchor": "start", "fontSize": 15},
    "text": {"color": INK},
    "rule": {"color": QUIET},
}
"""The page's light theme (site/javascripts/mech.js) as a `config` of Vega-Lite."""

_UNCUT = {"axis": {"labelLimit": 0}, "legend": {"labelLimit": 0, "titleLimit": 0}}
_FITTED = {"width": WIDTH, "autosize": {"type": "fit-x", "contains": "padding"}}

# Not allowed in XML. Of these vl-convert ends the whole process while it measures a text.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SIZE = re.compile(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"')


@dataclass(frozen=True)
class Picture:
    """A chart as SVG, and its size in pixels as it is meant to be seen."""

    svg: str
    width: float
    height: float


class PictureCache:
    """Pictures of charts, kept in a project's `.engine` folder; without one, nothing is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self.pictures = JsonCache(folder and folder / "pictures")

    def picture(self, spec: Mapping[str, Any]) -> Picture:
        """The chart as SVG on white, from a Vega-Lite spec with its data inside, such as `Chart.spec`.

        Raises PictureError where vl-convert refuses it.
        """
        written = written_spec(spec)
        key = picture_hash(written)
        if known := self.pictures.get(key):
            return Picture(**known)
        made = _drawn(written)
        self.pictures.put(key, asdict(made))
        return made

    def png(self, spec: Mapping[str, Any], *, scale: float = PNG_SCALE) -> bytes:
        """The same picture as PNG, of `scale` pixels for each of the SVG's. Raises PictureError."""
        key = f"{picture_hash(written_spec(spec))}-{scale:g}"
        if known := self.pictures.get(key):
            return base64.b64decode(known)
        made = png_of(self.picture(spec), scale)
        self.pictures.put(key, base64.b64encode(made).decode())
        return made

    def prune(self) -> None:
        """Delete what was not shown for longest, where there is much."""
        self.pictures.prune()


def with_title(spec: Mapping[str, Any], title: str, subtitle: str = "") -> dict[str, Any]:
    """The chart under its title, for a place that has no caption, such as a post."""
    text: dict[str, str | Sequence[str]] = {"text": textwrap.wrap(title, TITLE_CHARACTERS)}
    if subtitle:
        text["subtitle"] = textwrap.wrap(subtitle, TITLE_CHARACTERS)
    return {**spec, "title": text}


def written_spec(spec: Mapping[str, Any]) -> str:
    """The spec as it is drawn on paper, as JSON."""
    paper = {name: value for name, value in spec.items() if name != "description"}
    paper["config"] = _merged(spec.get("config", {}), {**PAPER, "background": "white"})
    # Measuring text is most of the work: to fit a chart into a width takes it twice, to cut labels once more.
    is_short = _longest_word(spec) <= SHORT_WORDS
    if is_short:
        paper["config"] = _merged(paper["config"], _UNCUT)
    if spec.get("width") == "container":
        paper |= {"width": PLOT_WIDTH} if is_short else _FITTED
    return json.dumps(_as_xml_text(paper), ensure_ascii=False, separators=(",", ":"))


def _longest_word(spec: Mapping[str, Any]) -> float:
    """Characters of the longest text in a chart's rows; those of a chart of several tables count as long."""
    if "data" not in spec:
        return inf
    rows = spec["data"].get("values", ())
    return max((len(text) for row in rows for text in row.values() if isinstance(text, str)), default=0)


def _merged(config: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """One `config` over another, as vega-embed lays a page's theme over a chart's own look."""
    both = {**config, **over}
    for name in config.keys() & over.keys():
        if isinstance(config[name], Mapping) and isinstance(over[name], Mapping):
            both[name] = {**config[name], **over[name]}
    return both


def picture_hash(written: str) -> str:
    """What a picture is kept by: all that it shows, and what draws it."""
    return hashlib.sha256(f"{_drawn_by()}\0{written}".encode()).hexdigest()


def picture_of(spec: Mapping[str, Any]) -> Picture:
    """The chart as SVG on white, drawn now. Raises PictureError where vl-convert refuses it."""
    return _drawn(written_spec(spec))


def _drawn(written: str) -> Picture:
    import vl_convert

    try:
        svg = vl_convert.vegalite_to_svg(written, vl_version=VEGA_LITE, allowed_base_urls=[])
    except (ValueError, RuntimeError) as error:
        raise _refused(error) from error
    size = _SIZE.match(svg)
    if size is None:
        raise PictureError("a chart came out as no picture", expected="SVG with a size", seen=svg[:80])
    return Picture(svg, float(size[1]), float(size[2]))


def png_of(picture: Picture, scale: float = PNG_SCALE) -> bytes:
    """A picture as PNG. Raises PictureError where it has too many pixels or is refused."""
    import vl_convert

    pixels = picture.width * picture.height * scale**2
    if pixels > MOST_PIXELS:
        size = f"{picture.width * scale:,.0f} by {picture.height * scale:,.0f} pixels"
        raise PictureError("a chart is too large for a PNG", expected=f"{MOST_PIXELS:,} pixels", seen=size)
    try:
        return vl_convert.svg_to_png(picture.svg, scale=scale)
    except (ValueError, RuntimeError) as error:
        raise _refused(error) from error


def _refused(error: Exception) -> PictureError:
    """What vl-convert says, without its stack of minified functions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines[:3] if not line.startswith(("at ", "Stack backtrace"))]
    return PictureError(
        "a chart could not be drawn as a picture",
        expected="a Vega-Lite specification that vl-convert draws",
        seen=" ".join(told)[:300],
    )


def _as_xml_text(value: Any) -> Any:
    """The same with U+FFFD for each character that XML does not allow, in values and in names."""
    if isinstance(value, str):
        return _NO_XML.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_as_xml_text(name): _as_xml_text(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_as_xml_text(part) for part in value]
    return value


@cache
def _drawn_by() -> str:
    return f"vl-convert {version('vl-convert-python')}, Vega-Lite {VEGA_LITE}"
