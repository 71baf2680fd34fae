"""ACDC: the edges without which a model's behaviour would change by a threshold or more.

1. Begin with the whole graph (or with the edges that attribution ranks highest: `start`).
2. Go through the destinations from the logits upwards, and through the sources of each from the latest to
   the earliest. An edge is cut, its source then being read from the reference run, if the loss of the circuit
   without it is less than `threshold` above that of the circuit with it.
3. What remains and is connected is the circuit.

The loss is the KL divergence from the clean run, or a metric such as the logit difference, negative.

What is computed is much less than a forward for each edge, and decides the same. Edges of one destination are
tried many at a time, each row of a batch with all edges cut that stand before it: most edges are cut, so that
most rows turn out to be the runs that were needed, and behind the first edge that is kept the batch is made
anew. A destination that leads nowhere any more loses its edges without a run: they change nothing, which is
less than any threshold. Of the rest only that is computed which is downstream (see `downstream`).

Source: Conmy et al. 2023, "Towards Automated Circuit Discovery for Mechanistic Interpretability", section 3;
the order of sources as there. Syed, Rager & Conmy 2023 prune with attribution first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.circuits.circuit_forward import ReferenceRun
from engine.lab.circuits.downstream import Downstream
from engine.lab.circuits.graph import Graph
from engine.lab.groups import equal_length_groups
from engine.lab.patch_metrics import PatchMetric
from engine.lab.patch_pairs import PatchPairs
from engine.lab.threads import side_by_side

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

FIRST_ROWS = 8
TOKENS_AT_ONCE = 1024
"""Rows of a batch are so many tokens together: more make products no faster, and more rows are in vain."""
MEMORY_MB = 2048


@dataclass(frozen=True)
class EdgeSweep:
    """What one sweep kept, and what it took.

    `kept` is as the sweep left it, `circuit` without edges that lie on no path. `cost` is by how much the
    loss rose when an edge was tried, 0 for one that led nowhere. `metric` is that of each prompt under
    `kept`. `n_edges` were decided, of which `n_tried` by a run, in `n_rows` rows of batches.
    """

    threshold: float
    kept: Bool[np.ndarray, " edge"]
    circuit: Bool[np.ndarray, " edge"]
    cost: Float[np.ndarray, " edge"]
    metric: Float[np.ndarray, " prompt"]
    n_edges: int
    n_tried: int
    n_rows: int


def acdc(
    model: HookedModel,
    graph: Graph,
    pairs: PatchPairs,
    metric: PatchMetric,
    threshold: float,
    *,
    reference: ReferenceRun | None = None,
    start: Bool[np.ndarray, " edge"] | None = None,
    memory_mb: float = MEMORY_MB,
    progress: Callable[[float], None] = lambda fraction: None,
) -> EdgeSweep:
    """One sweep over all edges, or over those of `start`.

    Pairs have the clean prompt as source and the corrupted one as base. DataError for a threshold that is not
    above 0, and for prompts whose runs do not fit `memory_mb`.
    """
    require_threshold(threshold)
    _require_memory(model, graph, pairs, memory_mb)
    edges = np.ones(graph.n_edges, dtype=bool) if start is None else start
    kept = np.zeros((graph.n_destinations, graph.n_sources), dtype=bool)
    kept[graph.edge_destination, graph.edge_source] = edges
    runs = _runs(model, graph, pairs, metric, reference or ReferenceRun(), kept)
    sweep = _Sweep(runs, kept, np.zeros(kept.shape), _sign(metric), threshold, len(pairs))
    for d in reversed(range(graph.n_destinations)):
        sweep.decide(d)
        # By edges, and not by destinations: those of late blocks have more edges, and shorter ways.
        progress(1 - graph.first_edge[d] / graph.n_edges)
    left = kept[graph.edge_destination, graph.edge_source]
    values = np.full(len(pairs), np.nan)
    for index, run in runs:
        values[index] = run.own_values().cpu().numpy()
    circuit = graph.connected(left[None])[0]
    cost = sweep.cost[graph.edge_destination, graph.edge_source]
    n_edges = int(edges.sum())
    return EdgeSweep(threshold, left, circuit, cost, values, n_edges, sweep.n_tried, sweep.n_rows)


def require_threshold(threshold: float) -> None:
    """DataError for a threshold by which even an edge without effect would be kept."""
    if not threshold > 0:
        raise DataError(
            "ACDC's threshold is what cutting an edge may cost",
            expected="a number above 0, in units of the metric",
            seen=f"{threshold:g}",
        )


def acdc_bytes(model: HookedModel, graph: Graph, n_tokens: int) -> int:
    """What a sweep holds beside the model, of prompts of so many tokens in all."""
    shape = model.shape
    # By token what each source writes in both runs, and while a run is made in its one circuit; and the rows
    # of a batch, with an MLP's neurons and what half of the sources change.
    runs = 4 * graph.n_sources * shape.d_model * n_tokens
    rows = (3 * shape.d_mlp + graph.n_sources * shape.d_model // 2) * max(TOKENS_AT_ONCE, n_tokens * 4)
    return (runs + rows) * model.W_U.element_size()


def _require_memory(model: HookedModel, graph: Graph, pairs: PatchPairs, memory_mb: float) -> None:
    n_tokens = int((pairs.last + 1).sum())
    needed = acdc_bytes(model, graph, n_tokens) / 2**20
    if needed <= memory_mb:
        return
    raise DataError(
        f"ACDC over {len(pairs)} prompts of {n_tokens} tokens does not fit the memory limit",
        expected=f"memory_mb of at least {needed:.0f}, or fewer prompts",
        seen=f"{memory_mb:.0f}",
    )


def require_circuit(found: EdgeSweep) -> None:
    """DataError for a threshold at which no circuit is left, or nothing is left out."""
    n_kept = int(found.circuit.sum())
    if n_kept > 0 and found.kept.sum() < found.n_edges:
        return
    what = "every edge" if n_kept else "no path from the embedding to the logits"
    raise DataError(
        f"at a threshold of {found.threshold:g} ACDC keeps {what}",
        expected="a threshold at which some edges are cut and some paths are left",
        seen=f"{n_kept} of {found.n_edges} edges in the circuit",
        hint="a larger threshold" if n_kept else "a smaller threshold",
    )


def _sign(metric: PatchMetric) -> float:
    """What makes a loss of a metric: KL is one; of the others more is better."""
    return 1.0 if metric.name == "kl" else -1.0


def _runs(
    model: HookedModel,
    graph: Graph,
    pairs: PatchPairs,
    metric: PatchMetric,
    reference: ReferenceRun,
    kept: Bool[np.ndarray, "destination source"],
) -> list[tuple[list[int], Downstream]]:
    """The circuit's run over each group of prompts of one length, as many groups as threads at least."""
    size = -(-len(pairs) // torch.get_num_threads())
    groups = list(equal_length_groups(pairs.last, size))

    def run_of(index: list[int]) -> Downstream:
        rows = (pairs.rows(index), metric.rows(index), reference.rows(index))
        return Downstream.of(model, graph, *rows, kept)

    return list(zip(groups, side_by_side(run_of, groups, model.device), strict=True))


@dataclass
class _Sweep:
    """The state of a sweep: the runs, the edges kept so far, and the loss of the circuit that they are."""

    runs: Sequence[tuple[list[int], Downstream]]
    kept: Bool[np.ndarray, "destination source"]
    cost: Float[np.ndarray, "destination source"]
    sign: float
    threshold: float
    n_prompts: int
    loss: float = float("nan")
    rows: int = FIRST_ROWS
    n_tried: int = 0
    n_rows: int = 0

    @property
    def device(self) -> str:
        return self.runs[0][1].model.device

    def decide(self, d: int) -> None:
        """Which edges into a destination are kept."""
        leads_on = side_by_side(lambda run: run[1].enter(d), self.runs, self.device)
        # From the latest source to the earliest.
        sources = np.flatnonzero(self.kept[d])[::-1].tolist()
        if not leads_on[0]:
            # Nothing downstream reads these nodes: cutting their inputs changes the loss by exactly 0.
            self.kept[d] = False
            return
        if np.isnan(self.loss):
            self.loss = (
                self.sign * sum(float(run.own_values().sum()) for _, run in self.runs) / self.n_prompts
            )
        self.n_tried += len(sources)
        while sources:
            batch = sources[: min(self.rows, self._most_rows(d))]
            n_cut = self._cut(d, batch)
            # An edge that is kept ends its batch: the rows behind it lacked it.
            n_decided = n_cut if n_cut == len(batch) else n_cut + 1
            self.rows = 2 * len(batch) if n_cut == len(batch) else max(FIRST_ROWS // 2, 2 * n_decided)
            sources = sources[n_decided:]

    def _cut(self, d: int, batch: list[int]) -> int:
        """Cuts the edges from the first sources of a batch, as many as the threshold allows; how many."""
        inputs = [run.without(d, batch) for _, run in self.runs]

        def summed(piece: tuple[Downstream, Tensor]) -> Float[Tensor, " row"]:
            run, x = piece
            return run.values(d, x).double().sum(dim=1)

        pieces = [(run, x) for (_, run), x in zip(self.runs, inputs, strict=True)]
        totals = side_by_side(summed, pieces, self.device)
        losses = self.sign * (torch.stack(totals).sum(dim=0) / self.n_prompts).cpu().numpy()
        self.n_rows += len(batch)
        # L(H without e) - L(H) < threshold, H being the circuit after the rows before.
        costs = np.diff(losses, prepend=self.loss)
        too_dear = np.flatnonzero(~(costs < self.threshold))
        n_cut = int(too_dear[0]) if len(too_dear) else len(batch)
        # What is known of the first edge that is kept, and of all before it.
        self.cost[d, batch[: n_cut + 1]] = costs[: n_cut + 1]
        if n_cut:
            self.kept[d, batch[:n_cut]] = False
            self.loss = float(losses[n_cut - 1])
            side_by_side(lambda piece: piece[0].put(d, piece[1][n_cut - 1]), pieces, self.device)
        return n_cut

    def _most_rows(self, d: int) -> int:
        tokens = sum(run.inputs[d].shape[:2].numel() for _, run in self.runs)
        return max(FIRST_ROWS // 2, TOKENS_AT_ONCE // tokens)
