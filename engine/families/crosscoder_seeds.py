"""Crosscoders of several seeds: what one says of its latents, said over dictionaries.

1. Take the runs this experiment uses as `crosscoders`: one crosscoder, trained and measured, for each seed of
   a sweep.
2. Take every finding that they all have, and its control, as one value a seed: a share of latents, an
   explained variance.
3. Average over seeds; resample seeds. A finding and its control are of the same seeds, so that a claim
   compares them seed by seed.

Latents of one dictionary are no independent samples of what training finds: another seed gives another
dictionary (investigation sae-seed-stability). So an interval over latents says what this dictionary is like,
and only one over seeds says what such dictionaries are like. Unit of sampling: the seed. Controls: those of
the crosscoders (`shuffled_...`, `random_...`, `pca_...`), over the same seeds.

Pitfalls:

- A handful of seeds has few different resamples, so that the ends of an interval are rough (Davison and
  Hinkley 1997, chapter 2).
- Seeds share model, text and settings: their spread leaves out what other text or settings would change
  (Bouthillier et al. 2021, "Accounting for Variance in Machine Learning Benchmarks").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.lab.lab import Lab, Point, UsedRun
from engine.lab.profiles import known_answer
from engine.models.micro import micro_model
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import Inputs, Uses

inputs = Inputs(uses={"crosscoders": Uses("crosscoder", over="seed")})


class Params(FamilyParams):
    pass


def run(lab: Lab, params: Params) -> Result:
    """Every finding and control of the crosscoders, over seeds."""
    # 1. Take one crosscoder for each seed.
    by_seed = lab.used_over("crosscoders", "seed")
    measured = [result.measurements for result in by_seed.values()]
    ev = Evidence("seed", [str(seed) for seed in by_seed])

    # 2. Take every finding that all have, and its control.
    controls: dict[str, Measurement] = {}
    names = estimates(measured, "control")
    for name in names:
        values = values_of(measured, name)
        controls[name] = ev.control(name, values, about_of(measured, name), bounds=bounds_of(name))
    findings = estimates(measured, "finding")
    if not findings:
        seen = f"{len(measured)} runs without a finding in common"
        raise DataError("these runs are no measured crosscoders", expected="findings and controls", seen=seen)
    # 3. Average over seeds.
    for name in findings:
        values = values_of(measured, name)
        control = controls.get(measured[0][name].control)
        ev.finding(name, values, about_of(measured, name), bounds=bounds_of(name), control=control)
    ev.count("n_seeds", len(by_seed), "Crosscoders, which differ in the seed alone.")

    rows = {name: values_of(measured, name) for name in [*findings, *names]}
    ev.table("per_seed", pd.DataFrame({"seed": [str(seed) for seed in by_seed], **rows}))
    return ev.result()


def estimates(measured: Sequence[dict[str, Measurement]], role: str) -> list[str]:
    """The estimates of one role that every seed has, in the order of the first; counts are none."""
    first, *others = measured
    mine = [name for name, m in first.items() if m.role == role and not m.exact]
    return [name for name in mine if all(name in other for other in others)]


def values_of(measured: Sequence[dict[str, Measurement]], name: str) -> list[float]:
    """One value a seed."""
    return [numbers[name].value for numbers in measured]


def bounds_of(name: str) -> tuple[float, float] | None:
    """What a number cannot exceed, which its interval over few seeds does not know by itself."""
    if name.endswith(("fraction", "frac_alive", "last_share")):
        return (0.0, 1.0)
    if name.endswith("cosine"):
        return (-1.0, 1.0)
    # Worse than the mean has no lower end; of several sources the name ends in the source's number.
    return (-np.inf, 1.0) if "explained_variance" in name else None


def about_of(measured: Sequence[dict[str, Measurement]], name: str) -> str:
    """What a number is, in the words of the run that measured it."""
    return f"{measured[0][name].about.rstrip('.')}; mean over seeds."


def calibrate() -> list[Calibration]:
    """Seeds whose numbers are known: mean and spread are theirs."""
    values = [0.2, 0.4, 0.4, 0.6]
    found = run(Lab(micro_model(), uses={"crosscoders": made_up(values)}), Params()).measurements
    shared = found["shared_fraction"]
    spread = float(np.std(shared.samples)) if shared.samples is not None else float("nan")
    return [
        known_answer("mean over seeds", "Four known shares.", shared.value, 0.4, 1e-9),
        known_answer("spread over seeds", "Their standard deviation.", spread, float(np.std(values)), 1e-9),
    ]


def made_up(values: Sequence[float]) -> dict[Point, UsedRun]:
    """Runs whose share of shared latents is known, each beside a control of half as much."""
    points: dict[Point, UsedRun] = {}
    for seed, value in enumerate(values):
        ev = Evidence("latent")
        chance = ev.control("shuffled_shared_fraction", [value / 2, value / 2], "Shuffled.")
        ev.finding("shared_fraction", [value, value], "Shared.", control=chance)
        ev.count("tokens_held_out", 10, "Tokens.")
        points[(("seed", seed),)] = UsedRun(ev.result())
    return points
