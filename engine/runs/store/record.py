"""What a run is called, and what is written down about it beside its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.runs.planning.keys import RunInputs, inputs_from
from engine.spec.points import point_label


@dataclass(frozen=True)
class RunName:
    """One experiment of one investigation at one sweep point on one model."""

    slug: str
    experiment: str
    point: tuple[tuple[str, Any], ...]
    model: str

    @property
    def label(self) -> str:
        """`lens`, or `layer0[seed=3]` at a sweep point."""
        return point_label(self.experiment, dict(self.point))

    def __str__(self) -> str:
        return f"{self.slug}/{self.label} on {self.model}"


@dataclass(frozen=True)
class RunRecord:
    """All that is kept of a finished run except its evidence; `provenance` is as in the ledger, without id.

    `features` is what its cost depended on: "parameters" of the model, "layers", "d_model",
    "prompts", "tokens" of the corpus.
    """

    name: RunName
    family: str
    inputs: RunInputs
    provenance: dict[str, Any]
    features: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.provenance["key"]

    def to_json(self) -> dict[str, Any]:
        name = {"slug": self.name.slug, "experiment": self.name.experiment, "model": self.name.model}
        return {
            "name": name | {"point": [list(pair) for pair in self.name.point]},
            "family": self.family,
            "inputs": self.inputs.parts,
            "provenance": self.provenance,
            "features": self.features,
        }


def record_from(data: Mapping[str, Any]) -> RunRecord:
    """The record as it was stored."""
    name = data["name"]
    return RunRecord(
        # JSON has made lists of tuples, and a name must be hashable.
        RunName(name["slug"], name["experiment"], tuple((k, v) for k, v in name["point"]), name["model"]),
        data["family"],
        inputs_from(data["inputs"]),
        data["provenance"],
        data["features"],
    )


@dataclass(frozen=True)
class StoredRun:
    """A row of the run store: a finished run, where it lies, and what is wrong with it if anything is."""

    id: int
    record: RunRecord
    files: dict[str, dict[str, Any]]  # name -> {"bytes", "sha256"}, result.json included
    damage: str = ""

    @property
    def name(self) -> RunName:
        return self.record.name

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def seconds(self) -> float:
        return self.record.provenance["seconds"]

    @property
    def date(self) -> str:
        return self.record.provenance["date"]

    def to_row(self) -> tuple[Any, ...]:
        # The key has a column of its own, which is indexed; all else is read back from the record.
        return (self.id, self.key, json.dumps(self.record.to_json()), json.dumps(self.files), self.damage)


def run_from_row(row: tuple[Any, ...]) -> StoredRun:
    """The run of a row (id, key, record, files, damage)."""
    return StoredRun(row[0], record_from(json.loads(row[2])), json.loads(row[3]), row[4])
