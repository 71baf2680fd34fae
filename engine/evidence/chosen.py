"""A number about something that was chosen: its interval contains the choice.

A circuit is chosen on some prompts and measured on others. Over prompts like the measured ones its number
varies with the prompts, and had others chosen, there would be another circuit. By the law of total variance

    Var(f) = E[Var(f | circuit)] + Var(E[f | circuit])

The first term is what resampling the measured prompts gives, averaged over the choices; the second is the
variance of the number between choices, made on resamples of the prompts that choose. Few choices know it
poorly: its deviations are those of Student's t with one degree of freedom less than there are choices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from engine.errors import ResultError
from engine.evidence.intervals import TAIL
from engine.evidence.result import Measurement

FEWEST_CHOICES = 2


def with_choices(
    found: Measurement,
    choices: Sequence[Measurement],
    bounds: tuple[float, float] | None = None,
) -> Measurement:
    """A measurement whose interval contains the choice of what it is about.

    `choices` are the same number, over the same units, of what resamples of the choosing units would have
    chosen. ResultError for fewer than two.
    """
    if len(choices) < FEWEST_CHOICES:
        raise ResultError(
            f"{found.name}: the choice cannot vary",
            expected=f"at least {FEWEST_CHOICES} choices",
            seen=str(len(choices)),
        )
    limits = bounds or (-np.inf, np.inf)
    spread = float(np.std([each.value for each in choices], ddof=1))
    these = _widened(found, choices, spread, "replicates", limits)
    like_these = _widened(found, choices, spread, "cluster_replicates", limits)
    note = (
        f"The interval contains the choice: {len(choices)} choices, whose standard deviation is {spread:.2g}."
    )
    own = _ends(these)
    # The wider of the two populations' intervals is printed, as without choices.
    ends = max((own, _ends(like_these)), key=_width)
    return replace(
        found,
        low=ends[0],
        high=ends[1],
        these_low=own[0] if found.these_low is not None else None,
        these_high=own[1] if found.these_high is not None else None,
        replicates=these,
        cluster_replicates=like_these,
        note=" ".join(filter(None, [found.note, note if these is not None else ""])),
    )


def _widened(
    found: Measurement, choices: Sequence[Measurement], spread: float, name: str, limits: tuple[float, float]
) -> Float[np.ndarray, " replicate"] | None:
    own: np.ndarray | None = getattr(found, name)
    if own is None:
        return None
    # E[Var(f | circuit)]: replicate r is resample r of the prompts under one of the choices, in turn.
    within = np.stack([own - found.value, *_deviations(choices, name)])
    turn = np.arange(len(own)) % len(within)
    # Var(E[f | circuit]): independent of the prompts that measure, and shared by no other number, so that a
    # comparison of two is not made to look better than it is.
    between = spread * _student(found.name, len(choices) - 1, len(own))
    return np.clip(found.value + within[turn, np.arange(len(own))] + between, *limits)


def _deviations(choices: Sequence[Measurement], name: str) -> list[np.ndarray]:
    """The replicates of each choice about its value, where it has any."""
    drawn = [(getattr(each, name), each.value) for each in choices]
    return [replicates - value for replicates, value in drawn if replicates is not None]


def _student(name: str, freedom: int, n: int) -> Float[np.ndarray, " replicate"]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_t(freedom, size=n)


def _ends(replicates: np.ndarray | None) -> tuple[float | None, float | None]:
    if replicates is None:
        return None, None
    low, high = np.quantile(replicates, [TAIL, 1 - TAIL])
    return float(low), float(high)


def _width(ends: tuple[float | None, float | None]) -> float:
    low, high = ends
    return -1.0 if low is None or high is None else high - low
