"""The same method's circuits on resamples of the prompts that choose: how much a circuit hangs on them.

Whole clusters are resampled, with all their prompts, so that what one cluster's prompts share does not pass
for what any prompts share. Circuits of equal size are compared by the edges that they share; a random circuit
of the same size shares some of them by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from engine.lab.circuits.faithfulness import jaccard
from engine.lab.profiles import spearman


def resampled_choosers(
    choosing: Bool[np.ndarray, " prompt"], clusters: Sequence[str], n: int, seed: int
) -> list[Int[np.ndarray, " drawn"]]:
    """`n` resamples of the choosing prompts by whole clusters, of two clusters or more each.

    Where all prompts are of one cluster, prompts are drawn.
    """
    rows = np.flatnonzero(choosing)
    labels = np.asarray(clusters, dtype=str)[rows]
    names = np.unique(labels)
    members = (
        [rows[labels == name] for name in names] if len(names) > 1 else [rows[[i]] for i in range(len(rows))]
    )
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < n:
        picks = rng.integers(len(members), size=len(members))
        # One cluster over and over is a sample of one, whose circuit says nothing of any prompts like these.
        if len(members) == 1 or len(np.unique(picks)) > 1:
            found.append(np.concatenate([members[pick] for pick in picks]))
    return found


def overlaps(
    circuits: Bool[np.ndarray, "circuit edge"],
) -> tuple[Float[np.ndarray, " pair"], Int[np.ndarray, "pair 2"]]:
    """The Jaccard overlap of each two circuits, and which two they are."""
    pairs = np.array(list(combinations(range(len(circuits)), 2)))
    return np.array([jaccard(circuits[a], circuits[b]) for a, b in pairs]), pairs


def rank_agreement(scores: Float[np.ndarray, "circuit edge"]) -> Float[np.ndarray, " pair"]:
    """Spearman's correlation of each two choices' scores over all edges, in the order of `overlaps`."""
    first, second = np.array(list(combinations(range(len(scores)), 2))).T
    return spearman(scores[first], scores[second])
