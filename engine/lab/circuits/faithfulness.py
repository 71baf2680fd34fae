"""How much of a model's behaviour a circuit keeps, by size, and what the numbers about it are called.

With m a metric of each prompt, C the circuit, M the whole model and "empty" the model with no edge kept:

    faithfulness   (m(C) - m(empty)) / (m(M) - m(empty)), a ratio of means over prompts
    plain_ratio    m(C) / m(M), likewise of means; it calls what the empty circuit does faithful as well
    cpr            the area under faithfulness over the fraction of edges kept, ranked by signed scores
    cmd            the area of |1 - faithfulness|, ranked by absolute scores

Both areas are by the trapezoid rule over FRACTIONS of edges, which are counted before what is not connected
is pruned. A larger `cpr` is better (a circuit may outdo its model), and a smaller `cmd`.

    incompleteness   |m(C without K) - m(M without K)|, for subsets K of the circuit: large where the model
                     still has what the circuit lacks
    minimality       |m(C without K and v) - m(C without K)|, for a part v: near 0 where nothing needs it

Circuits here are edges. Where whole nodes are kept or cut, the same circuit looks more faithful, so numbers
of the two kinds do not compare (Miller et al. 2024).

Source: Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark", section 3 (faithfulness, cpr,
cmd); Wang et al. 2023, section 4 (completeness, minimality); Hanna et al. 2024, "Have Faith in Faithfulness".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from engine.errors import DataError

FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Of all edges, as MIB evaluates them."""
NO_GAP = 1e-6
"""A gap smaller than this, relative to the values that it is between, is rounding."""

Masks = Bool[np.ndarray, "circuit edge"]
Evaluate = Callable[[Masks], Float[np.ndarray, "circuit prompt"]]
"""The metric of each prompt under each circuit."""
Prune = Callable[[Masks], Masks]
"""The circuits without the edges that lie on no path from the embedding to the logits."""


@dataclass(frozen=True)
class FaithfulnessCurve:
    """A metric of each prompt under circuits of growing size, under none and under all edges.

    `fractions` were asked for, `n_edges` are left of them after pruning; `circuit` is "size prompt".
    """

    fractions: Float[np.ndarray, " size"]
    n_edges: Int[np.ndarray, " size"]
    circuit: Float[np.ndarray, "size prompt"]
    empty: Float[np.ndarray, " prompt"]
    model: Float[np.ndarray, " prompt"]

    def at(self, prompts: Bool[np.ndarray, " prompt"] | Int[np.ndarray, " picked"]) -> FaithfulnessCurve:
        """The same curve over some of the prompts."""
        return FaithfulnessCurve(
            self.fractions, self.n_edges, self.circuit[:, prompts], self.empty[prompts], self.model[prompts]
        )

    @property
    def rows(self) -> Float[np.ndarray, "prompt column"]:
        """A row for each prompt, which is what a bootstrap resamples: its sizes, then empty and model."""
        return np.column_stack([*self.circuit, self.empty, self.model])

    @property
    def faithfulness(self) -> Float[np.ndarray, " size"]:
        return faithfulness_by_size(self.rows)

    def area(self) -> Float[np.ndarray, " prompt"]:
        """Each prompt's share of `cpr`: its mean over that of `gap` is the area under the curve.

        The area is linear in the metric, so that it is a ratio of means as each of its points is.
        """
        return trapezoid_weights(self.fractions) @ (self.circuit - self.empty)

    @property
    def gap(self) -> Float[np.ndarray, " prompt"]:
        """m(M) - m(empty) of each prompt: what there is to restore."""
        return self.model - self.empty

    def cmd_of(self, rows: Float[np.ndarray, "prompt column"]) -> float:
        """`cmd` of some rows of this curve, as often as they were drawn."""
        return cmd(faithfulness_by_size(rows), self.fractions)

    def size_of(self, level: float) -> Callable[[Float[np.ndarray, "prompt column"]], float]:
        """A function of rows: how many edges reach a level of faithfulness on them."""

        def edges_needed(rows: Float[np.ndarray, "prompt column"]) -> float:
            return size_reaching(faithfulness_by_size(rows), self.n_edges, level)

        return edges_needed


def faithfulness(
    circuit: Float[np.ndarray, "size prompt"],
    empty: Float[np.ndarray, " prompt"],
    model: Float[np.ndarray, " prompt"],
) -> Float[np.ndarray, " size"]:
    """(m(C) - m(empty)) / (m(M) - m(empty)) of means over prompts; DataError where there is no gap."""
    require_gap(empty, model)
    # Of the means, and not the mean of ratios, which a prompt with a gap near 0 would rule.
    return (circuit.mean(axis=-1) - empty.mean()) / (model.mean() - empty.mean())


def plain_ratio(
    circuit: Float[np.ndarray, "size prompt"], model: Float[np.ndarray, " prompt"]
) -> Float[np.ndarray, " size"]:
    """m(C) / m(M) of means over prompts; DataError where the model's own mean is 0, as that of KL is."""
    if abs(model.mean()) <= NO_GAP * max(float(np.abs(circuit).max()), 1e-300):
        raise DataError(
            "m(C) / m(M) does not exist where m(M) is 0",
            expected="a metric other than 0 for the whole model (kl is 0 by definition)",
            seen=f"{model.mean():g}",
            hint="faithfulness, which takes the empty circuit as its 0",
        )
    return circuit.mean(axis=-1) / model.mean()


def require_gap(empty: Float[np.ndarray, " prompt"], model: Float[np.ndarray, " prompt"]) -> None:
    """DataError where the metric is the same with all edges and with none: faithfulness has no scale."""
    size = max(float(np.abs(empty).mean()), float(np.abs(model).mean()), 1e-300)
    gap = float(model.mean() - empty.mean())
    if not np.isfinite(gap) or abs(gap) <= NO_GAP * size:
        raise DataError(
            "the metric does not tell the whole model from the one with no edge, so that nothing can be "
            "faithful to it",
            expected="a mean gap m(M) - m(empty) other than 0",
            seen=f"m(M) = {model.mean():g}, m(empty) = {empty.mean():g}, over {len(model)} prompts",
            hint="another metric or ablation, or prompts whose corrupted twin has another answer",
        )


def faithfulness_by_size(rows: Float[np.ndarray, "prompt column"]) -> Float[np.ndarray, " size"]:
    """The curve of rows whose last two columns are the empty circuit and the whole model."""
    *circuit, empty, model = rows.mean(axis=0)
    gap = model - empty
    # A resample may have no gap: NaN, which the estimator of evidence refuses by name.
    return (np.array(circuit) - empty) / gap if gap else np.full(len(circuit), np.nan)


def trapezoid_weights(fractions: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
    """What each point of a curve counts in its area by the trapezoid rule."""
    # sum_i (x_{i+1} - x_i) (f_i + f_{i+1}) / 2: a point has half of the interval on either side.
    widths = np.diff(fractions)
    return (np.append(widths, 0.0) + np.append(0.0, widths)) / 2


def cpr(curve: Float[np.ndarray, " size"], fractions: Sequence[float] | np.ndarray = FRACTIONS) -> float:
    """Circuit performance ratio: the area under a curve of faithfulness."""
    return float(trapezoid_weights(np.asarray(fractions, dtype=float)) @ curve)


def cmd(curve: Float[np.ndarray, " size"], fractions: Sequence[float] | np.ndarray = FRACTIONS) -> float:
    """Circuit-model distance: the area between a curve of faithfulness and 1."""
    return cpr(np.abs(1 - np.asarray(curve)), fractions)


def size_reaching(
    curve: Float[np.ndarray, " size"], n_edges: Int[np.ndarray, " size"], level: float
) -> float:
    """How many edges first reach a level of faithfulness, between two sizes by their logarithms.

    The smallest size where it reaches the level already: fewer edges were not tried.
    """
    reached = np.flatnonzero(np.asarray(curve) >= level)
    if not len(reached):
        # With all edges f is 1 but for rounding; a level above 1 may be reached nowhere.
        return float(n_edges[-1])
    first = int(reached[0])
    if first == 0:
        return float(n_edges[0])
    below, above = curve[first - 1], curve[first]
    # Sizes double from point to point, so that a straight line is one over log n; an empty circuit counts
    # as one edge there.
    share = (level - below) / (above - below)
    ends = np.log(np.maximum(n_edges[first - 1 : first + 1], 1))
    return float(np.exp(ends[0] + share * (ends[1] - ends[0])))


def top_edges(scores: Float[np.ndarray, " edge"], n: int, *, absolute: bool) -> Bool[np.ndarray, " edge"]:
    """The n edges with the largest scores, or the largest in size; ties go to the earlier edge."""
    if not np.isfinite(scores).all():
        raise DataError(
            "edges cannot be ranked by scores that are no numbers",
            expected="a finite score for each edge",
            seen=f"{int((~np.isfinite(scores)).sum())} of {len(scores)} are not finite",
        )
    ranked = np.argsort(-(np.abs(scores) if absolute else scores), kind="stable")
    kept = np.zeros(len(scores), dtype=bool)
    kept[ranked[:n]] = True
    return kept


def circuits_by_size(
    scores: Float[np.ndarray, " edge"],
    prune: Prune,
    *,
    absolute: bool,
    fractions: Sequence[float] = FRACTIONS,
) -> Masks:
    """A circuit for each fraction of the edges, the highest by score, pruned."""
    # As MIB counts: int(fraction * edges), before pruning.
    tops = [top_edges(scores, int(fraction * len(scores)), absolute=absolute) for fraction in fractions]
    return prune(np.stack(tops))


def faithfulness_curve(
    circuits: Masks,
    evaluate: Evaluate,
    empty: Float[np.ndarray, " prompt"],
    model: Float[np.ndarray, " prompt"],
    fractions: Sequence[float] = FRACTIONS,
) -> FaithfulnessCurve:
    """The metric under circuits of growing size; DataError where model and empty circuit do not differ."""
    require_gap(empty, model)
    return FaithfulnessCurve(
        np.asarray(fractions, dtype=float), circuits.sum(axis=1), evaluate(circuits), empty, model
    )


def random_circuits(
    n_edges: int, size: int, n_circuits: int, prune: Prune, rng: np.random.Generator
) -> Masks:
    """Circuits of `size` connected edges each, drawn in random order until that many are connected.

    The control of a circuit of that size. Random edges that lie on no path do nothing: counting them would
    compare a circuit with smaller ones. Fewer than `size` where more would connect too many at once.
    """
    return np.stack([_random_circuit(n_edges, size, prune, rng) for _ in range(n_circuits)])


def _random_circuit(n_edges: int, size: int, prune: Prune, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(n_edges)

    def first(n: int) -> np.ndarray:
        kept = np.zeros((1, n_edges), dtype=bool)
        kept[0, order[:n]] = True
        return prune(kept)[0]

    # How many are connected grows with how many are drawn: bisection for the last that is not over `size`.
    low = 0
    high = n_edges
    while low < high:
        middle = (low + high + 1) // 2
        if first(middle).sum() <= size:
            low = middle
        else:
            high = middle - 1
    return first(low)


def incompleteness(
    circuit_without: Float[np.ndarray, "subset prompt"],
    model_without: Float[np.ndarray, "subset prompt"],
    gap: float,
) -> Float[np.ndarray, " subset"]:
    """|m(C without K) - m(M without K)| / (m(M) - m(empty)) for subsets K of a circuit (Wang et al. 2023).

    0 for every K is a circuit that lacks nothing.
    """
    return np.abs(circuit_without.mean(axis=1) - model_without.mean(axis=1)) / abs(gap)


def minimality(
    without_both: Float[np.ndarray, "part prompt"],
    without_subset: Float[np.ndarray, "part prompt"],
    gap: float,
) -> Float[np.ndarray, " part"]:
    """|m(C without K and v) - m(C without K)| / (m(M) - m(empty)) for parts v (Wang et al. 2023).

    A part is needed where some K makes this large.
    """
    return np.abs(without_both.mean(axis=1) - without_subset.mean(axis=1)) / abs(gap)


def jaccard(one: Bool[np.ndarray, " edge"], other: Bool[np.ndarray, " edge"]) -> float:
    """The edges that two circuits share, of those that either has; 1 for two empty ones."""
    either = int((one | other).sum())
    return float((one & other).sum() / either) if either else 1.0
