"""Replication pages: one count everywhere, every number in the CSV, folds by experiment, and badges."""

from __future__ import annotations

import csv
import html
import io
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from engine.publish.replication_pages import (
    COLORS,
    badge_svg,
    badge_words,
    investigation_page,
    numbers_csv,
    replication_files,
    replication_page,
    replication_summary,
)
from engine.runs.ledger import Ledger
from engine.runs.replication import ReplicationCounts, measured_here
from tests.publish import made_up


def with_published(made: Ledger) -> Ledger:
    """The ledger with what another run published of the first entry."""
    numbers = made.entry("lens").measurements
    return replace(made, published_numbers={("lens", "tiny-llama"): numbers})


def test_the_overview_has_a_row_for_each_investigation_and_their_sum() -> None:
    summary = replication_summary(made_up.ledger())
    page = replication_page({"a": summary, "b": summary})
    assert "measured here: 12 of 24" in html.unescape(page)
    assert page.count("6 of 12") == 2
    assert '<a href="a/">' in page and '<a href="b/">' in page
    # Every drifted number stands there, for each investigation that has one.
    assert page.count("lens.share&#x5F;known") == 2


def test_the_counts_of_a_page_are_those_of_the_banner() -> None:
    made = made_up.ledger()
    words = measured_here(made).in_words
    for page in (replication_page({"a": replication_summary(made)}), investigation_page("a", made)):
        assert words in html.unescape(page)


def test_an_investigations_page_folds_each_experiment_and_model() -> None:
    page = html.unescape(investigation_page("fact-recall", with_published(made_up.ledger())))
    assert page.count("<details") == 6
    assert "lens on tiny-llama: 1 replicated, 1 drifted, 2 measured here" in page
    assert "patch on tiny-gpt2: 2 not measured here" in page
    assert "patch on far-away: not measured" in page
    assert "the hub cannot be reached" in page
    assert "2026-01-31, cpu, float32, torch 2.13.0" in page


def test_numbers_stand_beside_the_published_ones_with_both_intervals() -> None:
    page = html.unescape(investigation_page("fact-recall", with_published(made_up.ledger())))
    assert "<td>13 (9 to 16)</td><td>13 (9 to 16)</td>" in page
    nothing = html.unescape(investigation_page("fact-recall", made_up.ledger()))
    assert "There is nothing to compare" in nothing


def test_every_number_is_in_the_csv_with_its_state() -> None:
    made = with_published(made_up.ledger())
    rows = list(csv.DictReader(io.StringIO(numbers_csv(made))))
    assert len(rows) == measured_here(made).total
    states = [row["state"] for row in rows]
    assert states.count("not measured here") == 6 and states.count("drifted") == 1
    first = rows[0]
    assert (first["number"], first["published_low"], first["here_high"]) == ("lens.final_rank", "9.1", "16.2")
    assert {row["role"] for row in rows} == {"finding", "control"}


def test_a_text_that_a_spreadsheet_would_calculate_is_quoted() -> None:
    made = made_up.ledger()
    evil = replace(made.entries[0], experiment="=HYPERLINK(1)")
    assert "'=HYPERLINK(1)" in numbers_csv(replace(made, entries=(evil,)))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (ReplicationCounts(9, 9, 4, 4), ("replicated", "4 of 4", "replicated")),
        (ReplicationCounts(9, 9, 4, 3), ("replication", "1 of 4 drifted", "drifted")),
        (ReplicationCounts(9, 2, 0, 0), ("measured here", "2 of 9", "measured")),
        (ReplicationCounts(9, 0, 0, 0), ("replication", "not measured here", "unmeasured")),
        (ReplicationCounts(0, 0, 0, 0), ("replication", "nothing measured yet", "unmeasured")),
    ],
)
def test_a_badge_says_what_the_counts_come_to(counts: ReplicationCounts, words: tuple[str, str, str]) -> None:
    assert badge_words(counts) == words
    drawn = ElementTree.fromstring(badge_svg(counts))
    assert drawn.get("aria-label") == f"{words[0]}: {words[1]}"
    assert COLORS[words[2]] in badge_svg(counts)


def test_the_text_of_a_badge_can_be_read_on_its_color() -> None:
    for color in (*COLORS.values(), "#3b3b3b"):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5, color


def test_an_investigation_has_a_page_a_table_and_a_badge_and_its_summary_is_plain_data() -> None:
    made = made_up.ledger()
    assert sorted(replication_files("a", made)) == [
        "replication/a.csv",
        "replication/a.md",
        "replication/a.svg",
    ]
    data = asdict(replication_summary(made))
    assert data["counts"]["total"] == 12
    assert data["machines"][0][0] == "here"


def test_index_and_report_carry_the_badge_which_leads_to_the_page(project: Path) -> None:
    files = made_up.files(project, made_up.report(project))
    words = "replication 1 of 2 drifted</a>"
    for name, address in {
        "investigations/index.md": "../replication/fact-recall/",
        "investigations/fact-recall/index.md": "../../replication/fact-recall/",
    }.items():
        page = html.unescape(str(files[name]))
        assert f'<a class="mech-badge mech-badge-drifted" href="{address}">{words}' in page, name
