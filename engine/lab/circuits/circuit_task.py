"""What a circuit is judged on: prompts, a metric, what cut edges read instead, and what is cut.

    direction   noising: edges outside of the circuit carry the reference run into the clean one;
                denoising: edges of the circuit carry the clean run into the corrupted one
    evaluated   circuit: what the circuit keeps (or restores) by itself;
                complement: what is lost where the circuit alone is cut (or stays corrupted)
    positions   all: an edge is cut at every position; last: at the prompt's last position alone

Whatever the choice, the empty circuit's value is the 0 of faithfulness and that of the whole graph its 1.

Source: Wang et al. 2023 (knocking out the complement), Heimersheim & Nanda 2024 (denoising and noising); that
faithfulness hangs on these choices: Miller, Chughtai & Saunders 2024, "Transformer Circuit Faithfulness
Metrics Are Not Robust".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from engine.data.pairs import PromptPairs
from engine.errors import DataError
from engine.lab.ablation import roles_of
from engine.lab.circuits.circuit_forward import (
    ReferenceRun,
    SourceOutputs,
    circuit_values,
    mean_reference,
    source_outputs,
)
from engine.lab.circuits.faithfulness import require_gap
from engine.lab.circuits.graph import Graph
from engine.lab.patch_metrics import PatchMetric, patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.spec.family_params import (
    CircuitAblationName,
    CircuitDirectionName,
    CircuitPositionsName,
    CircuitSideName,
    MetricName,
)

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@dataclass(frozen=True)
class LastPositionRun(ReferenceRun):
    """A reference at the prompt's last position; before it every source writes what it does in its own run.

    Nothing before the last position reads the last one, so that all edges there carry the run as it is.
    """

    def rows(self, index: Sequence[int] | np.ndarray | torch.Tensor) -> LastPositionRun:
        """The reference for the prompts at `index`."""
        some = super().rows(index)
        return LastPositionRun(some.name, some.means, some.role)

    def outputs(self, model: HookedModel, graph: Graph, pairs: PatchPairs) -> SourceOutputs:
        """What the sources write in place of pairs of one length."""
        replaced = super().outputs(model, graph, pairs)
        own = source_outputs(model, graph, pairs.source_resid(model)[:, : replaced.shape[2]])
        return torch.cat((own[:, :, :-1], replaced[:, :, -1:]), dim=2)


@dataclass(frozen=True)
class CircuitTask:
    """Pairs (base: corrupted, source: clean) with a metric, and how circuits are run on them."""

    model: HookedModel
    graph: Graph
    pairs: PatchPairs
    metric: PatchMetric
    reference: ReferenceRun
    direction: CircuitDirectionName = "noising"
    evaluated: CircuitSideName = "circuit"

    @classmethod
    def of(
        cls,
        model: HookedModel,
        graph: Graph,
        prompts: PromptPairs,
        *,
        metric: MetricName = "logit_diff",
        ablation: CircuitAblationName = "corrupted",
        direction: CircuitDirectionName = "noising",
        evaluated: CircuitSideName = "circuit",
        positions: CircuitPositionsName = "all",
        seed: int = 0,
    ) -> CircuitTask:
        """The task of some prompts; `seed` draws the sample of them that a mean reference is taken over."""
        if direction == "denoising" and ablation != "corrupted":
            raise DataError(
                "denoising puts the clean run into the corrupted one: there is none with another ablation",
                expected="ablation: corrupted, or direction: noising",
                seen=f"ablation: {ablation}",
            )
        pairs = PatchPairs(
            prompts.corrupted, prompts.clean, prompts.last, prompts.answer, prompts.wrong_answer
        )
        reference = ReferenceRun(ablation)
        if ablation == "mean":
            reference = _mean_of_a_sample(model, graph, prompts, pairs, seed)
        if positions == "last":
            reference = LastPositionRun(reference.name, reference.means, reference.role)
        measured = patch_metric(model, pairs, metric)
        return cls(model, graph, pairs, measured, reference, direction, evaluated)

    def __len__(self) -> int:
        return len(self.pairs)

    def rows(self, index: Int[np.ndarray, " picked"]) -> CircuitTask:
        """The task over the prompts at `index`, as often as they stand there."""
        return replace(
            self,
            pairs=self.pairs.rows(index),
            metric=self.metric.rows(index),
            reference=self.reference.rows(index),
        )

    def ends(self) -> tuple[Float[np.ndarray, " prompt"], Float[np.ndarray, " prompt"]]:
        """The metric of the empty circuit and of the whole graph; DataError where they do not differ."""
        both = np.zeros((2, self.graph.n_edges), dtype=bool)
        both[1] = True
        empty, whole = self._metric_of(both)
        require_gap(empty, whole)
        return empty, whole

    def values(
        self,
        circuits: Bool[np.ndarray, "circuit edge"],
        ends: tuple[Float[np.ndarray, " prompt"], Float[np.ndarray, " prompt"]],
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> Float[np.ndarray, "circuit prompt"]:
        """What faithfulness is taken of, for each circuit; `ends` are those of these prompts."""
        empty, whole = ends
        cut = self.evaluated == "complement"
        # Equal circuits, the empty one and the whole graph among them, are run once.
        every = np.zeros((len(circuits), self.graph.n_edges), dtype=bool) | (circuits ^ cut)
        distinct, place = np.unique(every, axis=0, return_inverse=True)
        n_kept = distinct.sum(axis=1)
        out = np.empty((len(distinct), len(self)))
        out[n_kept == 0] = empty
        out[n_kept == self.graph.n_edges] = whole
        new = (n_kept > 0) & (n_kept < self.graph.n_edges)
        if new.any():
            out[new] = self._metric_of(distinct[new], progress)
        found = out[place.ravel()]
        # What is lost without the circuit, on the scale of what it keeps: 1 - f(M without C).
        return empty + whole - found if cut else found

    def _metric_of(
        self,
        kept: Bool[np.ndarray, "circuit edge"],
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> Float[np.ndarray, "circuit prompt"]:
        """The metric where the edges of each circuit carry the clean run."""
        pairs = self.pairs
        if self.direction == "denoising":
            # The run begins from the corrupted prompt: edges outside carry it, the circuit's the clean one.
            pairs = pairs.reversed()
            kept = ~kept
        return circuit_values(
            self.model, self.graph, pairs, kept, self.metric, reference=self.reference, progress=progress
        )


def _mean_of_a_sample(
    model: HookedModel, graph: Graph, prompts: PromptPairs, pairs: PatchPairs, seed: int
) -> ReferenceRun:
    """The mean over half of the prompts, drawn by `seed`, and more of them until each role is among them."""
    role = roles_of(prompts).to(pairs.base.device)
    order = np.random.default_rng(seed).permutation(len(pairs))
    within = torch.arange(role.shape[1], device=role.device)[None] <= pairs.last[:, None]
    needed = set(role[within].tolist())
    size = max(1, len(order) // 2)
    while size < len(order) and needed - set(role[order[:size]][within[order[:size]]].tolist()):
        size += 1
    sample = order[:size]
    # Pads have roles too; whatever stands there is never read.
    return mean_reference(
        model, graph, pairs.rows(sample), role[sample], torch.where(within, role, role[:, :1])
    )
