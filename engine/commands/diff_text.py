"""What `engine diff` prints of changes: tables for a terminal, Markdown for a pull request."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.commands.console import TextTable
from engine.evidence.plural import counted
from engine.report.affected_sentences import AffectedSentence
from engine.report.with_interval import with_interval
from engine.runs.ledger import Difference, Ledger, Replication
from engine.runs.published.changes import EvidenceChanges, NumberChange, VerdictChange

MOST_ROWS = 40
"""Rows of a table that are shown where not all are asked for."""
NOTHING_COMPARED = "nothing to compare: no published number was measured here"
WHETHER = {True: "exclude each other", False: "overlap", None: "no interval"}


@dataclass(frozen=True)
class InvestigationDiff:
    """What moved in one investigation, and the sentences that rest on it; `untold`: texts not searched."""

    slug: str
    changes: EvidenceChanges
    sentences: tuple[AffectedSentence, ...] = ()
    untold: tuple[str, ...] = ()

    @property
    def needs_a_person(self) -> bool:
        """A number moved out of its interval, a verdict flipped, or a published file was edited."""
        changes = self.changes
        broken = any(sentence.is_broken for sentence in self.sentences)
        return bool(changes.excluding or changes.flipped or changes.unbelieved or broken)


def diff_text(title: str, diffs: Sequence[InvestigationDiff], everything: bool) -> list[str | TextTable]:
    """Each investigation that differs, for a terminal."""
    blocks: list[str | TextTable] = [title]
    for each in diffs:
        blocks += ["", f"{each.slug}: {in_short(each.changes)}", *_told(each)]
        if each.changes.verdicts:
            rows = [_verdict_cells(verdict) for verdict in each.changes.verdicts]
            blocks.append(TextTable(["verdict", "model", "before", "after", ""], rows))
        numbers = each.changes.numbers
        shown = numbers if everything else numbers[:MOST_ROWS]
        if shown:
            blocks.append(
                TextTable(["number", "model", "before", "after", "intervals"], [_cells(n) for n in shown])
            )
        blocks += _more(len(numbers) - len(shown), "number")
        ordered = sorted(each.sentences, key=lambda s: (not s.is_broken, not s.judged))
        sentences = ordered if everything else ordered[:MOST_ROWS]
        if sentences:
            blocks += [f"sentences that rest on it: {len(each.sentences)}", *map(_sentence, sentences)]
        blocks += _more(len(each.sentences) - len(sentences), "sentence")
    return blocks if diffs else [*blocks, "neither side has an investigation"]


def fresh_text(ledgers: Sequence[Ledger], sentences: Sequence[AffectedSentence]) -> list[str | TextTable]:
    """What was measured here beside what is published: every number that is compared, drift marked."""
    found = [comparison for ledger in ledgers for comparison in ledger.comparisons]
    differing = [d for ledger in ledgers for fault in ledger.faults for d in fault.differences]
    verdicts = [difference for ledger in ledgers for difference in ledger.changed_verdicts]
    copied = sum(ledger.copied for ledger in ledgers)
    text: list[str | TextTable] = []
    if found or differing or verdicts:
        rows = [_compared_cells(c) for c in found]
        # Their own run is here, so that whatever differs was not measured but edited.
        rows += [(d.name, d.model, d.published, d.here, "NOT ITS RUN") for d in differing]
        rows += [(d.name, d.model, d.published, d.here, "DRIFT") for d in verdicts]
        text = [TextTable(["number", "model", "published", "here", ""], rows)]
    drifted = {c.name for c in found if not c.agrees}
    resting = [s for s in sentences if s.judged or drifted.intersection(s.numbers)]
    if resting:
        text += [f"sentences that rest on what drifted: {len(resting)}", *map(_sentence, resting)]
    if found:
        text.append(f"replicated {sum(c.agrees for c in found)} of {len(found)}")
    if copied:
        text.append(f"compared {copied} published numbers with their own runs: {_counted(differing)}")
    return text or [NOTHING_COMPARED]


def diff_markdown(title: str, diffs: Sequence[InvestigationDiff], everything: bool) -> str:
    """The same for the comment of a pull request: what decides in full view, the rest folded."""
    blocks = [f"### What moved: {_plain(title)}"]
    differing = [each for each in diffs if not each.changes.is_empty or each.changes.unbelieved]
    for each in differing:
        changes = each.changes
        blocks += [f"#### {_plain(each.slug)}", f"{in_short(changes)}."]
        blocks += [f"- {_plain(line)}" for line in _told(each)]
        if changes.verdicts:
            rows = [(_code(claim), *cells) for claim, *cells in map(_verdict_cells, changes.verdicts)]
            blocks.append(_table(["Verdict", "Model", "Before", "After", ""], rows))
        if changes.excluding:
            blocks.append(_number_table(changes.excluding, everything))
        within = [number for number in changes.numbers if not number.excludes]
        if within:
            summary = f"{counted(len(within), 'number')} moved within the intervals, or have none"
            blocks.append(_folded(summary, _number_table(within, everything)))
        if each.sentences:
            blocks.append(_sentence_list(each.sentences, everything))
    same = len(diffs) - len(differing)
    if same:
        blocks.append(f"{counted(same, 'investigation')} did not change.")
    return "\n\n".join(blocks)


def in_short(changes: EvidenceChanges) -> str:
    """`12 numbers moved, 3 of them out of their intervals; 1 verdict flipped; 40 numbers are new`."""
    moved = changes.moved
    said = []
    if moved:
        out = len([n for n in moved if n.excludes])
        said.append(f"{counted(len(moved), 'number')} moved, {out} of them out of their intervals")
    if only := len(changes.numbers) - len(moved):
        said.append(f"{counted(only, 'interval')} moved alone")
    if changes.flipped:
        said.append(f"{counted(len(changes.flipped), 'verdict')} flipped")
    for words, entries in (("new", changes.came), ("gone", changes.went)):
        if entries:
            said.append(f"{counted(sum(entries.values()), 'number')} {words} in {len(entries)} runs")
    if changes.verdicts and len(changes.verdicts) > len(changes.flipped):
        said.append(f"{counted(len(changes.verdicts) - len(changes.flipped), 'verdict')} new or gone")
    if not said:
        return f"nothing moved, {counted(changes.same, 'number')} published alike"
    return "; ".join([*said, f"{counted(changes.same, 'number')} as before"])


def _told(each: InvestigationDiff) -> list[str]:
    """What entries came and went, and what was left out."""
    lines = [f"new: {_entries(each.changes.came)}"] if each.changes.came else []
    lines += [f"gone: {_entries(each.changes.went)}"] if each.changes.went else []
    return [*lines, *(f"not believed: {why}" for why in each.changes.unbelieved), *each.untold]


def _entries(entries: Mapping[str, int]) -> str:
    """`lens on gpt2 (12), ...`, points of a sweep counted together."""
    sums: dict[str, int] = {}
    points: dict[str, int] = {}
    for entry, count in entries.items():
        label, _, model = entry.rpartition(" on ")
        name = f"{label.partition('[')[0]} on {model}"
        sums[name] = sums.get(name, 0) + count
        points[name] = points.get(name, 0) + ("[" in label)
    counts = {n: f"{points[n]} points, {count}" if points[n] > 1 else str(count) for n, count in sums.items()}
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _cells(n: NumberChange) -> tuple[str, ...]:
    before = with_interval(n.before, n.before_low, n.before_high)
    after = with_interval(n.after, n.after_low, n.after_high)
    role = f"{n.name} ({n.role})" if n.role != "finding" else n.name
    return (role, n.model, before, after, WHETHER[n.excludes])


def _verdict_cells(v: VerdictChange) -> tuple[str, ...]:
    note = "and its predicate was reworded" if v.reworded else ""
    return (v.claim, v.model, v.before or "none", v.after or "none", note)


def _sentence(s: AffectedSentence) -> str:
    why = "; ".join(filter(None, [s.judged, ", ".join(s.numbers)]))
    return f"  {s.where}  {s.sentence}\n      {why}"


def _more(count: int, what: str) -> list[str]:
    return [f"and {counted(count, what)} more (--all lists them)"] if count > 0 else []


def _counted(differing: Sequence[Difference]) -> str:
    values = "value differs" if len(differing) == 1 else "values differ"
    return f"{len(differing)} {values}" if differing else "all are equal"


def _compared_cells(c: Replication) -> tuple[str, ...]:
    here = f"{c.fresh:.4g} ({c.low:.4g} to {c.high:.4g})"
    return (c.name, c.model, f"{c.published:.4g}", here, "agrees" if c.agrees else "DRIFT")


def _number_table(numbers: Sequence[NumberChange], everything: bool) -> str:
    shown = numbers if everything else numbers[:MOST_ROWS]
    rows = [(_code(name), *cells) for name, *cells in map(_cells, shown)]
    table = _table(["Number", "Model", "Before", "After", "Intervals"], rows)
    return "\n\n".join([table, *_more(len(numbers) - len(shown), "number")])


def _sentence_list(sentences: Sequence[AffectedSentence], everything: bool) -> str:
    """Broken sentences in full view, the others folded."""
    judged = [s for s in sentences if s.judged]
    others = [s for s in sentences if not s.judged]
    shown = others if everything else others[:MOST_ROWS]
    blocks = []
    if judged:
        blocks.append("\n".join(["**Sentences whose claim changed**", "", *map(_sentence_item, judged)]))
    if others:
        items = "\n".join([*map(_sentence_item, shown), *_more(len(others) - len(shown), "sentence")])
        blocks.append(_folded(f"{counted(len(others), 'sentence')} that print a number that moved", items))
    return "\n\n".join(blocks)


def _sentence_item(s: AffectedSentence) -> str:
    why = "; ".join(filter(None, [_plain(s.judged), ", ".join(map(_code, s.numbers))]))
    return f"- {_code(s.where)}: {_plain(s.sentence)} ({why})"


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(_cell(c) for c in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _plain(text: str) -> str:
    """Text that is no HTML, and in which nobody is addressed: a comment would notify them."""
    return html.escape(text, quote=False).replace("@", "&#64;")
