"""The publications of an investigation on its page: when, what moved, which verdicts flipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.evidence.plural import counted
from engine.report.escape import for_site
from engine.report.with_interval import with_interval
from engine.runs.published.change_log import ChangeLogEntry
from engine.runs.published.changes import NumberChange

SHOWN = 5
"""Publications in full view; the older ones are folded."""


def change_log_blocks(log: Sequence[ChangeLogEntry]) -> list[str]:
    """A section with the newest publication first; nothing where there is no log."""
    if not log:
        return []
    items = [_item(entry, is_first=at == 0) for at, entry in enumerate(log)][::-1]
    blocks = ["## What moved between publications", _list(items[:SHOWN])]
    if older := items[SHOWN:]:
        summary = f"<summary>{counted(len(older), 'older publication')}</summary>"
        blocks.append(f'<details class="mech-fold">{summary}{_list(older)}</details>')
    return blocks


def _list(items: Sequence[str]) -> str:
    return f'<ol class="mech-change-log" reversed>{"".join(f"<li>{item}</li>" for item in items)}</ol>'


def _item(entry: ChangeLogEntry, is_first: bool) -> str:
    if entry.fault:
        return f"{_day(entry)}{for_site(entry.fault)}, and is left out."
    revision = f" <small>(commit <code>{for_site(entry.revision)}</code>)</small>" if entry.revision else ""
    parts = [f"{_day(entry)}{_in_short(entry, is_first)}.{revision}"]
    lines = [_verdict(v.claim, v.model, v.before, v.after) for v in entry.verdicts]
    lines += [_number(number) for number in entry.numbers]
    if (more := entry.excluding - len(entry.numbers)) > 0:
        lines.append(f"and {counted(more, 'number')} more whose intervals exclude each other")
    if lines:
        parts.append(f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>")
    return "".join(parts)


def _day(entry: ChangeLogEntry) -> str:
    return f'<time datetime="{for_site(entry.date)}">{for_site(entry.date)}</time>: ' if entry.date else ""


def _in_short(entry: ChangeLogEntry, is_first: bool) -> str:
    """`184 numbers moved, 8 of them to where the intervals exclude each other; 33 new: lens on gpt2 (12)`."""
    new = _entries(entry.came)
    if is_first and not entry.moved:
        return f"first published, {counted(sum(entry.came.values()), 'number')}: {new}"
    said = []
    if entry.moved:
        out = f", {entry.excluding:,} of them so far that the intervals exclude each other"
        said.append(f"{counted(entry.moved, 'number')} moved{out if entry.excluding else ''}")
    if entry.intervals:
        said.append(f"{counted(entry.intervals, 'interval')} moved alone")
    if entry.flipped:
        said.append(f"{counted(len(entry.flipped), 'verdict')} flipped")
    if entry.came:
        said.append(f"{counted(sum(entry.came.values()), 'number')} new: {new}")
    if entry.went:
        said.append(f"{counted(sum(entry.went.values()), 'number')} gone: {_entries(entry.went)}")
    return "; ".join(said) or "only the list of claims changed"


def _entries(entries: Mapping[str, int]) -> str:
    return ", ".join(f"{for_site(name)} ({count:,})" for name, count in entries.items())


def _verdict(claim: str, model: str, before: str, after: str) -> str:
    return f"<code>{for_site(claim)}</code> on {for_site(model)}: {for_site(before)}, now {for_site(after)}"


def _number(n: NumberChange) -> str:
    before = with_interval(n.before, n.before_low, n.before_high)
    after = with_interval(n.after, n.after_low, n.after_high)
    return f"<code>{for_site(n.name)}</code> on {for_site(n.model)}: {before}, now {after}"
