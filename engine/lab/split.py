"""Two halves of the prompts: what is chosen on one is measured on the other.

Prompts of one cluster share what makes a layer or a head look best on them. Were a cluster on both sides, the
half that measures would repeat the choice's luck instead of testing it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

Labels = Sequence[str] | np.ndarray


def hash_order(ids: Labels) -> np.ndarray:
    """Positions of `ids` in the order of their hashes, an order that nobody chose."""
    # Python's own `hash` of a string changes from process to process.
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in ids]
    return np.argsort(np.array(digests, dtype=str), kind="stable")


def selection_half(ids: Labels, clusters: Labels) -> np.ndarray:
    """True for the prompts that layers, heads and thresholds may be chosen on; the rest measures.

    Whole clusters go to one half or the other, so that nothing that a cluster's prompts share is both chosen
    on and measured. From the largest cluster to the smallest, those of one size in the order of their labels'
    hashes, each goes to the half that has fewer prompts: the halves are about equally large, and the
    measuring half is never the smaller. With a single cluster there is nothing to hold out whole: every
    second prompt chooses, in the order of the ids' hashes. Shape "prompt", bool.
    """
    labels, member_of, sizes = np.unique(
        np.asarray(clusters, dtype=str), return_inverse=True, return_counts=True
    )
    if len(labels) < 2:
        return _every_second(ids)
    order = hash_order(labels)
    # Stable: clusters of one size stay in the order of their hashes.
    order = order[np.argsort(-sizes[order], kind="stable")]
    in_second = np.zeros(len(labels), dtype=bool)
    prompts = [0, 0]
    for cluster in order:
        second = prompts[1] < prompts[0]
        in_second[cluster] = second
        prompts[second] += int(sizes[cluster])
    # The larger half measures: its intervals are what is reported.
    chooses = in_second if prompts[1] <= prompts[0] else ~in_second
    return chooses[member_of]


def split_in_words(clusters: Labels, selecting: Bool[np.ndarray, " prompt"], column: str) -> str:
    """How `selection_half` divided the prompts, for a reader: which part chose, and what was kept whole."""
    labels = np.asarray(clusters, dtype=str)
    both = len(np.unique(labels))
    prompts = f"{int(selecting.sum())} of {len(labels)} prompts"
    if both < 2 or not column:
        return f"{prompts}, every second by hash of its id; the others measure"
    chose = len(np.unique(labels[selecting]))
    return f"{prompts}: those of {chose} of {both} clusters (column {column}); the other clusters measure"


def _every_second(ids: Labels) -> np.ndarray:
    chooses = np.zeros(len(ids), dtype=bool)
    # From the second on: of an odd number of prompts the measuring half gets the one more.
    chooses[hash_order(ids)[1::2]] = True
    return chooses


def first_per_stratum(ids: Labels, strata: Labels, limit: int) -> np.ndarray:
    """True for at most `limit` prompts of each stratum, the first by hash. Shape "prompt", bool."""
    members = _by_stratum(ids, strata)
    labels = np.asarray(strata, dtype=str)
    _, starts, sizes = np.unique(labels[members], return_index=True, return_counts=True)
    # Each member's turn within its stratum: its place less that of the stratum's first.
    turn = np.arange(len(members)) - np.repeat(starts, sizes)
    kept = np.zeros(len(members), dtype=bool)
    kept[members[turn < limit]] = True
    return kept


def _by_stratum(ids: Labels, strata: Labels) -> np.ndarray:
    """Positions sorted by stratum, within each by hash."""
    order = hash_order(ids)
    # A stable sort by stratum keeps the order of the hashes within each.
    return order[np.argsort(np.asarray(strata, dtype=str)[order], kind="stable")]
