"""ACDC as it is written down: an edge, a forward of the whole circuit without it, a decision.

What `acdc` must keep the same edges as; it is also what its speed is measured against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from engine.lab.circuits.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Iterator


def slow_acdc(
    graph: Graph,
    loss: Callable[[Bool[np.ndarray, " edge"]], float],
    threshold: float,
    start: Bool[np.ndarray, " edge"] | None = None,
) -> Bool[np.ndarray, " edge"]:
    """The edges that a sweep keeps, given what computes the loss of a circuit."""
    kept = np.ones(graph.n_edges, dtype=bool) if start is None else start.copy()
    before = loss(kept)
    for edge in sweep_order(graph):
        if not kept[edge]:
            continue
        kept[edge] = False
        after = loss(kept)
        if after - before < threshold:
            before = after
        else:
            kept[edge] = True
    return kept


def sweep_order(graph: Graph) -> Iterator[int]:
    """Edges from those into the logits to those into block 0, and from the latest source to the earliest."""
    # Edges are numbered the other way round.
    return iter(range(graph.n_edges - 1, -1, -1))


def mean_loss(values: Float[np.ndarray, " prompt"], metric: str) -> float:
    """KL is a loss; of other metrics more is better."""
    return float(values.mean()) * (1.0 if metric == "kl" else -1.0)
