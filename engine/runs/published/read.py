"""The numbers committed with the text, read back: `published/<model>.json` and the small CSVs beside it.

What is not what was published, by its digest, is read all the same and says so: nobody shows it, and `check`
and `diff` name it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.errors import StoreError
from engine.evidence.result import Check, Figure, Measurement
from engine.evidence.verdicts import Margin, SpecifiedVerdict, Verdict
from engine.runs.investigation import project_or_none
from engine.runs.ledger import DisplayKind, Entry, Provenance, PublishedFault
from engine.runs.model_paths import canonical_model
from engine.runs.published.csv_tables import PublishedTables, table_bytes
from engine.runs.published.digests import DIGEST, Place, is_sealed, is_sealed_file, table_digest
from engine.runs.published.field_types import checked, checked_date
from engine.runs.published.rounding import with_floats
from engine.runs.store.codec import check_from, figure_from, measurement_from
from engine.spec.models import Claim
from engine.spec.repository_files import read_beside

FORMAT = 2
UNPROVED_FORMAT = 1
"""Of files from before digests."""
MOST_JSON_BYTES = 20_000_000
"""A model's published numbers take some 0.7 MB, the largest known 1.5 MB."""
MENDING = "take the committed file back with git checkout, or delete it and publish again"
EDITED = "edited since it was published: it is not what its digest was made of"
UNPROVED = "published before digests, so that nobody can tell whether it was edited: publish it anew"


DECIDING = ("holds", "requires", "valid_if", "population")
"""The fields of a claim on which its verdict depends."""


@dataclass(frozen=True)
class PublishedRun:
    """One published entry as it lies in the file; tables are read only when it is shown.

    `fault` says why it is not believed, empty where it is; `table_faults` the same of its tables by name.
    """

    experiment: str
    point: dict[str, Any]
    model: str
    provenance: Provenance
    data: dict[str, Any] = field(repr=False)
    folder: Path = field(repr=False)
    fault: str = ""
    table_faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedVerdict:
    """A verdict with what was judged: the fields of its claim that decide, without their defaults.

    `data` is all that the file says of it; `fault` says why it is not believed, empty where it is.
    """

    judged: dict[str, Any]
    verdict: Verdict
    data: dict[str, Any] = field(repr=False)
    fault: str = ""


@dataclass(frozen=True)
class PublishedEvidence:
    """What one investigation has published: runs by (label, model), verdicts by (model, claim).

    `faults` are the parts that are not believed; runs and verdicts that they are about say it too.
    """

    runs: dict[tuple[str, str], PublishedRun]
    verdicts: dict[tuple[str, str], PublishedVerdict]
    faults: tuple[PublishedFault, ...] = ()


def read_published(folder: Path) -> PublishedEvidence:
    """All that is published in a folder; empty where there is none. StoreError names a broken file."""
    # Before anything is listed: a publish that was killed may have left no folder under this name.
    recover(folder)
    if folder.is_symlink():
        raise StoreError("this is not read", where=str(folder), expected="a folder", seen="a link")
    runs: dict[tuple[str, str], PublishedRun] = {}
    verdicts: dict[tuple[str, str], PublishedVerdict] = {}
    faults: list[PublishedFault] = []
    for path in sorted(folder.glob("*.json")):
        data = _read(path)
        with _blaming(path):
            # By the one name that specs have it under, however it was spelled when it was published.
            model = canonical_model(data["model"], folder.parent, project_or_none())
            for label, entry in data["runs"].items():
                fault = _fault(data, entry, run_place(data["model"], label))
                runs[label, model] = _run_from(entry, model, folder, fault)
            for claim, fields in data["verdicts"].items():
                fault = _fault(data, fields, verdict_place(data["model"], claim))
                verdicts[model, claim] = _published_verdict(claim, fields, fault)
            faults += _faults(path, data, model, runs, verdicts)
    return PublishedEvidence(runs, verdicts, tuple(faults))


def run_place(model: str, label: str) -> Place:
    """What the digest of a published run is bound to."""
    return (model, "runs", label)


def verdict_place(model: str, claim: str) -> Place:
    """What the digest of a published verdict is bound to."""
    return (model, "verdicts", claim)


def file_place(model: str) -> Place:
    """What the digest of a published file is bound to."""
    return (model,)


def what_is_judged(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a claim, or of a published verdict, that decide the verdict, without their defaults."""
    given = {name: fields[name] for name in DECIDING if name in fields}
    return {name: value for name, value in given.items() if value != Claim.model_fields[name].get_default()}


def _published_verdict(claim: str, fields: dict[str, Any], fault: str) -> PublishedVerdict:
    return PublishedVerdict(what_is_judged(fields), _verdict_from(claim, fields), fields, fault)


def _verdict_from(claim: str, fields: Mapping[str, Any]) -> Verdict:
    said = {name: fields[name] for name in ("verdict", "share", "reason")}
    said |= {"p": fields.get("p"), "population": fields.get("population_in_words", "")}
    specifications = tuple(_specified_from(claim, each) for each in fields.get("specifications", ()))
    return Verdict(claim, source="published", specifications=specifications, **checked(Verdict, said))


def _specified_from(claim: str, fields: Mapping[str, Any]) -> SpecifiedVerdict:
    margin = Margin(**checked(Margin, fields["margin"])) if fields["margin"] else None
    return SpecifiedVerdict(dict(fields["choices"]), _verdict_from(claim, fields), margin)


def published_entry(run: PublishedRun, reason: str) -> Entry:
    """A published run as an entry of the ledger; `reason` says why it was not measured here.

    Its tables are read when a page draws them: most builds draw few of them again.
    """
    path = run.folder / f"{file_stem(run.model)}.json"
    with _blaming(path):
        data = run.data
        believed = {n: t for n, t in data["tables"].items() if n not in run.table_faults}
        tables = PublishedTables(run.folder, believed)
        figures = {name: figure_from(checked(Figure, said)) for name, said in data["figures"].items()}
        return Entry(
            run.experiment,
            run.point,
            run.model,
            "published",
            reason,
            published_measurements(run),
            tables,
            # A figure without its table cannot be drawn.
            {name: figure for name, figure in figures.items() if figure.table in tables},
            tuple(_check_from(check) for check in data["checks"]),
            run.provenance,
            _left_out(data, run.table_faults),
        )


def _check_from(data: Mapping[str, Any]) -> Check:
    check = check_from(data)
    checked(Check, vars(check))
    return check


def published_measurements(run: PublishedRun) -> dict[str, Measurement]:
    """The numbers of a published run by name, without its tables; StoreError where one is broken."""
    with _blaming(run.folder / f"{file_stem(run.model)}.json"):
        return {
            name: measurement_from(checked(Measurement, {"name": name, **with_floats(fields)}))
            for name, fields in run.data["measurements"].items()
        }


def file_stem(text: str) -> str:
    """A model's name or a run's label as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.")


def _left_out(data: Mapping[str, Any], table_faults: Mapping[str, str]) -> dict[tuple[DisplayKind, str], str]:
    """Why a table, or a figure with it, is not among what is published."""
    notes = {name: table["note"] for name, table in data["tables"].items() if not table["file"]}
    notes |= table_faults
    without: dict[tuple[DisplayKind, str], str] = {}
    for name, note in notes.items():
        without["tables", name] = note
    for name, figure in data["figures"].items():
        if figure["table"] in notes:
            without["figures", name] = notes[figure["table"]]
    return without


def _run_from(data: dict[str, Any], model: str, folder: Path, fault: str) -> PublishedRun:
    # An id counts in one store only, and a reader has another.
    provenance = Provenance(run_id=None, **checked(Provenance, data["provenance"]))
    if not fault:
        checked_date(provenance.date)
    run = PublishedRun(data["experiment"], dict(data["point"]), model, provenance, data, folder, fault)
    # Of a run that is not believed nothing is shown; its tables' digests are as little worth as its numbers.
    return run if fault else replace(run, table_faults=_table_faults(data, folder))


def _table_faults(data: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The tables of a run that are not what was published; one that is missing is told when it is shown."""
    faults = {}
    for name, table in data["tables"].items():
        with contextlib.suppress(FileNotFoundError):
            # A table without a place is broken, which is told when its run is shown.
            file = table.get("file")
            if file and table_digest(table_bytes(folder, file)) != table.get(DIGEST):
                faults[name] = EDITED
    return faults


def _fault(file: Mapping[str, Any], part: Mapping[str, Any], place: Place) -> str:
    """Why a part of a file is not believed; empty where its digest is right."""
    if file["format"] == UNPROVED_FORMAT:
        return UNPROVED
    return "" if is_sealed(part, place) else EDITED


def _faults(
    path: Path,
    data: Mapping[str, Any],
    model: str,
    runs: Mapping[tuple[str, str], PublishedRun],
    verdicts: Mapping[tuple[str, str], PublishedVerdict],
) -> Iterator[PublishedFault]:
    """What a person is told of a file: each part that is not believed, or that parts came or went."""
    file = f"{path.parent.name}/{path.name}"
    if data["format"] == UNPROVED_FORMAT:
        yield PublishedFault(file, "", UNPROVED)
        return
    found = []
    for label in data["runs"]:
        run = runs[label, model]
        if run.fault:
            found.append(PublishedFault(file, f"runs.{label}", run.fault))
        for name, why in run.table_faults.items():
            table = f"{path.parent.name}/{run.data['tables'][name]['file']}"
            found.append(PublishedFault(table, "", why))
    for claim in data["verdicts"]:
        if fault := verdicts[model, claim].fault:
            found.append(PublishedFault(file, f"verdicts.{claim}", fault))
    # Where all parts are right and the whole is not, some were taken out, or put in by a merge.
    if not found and not is_sealed_file(data, file_place(data["model"])):
        why = "runs or verdicts were taken out of it or put into it by hand: engine publish writes it anew"
        found.append(PublishedFault(file, "", why))
    yield from found


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_beside(path.parent, path.name, MOST_JSON_BYTES, StoreError))
    # RecursionError: brackets nested thousands deep.
    except (OSError, ValueError, RecursionError) as error:
        problem = "this published file cannot be read"
        raise StoreError(problem, where=str(path), seen=str(error), hint=MENDING) from None
    seen = data.get("format") if isinstance(data, dict) else type(data).__name__
    if seen not in (UNPROVED_FORMAT, FORMAT):
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
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        seen = f"{type(error).__name__}: {error}"
        problem = "this published file lacks what it should hold"
        raise StoreError(problem, where=str(path), seen=seen, hint=MENDING) from None


def recover(folder: Path) -> None:
    """Put the old folder back where a publish was killed between its two renames."""
    old = folder.with_name(".published-old")
    if old.is_dir() and not folder.exists():
        with contextlib.suppress(OSError):
            old.rename(folder)
