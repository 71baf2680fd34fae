"""Marked tokens in table cells: highlighted on the site, in quotes in print."""

from engine.evidence.marked import is_marked, marked, segments_of
from engine.report.escape import for_text
from engine.report.highlight import site_cell, text_cell
from engine.report.printers.site import SitePrinter
from engine.report.printers.text import TextPrinter
from engine.report.tables import Grid

TEXT = marked(["The", " capital", " <b>of|", " Paris"], [0, 1.5, 0, 3.0])


def test_the_text_is_readable_as_it_is_and_comes_back_in_parts():
    assert TEXT == "The⟪ capital|1.5⟫ <b>of|⟪ Paris|3⟫"
    assert [tuple(p) for p in segments_of(TEXT)] == [
        ("The", 0.0),
        (" capital", 1.5),
        (" <b>of|", 0.0),
        (" Paris", 3.0),
    ]


def test_brackets_of_the_text_itself_do_not_mark():
    text = marked(["⟪x|9⟫", "y"], [0, 1])
    assert [p.text for p in segments_of(text) if p.strength] == ["y"]
    assert not is_marked("⟪x⟫") and not is_marked(3) and not is_marked("plain")


def test_a_cell_of_the_site_is_highlighted_and_escaped():
    cell = str(site_cell(TEXT))
    assert '<mark class="mech-token" style="--mech-strength: 100%" title="3"> Paris</mark>' in cell
    assert '<mark class="mech-token" style="--mech-strength: 50%" title="1.5"> capital</mark>' in cell
    assert "<b>" not in cell


def test_a_cell_in_print_has_quotes():
    assert "« Paris»" in text_cell(TEXT, for_text)


def test_both_printers_highlight_in_tables():
    grid = Grid(["text"], [[TEXT], ["plain <i>"]])
    site, text = SitePrinter.grid(SitePrinter.__new__(SitePrinter), grid), TextPrinter().grid(grid)
    assert "mech-token" in site and "<i>" not in site
    assert "« Paris»" in text and "mech-token" not in text
