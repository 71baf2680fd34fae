"""A published file with its digests made anew: as another engine, or somebody who means to deceive, would."""

from __future__ import annotations

from typing import Any

from engine.runs.published.digests import sealed, sealed_file
from engine.runs.published.read import file_place, run_place, verdict_place


def resealed(data: dict[str, Any]) -> dict[str, Any]:
    """What a file says, each run, each verdict and the file with the digest of what they say now."""
    model = data["model"]
    runs = {label: sealed(run, run_place(model, label)) for label, run in data["runs"].items()}
    verdicts = {claim: sealed(said, verdict_place(model, claim)) for claim, said in data["verdicts"].items()}
    return sealed_file({**data, "runs": runs, "verdicts": verdicts}, file_place(model))
