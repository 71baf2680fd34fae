"""The numbers committed with the text, read back: `published/<model>.json` and the small CSVs beside it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import StoreError
from engine.evidence.verdicts import Margin, SpecifiedVerdict, Verdict
from engine.runs.investigation import project_or_none
from engine.runs.ledger import DisplayKind, Entry, Provenance
from engine.runs.model_paths import canonical_model
from engine.runs.published.csv_tables import PublishedTables
from engine.runs.published.rounding import with_floats
from engine.runs.store.codec import check_from, figure_from, measurement_from
from engine.spec.models import Claim

FORMAT = 1
MENDING = "take the committed file back with git checkout, or delete it and publish again"


DECIDING = ("holds", "requires", "valid_if", "population")
"""The fields of a claim on which its verdict depends."""


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
    """A verdict with what was judged: the fields of its claim that decide, without their defaults."""

    judged: dict[str, Any]
    verdict: Verdict


@dataclass(frozen=True)
class PublishedEvidence:
    """What one investigation has published: runs by (label, model), verdicts by (model, claim)."""

    runs: dict[tuple[str, str], PublishedRun]
    verdicts: dict[tuple[str, str], PublishedVerdict]


def read_published(folder: Path) -> PublishedEvidence:
    """All that is published in a folder; empty where there is none. StoreError names a broken file."""
    # Before anything is listed: a publish that was killed may have left no folder under this name.
    recover(folder)
    runs: dict[tuple[str, str], PublishedRun] = {}
    verdicts: dict[tuple[str, str], PublishedVerdict] = {}
    for path in sorted(folder.glob("*.json")):
        data = _read(path)
        with _blaming(path):
            # By the one name that specs have it under, however it was spelled when it was published.
            model = canonical_model(data["model"], folder.parent, project_or_none())
            for label, entry in data["runs"].items():
                runs[label, model] = _run_from(entry, model, folder)
            for claim, fields in data["verdicts"].items():
                verdicts[model, claim] = _published_verdict(claim, fields)
    return PublishedEvidence(runs, verdicts)


def what_is_judged(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a claim, or of a published verdict, that decide the verdict, without their defaults."""
    given = {name: fields[name] for name in DECIDING if name in fields}
    return {name: value for name, value in given.items() if value != Claim.model_fields[name].get_default()}


def _published_verdict(claim: str, fields: Mapping[str, Any]) -> PublishedVerdict:
    return PublishedVerdict(what_is_judged(fields), _verdict_from(claim, fields))


def _verdict_from(claim: str, fields: Mapping[str, Any]) -> Verdict:
    return Verdict(
        claim,
        fields["verdict"],
        fields["share"],
        fields["reason"],
        "published",
        p=fields.get("p"),
        population=fields.get("population_in_words", ""),
        specifications=tuple(_specified_from(claim, each) for each in fields.get("specifications", ())),
    )


def _specified_from(claim: str, fields: Mapping[str, Any]) -> SpecifiedVerdict:
    margin = Margin(**fields["margin"]) if fields["margin"] else None
    return SpecifiedVerdict(fields["choices"], _verdict_from(claim, fields), margin)


def published_entry(run: PublishedRun, reason: str) -> Entry:
    """A published run as an entry of the ledger; `reason` says why it was not measured here.

    Its tables are read when a page draws them: most builds draw few of them again.
    """
    path = run.folder / f"{file_stem(run.model)}.json"
    with _blaming(path):
        data = run.data
        tables = PublishedTables(run.folder, data["tables"])
        figures = {name: figure_from(figure) for name, figure in data["figures"].items()}
        measurements = {
            name: measurement_from({"name": name, **with_floats(fields)})
            for name, fields in data["measurements"].items()
        }
        return Entry(
            run.experiment,
            run.point,
            run.model,
            "published",
            reason,
            measurements,
            tables,
            # A figure without its table cannot be drawn.
            {name: figure for name, figure in figures.items() if figure.table in tables},
            tuple(check_from(check) for check in data["checks"]),
            run.provenance,
            _left_out(data),
        )


def file_stem(text: str) -> str:
    """A model's name or a run's label as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.")


def _left_out(data: Mapping[str, Any]) -> dict[tuple[DisplayKind, str], str]:
    """Why a table, or a figure with it, is not among what is published."""
    notes = {name: table["note"] for name, table in data["tables"].items() if not table["file"]}
    without: dict[tuple[DisplayKind, str], str] = {}
    for name, note in notes.items():
        without["tables", name] = note
    for name, figure in data["figures"].items():
        if figure["table"] in notes:
            without["figures", name] = notes[figure["table"]]
    return without


def _run_from(data: dict[str, Any], model: str, folder: Path) -> PublishedRun:
    # An id counts in one store only, and a reader has another.
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


def recover(folder: Path) -> None:
    """Put the old folder back where a publish was killed between its two renames."""
    old = folder.with_name(".published-old")
    if old.is_dir() and not folder.exists():
        with contextlib.suppress(OSError):
            old.rename(folder)
