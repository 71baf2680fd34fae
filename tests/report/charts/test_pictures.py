"""A chart's still picture: on white, whole, whatever its text holds, drawn once."""

from __future__ import annotations

import struct
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from engine.errors import PictureError
from engine.evidence.result import Figure
from engine.report.charts import pictures
from engine.report.charts.chart import Chart
from engine.report.charts.draw import draw
from engine.report.charts.pictures import (
    MOST_PIXELS,
    PictureCache,
    picture_hash,
    picture_of,
    with_title,
)
from engine.report.json_cache import JsonCache
from tests.report.charts import made_up

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "</text><script>alert(1)</script> ]]> & 'quoted' \x00\x02\x0b\x1f\x7f \ufffe \uffff"
UNICODE = "漢字 🦜 שלום é θ̂ ∑"


def spec_of(kind: str, table: pd.DataFrame = made_up.TABLE) -> dict:
    return draw(made_up.figure(*made_up.FIGURES[kind]), table).spec


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def named(words: str) -> dict:
    """A bar chart in which a text from outside is a value, a column and an axis title."""
    table = pd.DataFrame({words: [words, "other"], "y": [1.0, 2.0]})
    return draw(Figure("bar", "t", {"x": words, "y": "y"}, words, words, {"y_title": words}), table).spec


@pytest.mark.parametrize("kind", made_up.FIGURES)
def test_every_kind_of_chart_has_a_picture_on_white(kind: str) -> None:
    picture = picture_of(spec_of(kind))
    root = ElementTree.fromstring(picture.svg)
    background = root[0]
    assert background.tag == f"{SVG}rect" and background.get("fill") == "white"
    assert (float(root.get("width", 0)), float(root.get("height", 0))) == (picture.width, picture.height)
    assert 200 < picture.width <= 1.05 * pictures.WIDTH and picture.height > 100
    assert "layer" in texts(picture.svg) or "mean rank" in texts(picture.svg)
    # No words for every mark: one text says what it shows, the page's own.
    assert not [g for g in root.iter() if g.get("aria-label") and "mark-symbol" in g.get("class", "")]


def test_long_words_make_a_chart_no_wider_and_stay_apart() -> None:
    long = made_up.TABLE.assign(which=["a rather long word on the axis " * 9 + end for end in "aabbbc"])
    picture = picture_of(spec_of("bar lying", long))
    assert picture.width == pictures.WIDTH
    cut = [text for text in texts(picture.svg) if text.startswith("a rather")]
    assert len(set(cut)) == 3 and all(len(text) <= pictures.MOST_LABEL_CHARACTERS for text in cut)


@pytest.mark.parametrize("words", ["x" * 200_000, "e" + "\u0301" * 20_000, "👩\u200d👩\u200d👧" * 300])
def test_text_of_any_length_is_drawn_at_once(words: str) -> None:
    table = pd.DataFrame({"which": [words, words + "!"], "y": [1.0, 2.0]})
    figure = Figure("bar", "t", {"x": "which", "y": "y"}, words, words, {"y_title": words})
    spec = with_title(draw(figure, table).spec, words)
    assert picture_of({**spec, "title": words}).height < 1000


def test_text_has_the_ink_of_the_light_page() -> None:
    root = ElementTree.fromstring(picture_of(spec_of("line")).svg)
    inks = {text.get("fill") for text in root.iter(f"{SVG}text")}
    assert inks == {pictures.INK, pictures.QUIET}


@pytest.mark.parametrize("words", [NASTY, UNICODE])
def test_text_from_outside_is_text_and_nothing_else(words: str) -> None:
    picture = picture_of(named(words))
    root = ElementTree.fromstring(picture.svg)
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{t}" for t in ("svg", "rect", "g", "path", "line", "text")
    }
    shown = [text for text in texts(picture.svg) if "<script>" in text or "漢字" in text]
    assert shown and "<script" not in picture.svg
    assert PictureCache().png(named(words))[:4] == b"\x89PNG"


def test_a_chart_without_values_has_a_picture() -> None:
    empty = made_up.TABLE.assign(mean_rank=float("nan"), low=float("nan"), high=float("nan"))
    assert "layer" in texts(picture_of(spec_of("line", empty)).svg)


def test_half_a_character_is_replaced() -> None:
    assert "half \ufffd" in texts(picture_of(with_title(spec_of("bar"), "half \ud83e")).svg)


@pytest.mark.parametrize(
    "spec",
    [{}, {"mark": "nonsense"}, {"vconcat": 3}, {"mark": "bar", "data": {"url": "http://example.com/a.json"}}],
)
def test_what_cannot_be_drawn_is_one_clear_error(spec: dict) -> None:
    with pytest.raises(PictureError) as caught:
        picture_of(spec)
    said = str(caught.value)
    assert "could not be drawn" in said and "jsdelivr" not in said and len(said.splitlines()) == 3


def test_a_refused_chart_still_shows_in_a_notebook() -> None:
    assert "image/svg+xml" in Chart(spec_of("line"), "words", "")._repr_mimebundle_()
    assert set(Chart({}, "words", "")._repr_mimebundle_()) == {pictures_mime(), "text/plain"}


def pictures_mime() -> str:
    return "application/vnd.vegalite.v6+json"


def test_a_picture_is_drawn_once_for_all_that_show_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = PictureCache(tmp_path).picture(spec_of("bar"))
    png = PictureCache(tmp_path).png(spec_of("bar"))
    monkeypatch.setattr(pictures, "_drawn", None)
    monkeypatch.setattr(pictures, "png_of", None)
    again = PictureCache(tmp_path)
    # Its words are not in the picture.
    assert again.picture({**spec_of("bar"), "description": "other words"}) == first
    assert again.png(spec_of("bar")) == png
    with pytest.raises(TypeError):
        again.picture(spec_of("line"))


def test_a_picture_is_kept_by_what_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = picture_hash(spec_of("bar"))
    monkeypatch.setattr(pictures, "version", lambda name: "0.0")
    pictures._drawn_by.cache_clear()
    try:
        assert picture_hash(spec_of("bar")) != before
    finally:
        pictures._drawn_by.cache_clear()


def test_a_png_has_two_pixels_for_one_and_a_title_where_it_stands_alone() -> None:
    title = "A long title of a chart that stands alone in a post, and that has more words than one line holds"
    spec = with_title(spec_of("line"), title, "and what was left out")
    picture = picture_of(spec)
    shown = "".join(texts(picture.svg)).replace(" ", "")
    assert title.replace(" ", "") in shown and "andwhatwasleftout" in shown
    width, height = struct.unpack(">II", PictureCache().png(spec)[16:24])
    assert (width, height) == (round(picture.width * 2), round(picture.height * 2))


def test_a_png_of_too_many_pixels_is_refused_before_it_is_made() -> None:
    with pytest.raises(PictureError, match="too large") as caught:
        PictureCache().png({**spec_of("line"), "height": 100_000})
    assert f"{MOST_PIXELS:,}" in str(caught.value)


def test_a_damaged_picture_is_drawn_again(tmp_path: Path) -> None:
    made = PictureCache(tmp_path).picture(spec_of("bar"))
    kept = list((tmp_path / "pictures").iterdir())
    assert len(kept) == 1
    kept[0].write_bytes(kept[0].read_bytes()[:-9])
    assert PictureCache(tmp_path).picture(spec_of("bar")) == made
    assert isinstance(PictureCache(tmp_path).pictures, JsonCache)
