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
from collections import Counter
from collections.abc import Mapping
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
MOST_LABEL_CHARACTERS = 40  # some 240 pixels
MOST_CHARACTERS = 100  # of a line of a title
PNG_SCALE = 2.0
MOST_PIXELS = 40_000_000  # of a PNG: 160 MB while it is made
TITLE_CHARACTERS = 84  # of the title's size that fit into WIDTH
TITLE_LINES = 3

# The same widths as Arial and Helvetica, which a reader without it has; vl-convert brings it along.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
INK = "#1b2026"
QUIET = "#59626d"
LINE = "#e2e5e9"
_TEXT = {
    "labelColor": QUIET,
    "labelFont": FONT,
    "labelFontSize": 12,
    "labelLimit": 0,  # they are cut before
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
    "legend": {**_TEXT, "titleLimit": 0},
    "header": _TEXT,
    "title": {"color": INK, "subtitleColor": QUIET, "font": FONT, "anchor": "start", "fontSize": 15},
    "text": {"color": INK},
    "rule": {"color": QUIET},
}
"""The page's light theme (site/javascripts/mech.js) as a `config` of Vega-Lite."""

NOT_DRAWN = ("description",)
"""Of a spec: said to those who do not see the chart."""
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
        key = picture_hash(spec)
        if known := self.pictures.get(key):
            return Picture(**known)
        made = picture_of(spec)
        self.pictures.put(key, asdict(made))
        return made

    def png(self, spec: Mapping[str, Any], *, scale: float = PNG_SCALE) -> bytes:
        """The same picture as PNG, of `scale` pixels for each of the SVG's. Raises PictureError."""
        key = f"{picture_hash(spec)}-{scale:g}"
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
    text = {"text": _lines(title)}
    if subtitle:
        text["subtitle"] = _lines(subtitle)
    return {**spec, "title": text}


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, TITLE_CHARACTERS, max_lines=TITLE_LINES, placeholder=" …")


def written_spec(spec: Mapping[str, Any]) -> str:
    """The spec as it is drawn on paper, as JSON."""
    paper = _Legible().view({name: value for name, value in spec.items() if name not in NOT_DRAWN})
    paper["config"] = _merged(paper.get("config", {}), {**PAPER, "background": "white"})
    if paper.get("width") == "container":
        # Measuring text is most of the work, and to fit a chart into a width takes it twice.
        paper |= {"width": PLOT_WIDTH} if _longest_word(spec) <= SHORT_WORDS else _FITTED
    return json.dumps(paper, ensure_ascii=False, separators=(",", ":"))


class _Legible:
    """A spec whose text can be drawn: as XML allows it, in no more characters than there is room for.

    vl-convert would measure a long text for minutes, and cannot cut one with emoji. Two values that begin
    alike stay two values.
    """

    def __init__(self) -> None:
        self.cut: dict[str, str] = {}  # by the whole value
        self.begun: Counter[str] = Counter()

    def view(self, value: Any, key: str = "") -> Any:
        """A part of the spec, which stands under this key."""
        if isinstance(value, Mapping):
            if key == "values":  # a row
                return {_as_xml(name): self.view(part, key) for name, part in value.items()}
            return {_as_xml(name): self.view(part, name) for name, part in value.items() if name != "tooltip"}
        if isinstance(value, list | tuple):
            return [self.view(part, key) for part in value]
        if not isinstance(value, str):
            return value
        if key in ("values", "sort", "domain"):
            return self._value(value)
        return _as_xml(value)[:MOST_CHARACTERS] if key in ("title", "subtitle", "text") else _as_xml(value)

    def _value(self, text: str) -> str:
        if len(text) <= MOST_LABEL_CHARACTERS:
            return _as_xml(text)
        if text not in self.cut:
            beginning = _as_xml(text[: MOST_LABEL_CHARACTERS - 3])
            self.begun[beginning] += 1
            copy = self.begun[beginning]
            self.cut[text] = f"{beginning}…" if copy == 1 else f"{beginning}… {copy}"
        return self.cut[text]


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


def picture_hash(spec: Mapping[str, Any]) -> str:
    """What a picture is kept by: all that it may show, and what draws it."""
    shown = {name: value for name, value in spec.items() if name not in NOT_DRAWN}
    written = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
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


def _as_xml(text: str) -> str:
    """The same with U+FFFD for each character that XML does not allow."""
    return _NO_XML.sub("\ufffd", text)


@cache
def _drawn_by() -> str:
    ours = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()  # how a spec is changed for paper
    return f"vl-convert {version('vl-convert-python')}, Vega-Lite {VEGA_LITE}, {ours}"
