"""The numbers committed with the text: `published/<model>.json` and small CSVs, made to be read in a diff.

All numbers are published, and of the tables those that the text shows or draws: the others say only that
they are there, and the run store of whoever measures has them.

Keys are sorted and numbers rounded to six significant digits, so that writing what was read gives the
same bytes. Only what was measured here replaces what is there; entries and models not measured here stay
as they are, and those that the spec no longer has go. The folder is staged whole and swapped in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import StoreError
from engine.runs.ledger import DisplayItem, Entry, Ledger, Provenance
from engine.runs.published.numbers import floats, rounded, said
from engine.runs.published.tables import (
    MAX_TABLE_BYTES,
    UNSHOWN,
    csv_table,
    kinds_of,
    left_out,
    read_csv_table,
    thinned,
    wanted,
)
from engine.runs.store.run_folder import sync_folder

if TYPE_CHECKING:
    from engine.evidence.verdicts import Verdict

FORMAT = 1
MENDING = "take the committed file back with git checkout, or delete it and publish again"


@dataclass(frozen=True)
class PublishedRun:
    """One published entry as it lies in the file; tables are read only when it is shown."""

    experiment: str
    point: dict[str, Any]
    model: str
    provenance: Provenance
    data: dict[str, Any] = field(repr=False)
    folder: Path = field(repr=False)


@dataclass(frozen=True)
class PublishedVerdict:
    """A verdict with the predicate that it was a verdict on."""

    holds: str
    requires: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True)
class PublishedEvidence:
    """What one investigation has published: runs by (label, model), verdicts by (model, claim)."""

    runs: dict[tuple[str, str], PublishedRun]
    verdicts: dict[tuple[str, str], PublishedVerdict]


@dataclass(frozen=True)
class PublishReport:
    """What a `publish` did: files that changed, entries ("lens on gpt2") it took, and those it left alone."""

    changed: tuple[str, ...]
    taken: tuple[str, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]


def read_published(folder: Path) -> PublishedEvidence:
    """All that is published in a folder; empty where there is none. StoreError names a broken file."""
    from engine.evidence.verdicts import Verdict

    _recover(folder)
    runs, verdicts = {}, {}
    for path in sorted(folder.glob("*.json")):
        data = _read(path)
        with _blaming(path):
            model = data["model"]
            for label, entry in data["runs"].items():
                runs[label, model] = _run_from(entry, model, folder)
            for claim, v in data["verdicts"].items():
                verdict = Verdict(claim, v["verdict"], v["share"], v["reason"], "published")
                verdicts[model, claim] = PublishedVerdict(v["holds"], tuple(v["requires"]), verdict)
    return PublishedEvidence(runs, verdicts)


def published_entry(run: PublishedRun, reason: str) -> Entry:
    """A published run as an entry of the ledger; `reason` says why it was not measured here."""
    from engine.evidence.result import Check, Figure, Measurement

    path = run.folder / f"{file_stem(run.model)}.json"
    with _blaming(path):
        data = run.data
        tables = {n: read_csv_table(run.folder, t) for n, t in data["tables"].items() if t["file"]}
        figures = {name: Figure(**figure) for name, figure in data["figures"].items()}
        return Entry(
            run.experiment,
            run.point,
            run.model,
            "published",
            reason,
            {name: Measurement(name, **floats(m)) for name, m in data["measurements"].items()},
            tables,
            {name: figure for name, figure in figures.items() if figure.table in tables},
            tuple(Check(**check | {"value": float(check["value"])}) for check in data["checks"]),
            run.provenance,
            left_out(data),
        )


def write_published(
    ledger: Ledger, folder: Path, asked: Collection[DisplayItem] | None = None
) -> PublishReport:
    """Publish what was measured here, of tables only those `asked` for, or drawn by a figure that is.

    Raises StoreError where the folder cannot be written or a file is broken.
    """
    before = read_published(folder)
    staged, old = folder.with_name(".published-new"), folder.with_name(".published-old")
    try:
        for leftover in (staged, old):
            shutil.rmtree(leftover, ignore_errors=True)
        if folder.is_dir():
            shutil.copytree(folder, staged)
        staged.mkdir(exist_ok=True)
        written = {}
        for model in ledger.spec.models:
            written |= _model_files(ledger, model, before, folder, asked)
        changed = _update(staged, written)
        sync_folder(staged)
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


def file_stem(text: str) -> str:
    """A model's name or a run's label as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.")


def _model_files(
    ledger: Ledger, model: str, before: PublishedEvidence, folder: Path, asked: Collection[DisplayItem] | None
) -> dict[str, bytes]:
    """The files of one model, by name; none where nothing was ever measured on it."""
    runs, files = {}, {}
    for entry in (e for e in ledger.entries if e.model == model):
        kept = before.runs.get((entry.label, model))
        if entry.state == "measured":
            runs[entry.label], tables = _run_data(entry, asked)
            files |= tables
        elif kept is not None:
            data = kept.data
            if asked is not None and not entry.withheld:  # a failed check replaces nothing
                data = data | {"tables": thinned(data, wanted(entry, data["figures"], asked))}
            runs[entry.label] = data
            names = [table["file"] for table in data["tables"].values() if table["file"]]
            files |= {name: (folder / name).read_bytes() for name in names}
    if not runs:
        return {}
    verdicts = dict(_verdicts(ledger, model, before))
    data = {"format": FORMAT, "model": model, "runs": runs, "verdicts": verdicts}
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain)
    return files | {f"{file_stem(model)}.json": f"{text}\n".encode()}


def _run_data(entry: Entry, asked: Collection[DisplayItem] | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A measured entry as published data, and its tables' files."""
    tables, files = {}, {}
    figures = {name: _fields(figure) for name, figure in entry.figures.items()}
    shown = entry.tables.keys() if asked is None else wanted(entry, figures, asked)
    for name, table in entry.tables.items():
        content, columns = csv_table(table) if name in shown else (b"", kinds_of(table))
        file = f"{file_stem(entry.model)}.{file_stem(entry.label)}.{name}.csv"
        note = f"left out: {len(content):,} bytes" if len(content) > MAX_TABLE_BYTES else ""
        note = note if name in shown else UNSHOWN
        tables[name] = {"file": "" if note else file, "columns": columns, "rows": len(table), "note": note}
        files |= {} if note else {file: content}
    unwanted = ("name", "samples", "replicates")
    provenance = {k: v for k, v in _fields(entry.provenance, but=("run_id",)).items() if k != "second" or v}
    data = {
        "experiment": entry.experiment,
        "point": [list(pair) for pair in entry.point.items()],
        "measurements": {n: said(rounded(_fields(m, but=unwanted))) for n, m in entry.measurements.items()},
        "checks": [rounded(_fields(c)) for c in entry.checks],
        "figures": figures,
        "tables": tables,
        "provenance": provenance | rounded({"seconds": provenance["seconds"]}),
    }
    return data, files


def _verdicts(ledger: Ledger, model: str, before: PublishedEvidence) -> Iterator[tuple[str, dict[str, Any]]]:
    """Verdicts measured here, and for the other claims what was published before."""
    for claim, spec in ledger.spec.claims.items():
        verdict: Verdict | None = ledger.verdicts.get(model, {}).get(claim)
        if verdict is not None and verdict.source == "measured" and verdict.verdict != "unmeasured":
            yield claim, _verdict_data(spec.holds, spec.requires, verdict)
        elif (kept := before.verdicts.get((model, claim))) is not None:
            yield claim, _verdict_data(kept.holds, kept.requires, kept.verdict)


def _verdict_data(holds: str, requires: Iterable[str], verdict: Verdict) -> dict[str, Any]:
    text = {"holds": holds, "requires": list(requires), "verdict": verdict.verdict, "reason": verdict.reason}
    return text | rounded({"share": verdict.share})


def _update(staged: Path, written: Mapping[str, bytes]) -> tuple[str, ...]:
    """Make the JSON and CSV files of a folder equal to `written`; files of other kinds are not ours."""
    present = {p.name for pattern in ("*.json", "*.csv") for p in staged.glob(pattern)}
    changed = sorted(present - written.keys())
    for name in changed:
        (staged / name).unlink()
    for name, content in sorted(written.items()):
        path = staged / name
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


def _run_from(data: dict[str, Any], model: str, folder: Path) -> PublishedRun:
    provenance = Provenance(run_id=None, **data["provenance"])
    return PublishedRun(data["experiment"], dict(data["point"]), model, provenance, data, folder)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = "this published file cannot be read"
        raise StoreError(problem, where=str(path), seen=str(error), hint=MENDING) from None
    seen = data.get("format") if isinstance(data, dict) else type(data).__name__
    if seen != FORMAT:
        raise StoreError(
            "this file was not published by this engine",
            where=str(path),
            expected=f"an object with format {FORMAT}",
            seen=f"format {seen}" if isinstance(data, dict) else f"a {seen}",
            hint=MENDING,
        )
    return data


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """What is missing or of the wrong kind in a published file, as an error that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        seen = f"{type(error).__name__}: {error}"
        problem = "this published file lacks what it should hold"
        raise StoreError(problem, where=str(path), seen=seen, hint=MENDING) from None


def _recover(folder: Path) -> None:
    """Put the old folder back where a publish was killed between its two renames."""
    old = folder.with_name(".published-old")
    if old.is_dir() and not folder.exists():
        with contextlib.suppress(OSError):
            old.rename(folder)


def _fields(value: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in but}


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own number."""
    return value.item()
