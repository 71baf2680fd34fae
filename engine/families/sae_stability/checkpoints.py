"""Agreement of seeds along their training: pw_mcc at each checkpoint that all SAEs kept, and at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.evidence.result import Result
from engine.lab.sparse.matching import Dictionary, match
from engine.spec.models import Scalar


@dataclass(frozen=True)
class CurvePoint:
    """All seeds after some steps: `pw_mcc` by pair of seeds, the other two by seed.

    `explained_variance` is the mean over tokens.
    """

    step: int
    tokens: int
    lr: float
    pw_mcc: list[float]
    start_cosine: list[float]
    explained_variance: list[float]


def agreement_by_step(
    by_seed: Mapping[Scalar, Result],
    pairs: list[tuple[str, str]],
    most_one_to_one: int,
    progress: Callable[..., None] = lambda fraction, message="": None,
) -> list[CurvePoint]:
    """The curve, ascending by step, its last point the end of training; empty where no checkpoints were kept.

    `pairs` are of the seeds' labels. Dictionaries wider than `most_one_to_one` have no curve.
    """
    results = {str(seed): result for seed, result in by_seed.items()}
    # SAEs of one sweep take the same steps; one made by hand, as a calibration's, keeps no checkpoints.
    if not all("checkpoint_steps" in result.arrays for result in results.values()):
        return []
    first = next(iter(results.values()))
    if len(first.arrays["W_dec"]) > most_one_to_one:
        return []
    tables = {seed: result.tables["checkpoints"] for seed, result in results.items()}
    curve = []
    steps = next(iter(tables.values()))["step"].tolist()
    for place, step in enumerate(steps):
        progress(place / len(steps), f"step {step:,}")
        decoders = {seed: _decoder(result, place) for seed, result in results.items()}
        rows = [table.iloc[place] for table in tables.values()]
        curve.append(
            CurvePoint(
                step=int(step),
                tokens=int(rows[0]["tokens"]),
                lr=float(rows[0]["lr"]),
                pw_mcc=[match(decoders[a], decoders[b]).one_to_one("mean") for a, b in pairs],
                start_cosine=[float(row["start_cosine"]) for row in rows],
                explained_variance=[float(row["explained_variance_per_token"]) for row in rows],
            )
        )
    return curve


def _decoder(result: Result, place: int) -> Dictionary:
    """The decoder at a row of the table of checkpoints, of which the last is the end of training."""
    kept = result.arrays["checkpoint_decoders"]
    return np.asarray(kept[place] if place < len(kept) else result.arrays["W_dec"], dtype=np.float32)
