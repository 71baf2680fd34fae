"""The numbers committed with the text: `published/<model>.json` and small CSVs, made to be read in a diff.

All numbers are published, and of the tables those that the text shows or draws: the others say only that
they are there, and the run store of whoever measures has them.

Keys are sorted and numbers rounded to six significant digits, so that writing what was read gives the
same bytes. Runs, verdicts, tables and files have digests (see `digests`); what was edited since it was
published is not published again. Only what was measured here replaces what is there; entries and models not
measured here stay as they are, and those that the spec no longer has go. The folder is staged whole and
swapped in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import StoreError
from engine.evidence.result import Measurement
from engine.evidence.verdicts import SpecifiedVerdict, Verdict
from engine.runs.investigation import project_or_none
from engine.runs.ledger import DisplayItem, Entry, Ledger
from engine.runs.published.change_log import FILE as CHANGE_LOG
from engine.runs.published.change_log import append_change
from engine.runs.published.changes import published_state
from engine.runs.published.csv_tables import csv_table, kinds_of, table_bytes
from engine.runs.published.digests import DIGEST, sealed, sealed_file, table_digest
from engine.runs.published.read import (
    EDITED,
    FORMAT,
    MENDING,
    PublishedEvidence,
    PublishedRun,
    file_place,
    file_stem,
    read_published,
    run_place,
    verdict_place,
    what_is_judged,
)
from engine.runs.published.rounding import rounded, without_defaults
from engine.runs.store.codec import check_data, fields_of, figure_data, measurement_data, plain
from engine.runs.store.run_folder import sync_folder
from engine.runs.store.store import now
from engine.spec.repository_files import without_root

MAX_TABLE_BYTES = 200_000
UNSHOWN = "left out: the text does not show it"


@dataclass(frozen=True)
class PublishReport:
    """What a `publish` did: files that changed, entries ("lens on gpt2") it took, and those it left alone."""

    changed: tuple[str, ...]
    taken: tuple[str, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]


def write_published(
    ledger: Ledger, folder: Path, asked: Collection[DisplayItem] | None = None
) -> PublishReport:
    """Publish what was measured here, of tables only those `asked` for, or drawn by a figure that is.

    Raises StoreError where the folder cannot be written or a file is broken.
    """
    before = read_published(folder)
    staged = folder.with_name(".published-new")
    old = folder.with_name(".published-old")
    try:
        # Of a publish that was killed; `read_published` has put back what was worth it.
        for leftover in (staged, old):
            shutil.rmtree(leftover, ignore_errors=True)
        if folder.is_dir():
            # From what is there, since files of other kinds are not ours and stay.
            shutil.copytree(folder, staged)
        staged.mkdir(exist_ok=True)
        written = {}
        for model in ledger.spec.models:
            written |= _model_files(ledger, model, before, folder, asked)
        # Staged whole, then swapped by two renames: a reader never sees half of what was published.
        changed = _update(staged, written)
        if changed and append_change(staged, published_state(before), now()[:10]):
            changed = (*changed, CHANGE_LOG)
        sync_folder(staged)
        # Where nothing changed the folder stays the same one, down to its dates.
        if changed:
            if folder.is_dir():
                folder.rename(old)
            staged.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        return _report(ledger, before, changed)
    except OSError as error:
        raise StoreError("the numbers cannot be published", where=str(folder), seen=str(error)) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _model_files(
    ledger: Ledger, model: str, before: PublishedEvidence, folder: Path, asked: Collection[DisplayItem] | None
) -> dict[str, bytes]:
    """The files of one model, by name; none where nothing was ever measured on it."""
    runs: dict[str, dict[str, Any]] = {}
    files: dict[str, bytes] = {}
    for entry in (e for e in ledger.entries if e.model == model):
        kept = before.runs.get((entry.label, model))
        if entry.state == "measured":
            data, tables = run_data(entry, asked)
        elif kept is not None:
            data, tables = _kept_data(kept, entry, asked)
        else:
            continue
        runs[entry.label] = sealed(data, run_place(model, entry.label))
        files |= tables
    if not runs:
        return {}
    verdicts = {
        claim: sealed(_as_json(data), verdict_place(model, claim))
        for claim, data in _verdicts(ledger, model, before, folder)
    }
    data = {"format": FORMAT, "model": model, "runs": runs, "verdicts": verdicts}
    data = sealed_file(data, file_place(model))
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return files | {f"{file_stem(model)}.json": f"{text}\n".encode()}


def _kept_data(
    kept: PublishedRun, entry: Entry, asked: Collection[DisplayItem] | None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """An entry that was not measured here as it is published, and its tables' files.

    StoreError where it was edited: a new digest would make a published number of it.
    """
    folder = kept.folder
    if EDITED in (kept.fault, *kept.table_faults.values()):
        raise _edited(folder, f"{entry.label} on {entry.model}")
    tables = kept.data["tables"]
    if asked is not None and not entry.withheld:  # a failed check replaces nothing
        tables = _thinned(kept.data, _wanted(entry, kept.data["figures"], asked))
    files = {t["file"]: table_bytes(folder, t["file"]) for t in tables.values() if t["file"]}
    # Tables from before digests have none yet.
    digests = {name: {DIGEST: table_digest(files[t["file"]])} for name, t in tables.items() if t["file"]}
    tables = {name: table | digests.get(name, {}) for name, table in tables.items()}
    return kept.data | {"tables": tables}, files


def _edited(folder: Path, what: str) -> StoreError:
    return StoreError(
        f"{what} was edited since it was published, and was not measured here",
        where=str(folder),
        expected="what its digest was made of",
        hint=f"{MENDING}; or measure it here",
    )


def run_data(entry: Entry, asked: Collection[DisplayItem] | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A measured entry as published data, and its tables' files."""
    assert entry.provenance is not None  # it was measured
    tables: dict[str, dict[str, Any]] = {}
    files: dict[str, bytes] = {}
    figures = {name: figure_data(figure) for name, figure in entry.figures.items()}
    shown = entry.tables.keys() if asked is None else _wanted(entry, figures, asked)
    for name, table in entry.tables.items():
        content, columns = csv_table(table) if name in shown else (b"", kinds_of(table))
        file = f"{file_stem(entry.model)}.{file_stem(entry.label)}.{name}.csv"
        note = f"left out: {len(content):,} bytes" if len(content) > MAX_TABLE_BYTES else ""
        note = note if name in shown else UNSHOWN
        tables[name] = {"file": "" if note else file, "columns": columns, "rows": len(table), "note": note}
        if not note:
            tables[name][DIGEST] = table_digest(content)
            files[file] = content
    provenance = fields_of(entry.provenance, but=("run_id",))
    # Left out where there are none, as in files from before runs had them.
    for late in ("second", "sites", "coders", "read"):
        if not provenance[late]:
            del provenance[late]
    data = {
        "experiment": entry.experiment,
        "point": [list(pair) for pair in entry.point.items()],
        "measurements": {name: _short_measurement(m) for name, m in entry.measurements.items()},
        "checks": [rounded(check_data(check)) for check in entry.checks],
        "figures": figures,
        "tables": tables,
        "provenance": provenance | rounded({"seconds": provenance["seconds"]}),
    }
    return _as_json(data), files


def _as_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data as they will be read back: what is hashed and compared is what lies in the file.

    Without the folders of this machine, which a reason or a command may name.
    """
    text = json.dumps(data, allow_nan=False, default=plain, ensure_ascii=False)
    root = project_or_none()
    return json.loads(without_root(text, root) if root else text)


def _short_measurement(measurement: Measurement) -> dict[str, Any]:
    """A measurement as it is published: rounded, without its defaults, under its name and so without it."""
    fields = without_defaults(rounded(measurement_data(measurement)))
    del fields["name"]
    return fields


def _verdicts(
    ledger: Ledger, model: str, before: PublishedEvidence, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Verdicts measured here, and for the other claims what was published before."""
    for claim, spec in ledger.spec.claims.items():
        verdict: Verdict | None = ledger.verdicts.get(model, {}).get(claim)
        # Under some of its specifications it may be measured where not yet under enough to be decided.
        has_some = verdict is not None and (verdict.verdict != "unmeasured" or verdict.specifications)
        if verdict is not None and verdict.source == "measured" and has_some:
            yield claim, _verdict_data(what_is_judged(dict(spec)), verdict)
        # A verdict that was not reached anew stays with the predicate it was reached on.
        elif (kept := before.verdicts.get((model, claim))) is not None:
            if kept.fault == EDITED:
                raise _edited(folder, f"the verdict on {claim} on {model}")
            yield claim, kept.data


def _verdict_data(judged: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    said = {"verdict": verdict.verdict, "reason": verdict.reason, **rounded({"share": verdict.share})}
    said |= rounded({"p": verdict.p}) if verdict.p is not None else {}
    said |= {"population_in_words": verdict.population} if verdict.population else {}
    measured = [each for each in verdict.specifications if each.verdict.verdict != "unmeasured"]
    said |= {"specifications": [_specified_data(each) for each in measured]} if measured else {}
    return {**judged, **said}


def _specified_data(specified: SpecifiedVerdict) -> dict[str, Any]:
    """The verdict under one set of choices, and by how much the claim holds there."""
    margin = rounded(vars(specified.margin)) if specified.margin else {}
    return {"choices": dict(specified.choices), "margin": margin, **_verdict_data({}, specified.verdict)}


def _update(staged: Path, written: Mapping[str, bytes]) -> tuple[str, ...]:
    """Make the JSON and CSV files of a folder equal to `written`; files of other kinds are not ours."""
    present = {p.name for pattern in ("*.json", "*.csv") for p in staged.glob(pattern)}
    changed = sorted(present - written.keys())
    for name in changed:
        (staged / name).unlink()
    for name, content in sorted(written.items()):
        path = staged / name
        # Files that are equal are not written: they do not show as changed.
        if name not in present or path.read_bytes() != content:
            path.write_bytes(content)
            changed.append(name)
    return tuple(changed)


def _report(ledger: Ledger, before: PublishedEvidence, changed: tuple[str, ...]) -> PublishReport:
    taken = [e for e in ledger.entries if e.state == "measured"]
    kept = [e for e in ledger.entries if e.state != "measured" and (e.label, e.model) in before.runs]
    withheld = [e for e in ledger.entries if e.withheld]
    notes = [f"{e.label} on {e.model} is not published: {e.reason}" for e in withheld]
    taken, kept = (tuple(f"{e.label} on {e.model}" for e in group) for group in (taken, kept))
    return PublishReport(changed, taken, kept, tuple(notes))


def _wanted(
    entry: Entry, figures: Mapping[str, Mapping[str, Any]], asked: Collection[DisplayItem]
) -> set[str]:
    """The tables of an entry that are asked for by their own name or by that of a figure of theirs."""
    parts = [part for part in asked if (part.label, part.model) == (entry.label, entry.model)]
    tables = {part.name for part in parts if part.kind == "tables"}
    return tables | {figures[p.name]["table"] for p in parts if p.kind == "figures" and p.name in figures}


def _thinned(data: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """What is said of an entry's tables once those that are not wanted have no file."""
    return {n: t if n in wanted or not t["file"] else _without_file(t) for n, t in data["tables"].items()}


def _without_file(table: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in table.items() if name != DIGEST}
    return kept | {"file": "", "note": UNSHOWN}
