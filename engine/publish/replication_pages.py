"""Replication: what was measured on this machine beside what is published, as pages, CSV and badges.

`replication/index.md` sums up all investigations; `replication/SLUG.md` has one of them by experiment, and
`replication/SLUG.csv` every number. The counts are those of `engine.runs.replication`, as everywhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.evidence.plural import counted
from engine.evidence.result import Measurement
from engine.publish.change_log_page import change_log_blocks
from engine.publish.markdown import front_matter, page
from engine.report.escape import for_site, sentence_for_site
from engine.report.with_interval import with_interval
from engine.runs.ledger import Entry, EntryState, Ledger, Provenance
from engine.runs.published.change_log import ChangeLogEntry
from engine.runs.replication import (
    NumberStanding,
    NumberState,
    ReplicationCounts,
    measured_here,
    standings,
    state_counts,
    together,
)

FOLDER = "replication"
PATH = f"{FOLDER}/index.md"
STATES: dict[NumberState, str] = {
    "replicated": "measured here by another run than the published one, whose value the interval holds",
    "drifted": "measured here, and the interval excludes the published value",
    "measured here": "measured here with nothing to be judged by: a control, a count, a number without an "
    "interval, or one whose own run is the published one",
    "not measured here": "the published number, which is shown in its place",
}
SOURCES: dict[EntryState, str] = {
    "measured": "measured here",
    "published": "published, measured",
    "unmeasured": "not measured",
}
COLUMNS = (
    *("experiment", "number", "model", "role", "state", "published", "published_low", "published_high"),
    *("here", "here_low", "here_high", "date", "device"),
)


@dataclass(frozen=True)
class ReplicationSummary:
    """What the page over all investigations says of one; plain data, to be kept."""

    title: str
    counts: dict[str, Any]
    drifted: Sequence[Sequence[str]]  # number, model, published, here
    machines: Sequence[Sequence[str]]  # here or published, device and number format, versions, days


def replication_summary(ledger: Ledger) -> ReplicationSummary:
    """The counts of an investigation, its drifted numbers and the machines that measured it."""
    drifted = [(n.name, entry.model, _value(n.published), _value(n.fresh)) for entry, n in _drifted(ledger)]
    return ReplicationSummary(
        ledger.spec.title, asdict(measured_here(ledger)), drifted, [list(m) for m in _machines(ledger)]
    )


def counts_from(data: Mapping[str, Any]) -> ReplicationCounts:
    """The counts of a summary, which may have been kept as JSON."""
    return ReplicationCounts(**{**data, "days": tuple(data["days"])})


def replication_page(summaries: Mapping[str, ReplicationSummary]) -> str:
    """Every investigation in a row under what all of them come to, then what drifted, then the machines."""
    about = "What was measured again on the machine that built this site, and whether it agrees."
    counts = {slug: counts_from(summary.counts) for slug, summary in summaries.items()}
    whole = together(list(counts.values()))
    rows = [_summary_row(slug, summaries[slug].title, counts[slug]) for slug in summaries]
    headers = ["Investigation", "Measured here", "Replicated", "Drifted", "Not measured here", "Published"]
    drifted = [
        [_link(slug, summaries[slug].title), *map(for_site, row)]
        for slug in summaries
        for row in summaries[slug].drifted
    ]
    body = [
        about,
        f'<p class="mech-standing">Numbers {for_site(whole.in_words)}.</p>',
        _table("Investigations", headers, rows, numeric=range(1, 5)) if rows else "Nothing was built yet.",
        "## What drifted",
        _table("Drift", ["Investigation", "Number", "Model", "Published", "Measured here"], drifted)
        if drifted
        else "Nothing that was measured here drifted.",
        "## Machines and versions",
        _machine_table([m for summary in summaries.values() for m in summary.machines]),
        "## What the words mean",
        "\n".join(f"- **{state}**: {words}." for state, words in STATES.items()),
        "A number is a finding or a control. Only findings with an interval are judged: a fresh interval "
        "that excludes the published value is drift. "
        "[How to read the evidence](../reading-the-evidence/index.md) says where the intervals come from. "
        "To measure what is missing: `engine build --budget all`, and "
        "`engine diff` compares on the command line.",
    ]
    return page("Replication", "\n\n".join(body), about=about, hide="toc")


def investigation_page(slug: str, ledger: Ledger, log: Sequence[ChangeLogEntry] = ()) -> str:
    """One investigation: how it stands, what drifted, each experiment folded, and its publications."""
    counts = measured_here(ledger)
    about = f"Which numbers of this investigation were measured here: {counts.in_words}."
    report = f'<a href="../../investigations/{slug}/">{for_site(ledger.spec.title)}</a>'
    drifted = [n for _, n in _drifted(ledger)]
    body = [
        f"<p>{report}. Numbers {for_site(counts.in_words)}. "
        f'<a href="../{slug}.csv" download>Every number as CSV</a>.</p>',
        badge_image(slug, counts, "../"),
    ]
    if drifted:
        body += ["## What drifted", _number_table("Drift", drifted)]
    body += ["## By experiment", *_experiments(ledger), "## Machines and versions"]
    body.append(_machine_table(_machines(ledger)))
    body += change_log_blocks(log)
    # In the navigation, under *Replication*, the title needs no second one before it.
    above = front_matter(ledger.spec.title, about=about)
    return (
        above
        + "\n\n".join([f"# Replication: {sentence_for_site(ledger.spec.title)}", *filter(None, body)])
        + "\n"
    )


def replication_files(slug: str, ledger: Ledger, log: Sequence[ChangeLogEntry] = ()) -> dict[str, str]:
    """The page, the table of every number and the badge of one investigation, by path under site/."""
    return {
        f"{FOLDER}/{slug}.md": investigation_page(slug, ledger, log),
        f"{FOLDER}/{slug}.csv": numbers_csv(ledger),
        f"{FOLDER}/{slug}.svg": badge_svg(measured_here(ledger)),
    }


def numbers_csv(ledger: Ledger) -> str:
    """Every finding and control with its state, the published and the fresh value, and what measured it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in ledger.entries:
        run = entry.provenance
        label, model = _cell(entry.label), _cell(entry.model)
        told = [_cell(run.date) if run else "", _cell(run.device) if run else ""]
        for n in standings(ledger, entry):
            number = n.fresh or n.published
            role = number.role if number else ""
            ends = map(_cell, (*_ends(n.published), *_ends(n.fresh)))
            writer.writerow([label, _cell(n.name), model, role, n.state, *ends, *told])
    return out.getvalue()


# badges


def badge_words(counts: ReplicationCounts) -> tuple[str, str, str]:
    """(label, message, state) of a badge: `replicated | 20 of 20`, `measured here | 27 of 184`."""
    if counts.drifted:
        return "replication", f"{counts.drifted:,} of {counts.compared:,} drifted", "drifted"
    if counts.compared:
        return "replicated", f"{counts.agreed:,} of {counts.compared:,}", "replicated"
    if counts.here:
        return "measured here", f"{counts.here:,} of {counts.total:,}", "measured"
    return "replication", "not measured here" if counts.total else "nothing measured yet", "unmeasured"


COLORS = {"replicated": "#1f6f43", "drifted": "#a32a1e", "measured": "#2b5d8a", "unmeasured": "#5c5c5c"}
"""Of a badge's message; white text on each has a contrast of 5.5 or more."""


def badge_svg(counts: ReplicationCounts) -> str:
    """A badge as an image of its own, which reads on light and dark: for a README, too."""
    label, message, state = badge_words(counts)
    # No browser measures text at build: so much for each character, and the text is fitted to it.
    left, right = (round(6.6 * len(text)) + 14 for text in (label, message))
    words = for_site(f"{label}: {message}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{words}"><title>{words}</title>'
        f'<rect width="{left + right}" height="20" rx="3" fill="#3b3b3b"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="{COLORS[state]}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="7" y="14" textLength="{left - 14}">{for_site(label)}</text>'
        f'<text x="{left + 7}" y="14" textLength="{right - 14}">{for_site(message)}</text></g></svg>\n'
    )


def badge_image(slug: str, counts: ReplicationCounts, up: str) -> str:
    """The badge of an investigation in a page; `up` leads from that page to the folder of badges."""
    label, message, _ = badge_words(counts)
    return f'<p><img class="mech-badge" src="{up}{slug}.svg" alt="{for_site(f"{label}: {message}")}"></p>'


def badge_link(slug: str, counts: ReplicationCounts, up: str) -> str:
    """The badge as text that leads to the replication page; `up` leads from the page to the site's root."""
    label, message, state = badge_words(counts)
    address = f"{up}{FOLDER}/{slug}/"
    return f'<a class="mech-badge mech-badge-{state}" href="{address}">{label} {for_site(message)}</a>'


# parts


def _drifted(ledger: Ledger) -> list[tuple[Entry, NumberStanding]]:
    """The numbers that drifted, each with its entry."""
    if not ledger.drifted:  # as nearly always: there are thousands of numbers to look through
        return []
    standing = [(entry, n) for entry in ledger.entries for n in standings(ledger, entry)]
    return [(entry, n) for entry, n in standing if n.state == "drifted"]


def _experiments(ledger: Ledger) -> Iterator[str]:
    """A fold for each experiment and model; all points of a sweep in one."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for model in ledger.spec.models:
        for entry in ledger.entries:
            if entry.model == model:
                groups.setdefault((entry.experiment, model), []).append(entry)
    for (experiment, model), entries in groups.items():
        yield _fold(f"{experiment} on {model}", ledger, entries)


def _fold(name: str, ledger: Ledger, entries: Sequence[Entry]) -> str:
    found = [n for entry in entries for n in standings(ledger, entry)]
    counts = state_counts(found)
    told = ", ".join(f"{n:,} {state}" for state in STATES if (n := counts[state])) or "not measured"
    points = f", {counted(len(entries), 'point')}" if len(entries) > 1 else ""
    parts = [f"<p>{for_site(line)}</p>" for line in _sources(entries)]
    if beside := [n for n in found if n.fresh and n.published]:
        parts.append(_number_table(name, beside))
    elif counts["measured here"]:
        parts.append("<p>There is nothing to compare: what is published is this very run, or nothing is.</p>")
    summary = f"<summary>{for_site(name)}{points}: {told}</summary>"
    return f'<details class="mech-fold">{summary}{"".join(parts)}</details>'


def _sources(entries: Sequence[Entry]) -> list[str]:
    """On which machine, when, and why not here; once where several points say the same."""
    said: dict[str, None] = {}
    for entry in entries:
        run = entry.provenance
        where = f" on {run.date[:10]}, {run.device}, {run.dtype}, {_versions(run)}" if run else ""
        state = {"measured": "measured here", "published": "published, measured"}.get(
            entry.state, "not measured"
        )
        said[f"{state}{where}{f': {entry.reason}' if entry.reason else ''}"] = None
    return list(said)


def _number_table(name: str, numbers: Iterable[NumberStanding]) -> str:
    rows = [
        [f"<code>{for_site(n.name)}</code>", _value(n.published), _value(n.fresh), _state(n)] for n in numbers
    ]
    return _table(name, ["Number", "Published", "Measured here", "State"], rows)


def _state(n: NumberStanding) -> str:
    number = n.fresh or n.published
    role = f" ({number.role})" if number and number.role == "control" else ""
    return f'<span class="mech-state-{n.state.replace(" ", "-")}">{n.state}{role}</span>'


def _summary_row(slug: str, title: str, counts: ReplicationCounts) -> list[str]:
    return [
        _link(slug, title),
        f"{counts.here:,} of {counts.total:,}",
        f"{counts.agreed:,} of {counts.compared:,}" if counts.compared else "–",
        f"{counts.drifted:,}" if counts.compared else "–",
        f"{counts.rest:,}",
        _days(counts.days) or "–",
    ]


def _link(slug: str, title: str) -> str:
    return f'<a href="{slug}/">{for_site(title)}</a>'


def _machines(ledger: Ledger) -> list[tuple[str, ...]]:
    """(where, device and number format, versions, first day, last day) of each environment, here first."""
    days: dict[tuple[str, ...], list[str]] = {}
    for entry in ledger.entries:
        if (run := entry.provenance) and entry.state != "unmeasured":
            where = "here" if entry.state == "measured" else "published"
            days.setdefault((where, f"{run.device}, {run.dtype}", _versions(run)), []).append(run.date[:10])
    return [(*machine, min(known), max(known)) for machine, known in sorted(days.items())]


def _machine_table(machines: Iterable[Sequence[str]]) -> str:
    """Each environment once, with the days on which it measured."""
    days: dict[tuple[str, ...], list[str]] = {}
    for where, device, versions, first, last in machines:
        days.setdefault((where, device, versions), []).extend([first, last])
    rows = [
        [*map(for_site, machine), _days([min(known), max(known)])] for machine, known in sorted(days.items())
    ]
    if not rows:
        return "Nothing has been measured yet."
    return _table("Machines", ["Numbers", "Machine", "Versions", "Measured"], rows)


def _days(days: Iterable[str]) -> str:
    """`2026-11-24 to 2026-11-26`, once where they are the same; a day is never broken."""
    return " to ".join(f"<time>{for_site(day)}</time>" for day in dict.fromkeys(days))


def _versions(run: Provenance) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.versions.items())


def _value(m: Measurement | None) -> str:
    return with_interval(m.value, m.low, m.high) if m else "–"


def _ends(m: Measurement | None) -> tuple[Any, Any, Any]:
    return (m.value, m.low, m.high) if m else (None, None, None)


def _cell(value: Any) -> str:
    """A cell of the CSV; a text that a spreadsheet would take for a formula begins with a quote."""
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    is_formula = isinstance(value, str) and text[:1] in ("=", "+", "-", "@")
    return f"'{text}" if is_formula else text


def _table(
    name: str, headers: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = ()
) -> str:
    """A table in HTML, which the theme lets scroll where the page is narrow; cells are HTML."""
    right = set(numeric)
    head = "".join(f"<th scope=col>{header}</th>" for header in headers)
    lines = []
    for row in rows:
        cells = [f"<td{' align=right' if at in right else ''}>{cell}</td>" for at, cell in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<caption>{for_site(name)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
