"""One number for two populations: more units of these clusters, and clusters like these.

Facts come by relation, and those of one relation are alike. Resampling prompts says how far a number would
move over other prompts of the same relations in the same mix; resampling relations, with all their prompts,
says how far it would move over other relations (Cameron and Miller 2015, "A Practitioner's Guide to
Cluster-Robust Inference"). Both are kept; a page prints the wider, and a claim says of whom it speaks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from engine.evidence.intervals import TOO_FEW
from engine.evidence.resampling import SamplingUnits, resampled, units_of, weighted_means
from engine.evidence.result import Measurement


def over_both(these: Measurement, like_these: Measurement) -> Measurement:
    """One measurement of two: the same rows resampled by unit, and by cluster.

    Where these clusters bear no interval (too few, or one of them carries the number) the one over units is
    printed, and `cluster_note` says why it speaks of these clusters alone.
    """
    ends = (these.low, these.high)
    notes = [these.note]
    if _width(like_these) >= _width(these):
        ends = (like_these.low, like_these.high)
        notes = [like_these.note]
    if like_these.replicates is None:
        notes = [these.note, f"For {like_these.unit}s like these: {like_these.note}"]
    return replace(
        these,
        low=ends[0],
        high=ends[1],
        note=" ".join(filter(None, notes)),
        n_clusters=like_these.n,
        cluster_unit=like_these.unit,
        these_low=these.low,
        these_high=these.high,
        cluster_note=like_these.note if like_these.replicates is None else "",
        cluster_replicates=like_these.replicates,
    )


def _width(measurement: Measurement) -> float:
    """How wide the interval is; nothing where there is none."""
    if measurement.low is None or measurement.high is None:
        return -1.0
    return measurement.high - measurement.low


@dataclass(frozen=True)
class Choice:
    """A place (a layer, a head) that units chose, and those that resamples of the units would have chosen.

    `n` units chose. `by_cluster` are the choices of resampled clusters, None where units do not come in
    clusters, or in too few.
    """

    place: int
    n: int
    by_unit: Int[np.ndarray, " replicate"]
    by_cluster: Int[np.ndarray, " replicate"] | None = None
    n_clusters: int = 0

    def named(self, part: Callable[[np.ndarray], np.ndarray]) -> Choice:
        """What the places are called, such as the layer of a head."""
        by_cluster = None if self.by_cluster is None else part(self.by_cluster)
        return replace(
            self, place=int(part(np.array(self.place))), by_unit=part(self.by_unit), by_cluster=by_cluster
        )

    @property
    def frequency(self) -> float:
        """The share of resamples, of clusters where there are any, that choose this place again."""
        again = self.by_unit if self.by_cluster is None else self.by_cluster
        return float((again == self.place).mean())


def choose(
    values: Float[np.ndarray, "unit place"],
    unit: str,
    ids: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
) -> Choice:
    """The place with the largest mean, chosen again on every resample of the units, and of their clusters."""

    def again(units: SamplingUnits) -> np.ndarray:
        return resampled(weighted_means, values, units).argmax(axis=1)

    rows = len(values)
    by_unit = again(units_of("choice", rows, unit, ids, None))
    place = int(values.mean(axis=0).argmax())
    if clusters is None:
        return Choice(place, rows, by_unit)
    units = units_of("choice", rows, unit, None, clusters)
    return Choice(place, rows, by_unit, again(units) if units.n >= TOO_FEW else None, units.n)
