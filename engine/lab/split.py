"""Two halves of the prompts: what is chosen on one is measured on the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def hash_order(ids: Sequence[str]) -> np.ndarray:
    """Positions of `ids` in the order of their hashes, an order that nobody chose."""
    # Python's own `hash` of a string changes from process to process.
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in ids]
    return np.argsort(np.array(digests, dtype=str), kind="stable")


def selection_half(ids: Sequence[str], strata: Sequence[str]) -> np.ndarray:
    """True for the prompts that layers, heads and thresholds may be chosen on; the rest measures.

    Every second prompt, stratum (relation) by stratum in the order of the ids' hashes: the halves have the
    same mix, and the measuring half is never the smaller. Shape "prompt", bool.
    """
    members = _by_stratum(ids, strata)
    chosen = np.zeros(len(members), dtype=bool)
    # From the second on: of an odd number of prompts the measuring half gets the one more.
    chosen[members[1::2]] = True
    return chosen


def first_per_stratum(ids: Sequence[str], strata: Sequence[str], limit: int) -> np.ndarray:
    """True for at most `limit` prompts of each stratum, the first by hash. Shape "prompt", bool."""
    members = _by_stratum(ids, strata)
    labels = np.asarray(strata, dtype=str)
    _, starts, sizes = np.unique(labels[members], return_index=True, return_counts=True)
    # Each member's turn within its stratum: its place less that of the stratum's first.
    turn = np.arange(len(members)) - np.repeat(starts, sizes)
    kept = np.zeros(len(members), dtype=bool)
    kept[members[turn < limit]] = True
    return kept


def _by_stratum(ids: Sequence[str], strata: Sequence[str]) -> np.ndarray:
    """Positions sorted by stratum, within each by hash."""
    order = hash_order(ids)
    # A stable sort by stratum keeps the order of the hashes within each.
    return order[np.argsort(np.asarray(strata, dtype=str)[order], kind="stable")]
