"""Hypothesis tests of what a circuit is claimed to be, as p-values.

    equivalence        the circuit outdoes the model on about half of the prompts
    independence       without the circuit, the model's metric says nothing of what it was with it
    minimality         each edge matters more than one of a random path added to the circuit
    sufficiency        the circuit is closer to the model than most random circuits of its size
    partial necessity  without the circuit the model changes more than without most random circuits

The first three are met by an ideal circuit: a small p speaks against it. Of the last two a small p speaks
for the circuit. Prompts count as independent here, as in the paper; intervals over clusters are the
evidence's.

Source: Shi et al. 2024, "Hypothesis Testing the Circuit Hypothesis in LLMs", section 3; Gretton et al. 2007
(the Hilbert-Schmidt independence criterion and its test by permutation).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binom

from engine.errors import DataError
from engine.lab.circuits.graph import Graph

EPSILON = 0.1
"""How far from one half the share of prompts may be that the circuit wins, as in the paper."""
QUANTILE = 0.9
"""The share of random circuits that a circuit has to outdo, as in the paper."""
PERMUTATIONS = 1000


def equivalence_p(
    circuit: Float[np.ndarray, " prompt"], model: Float[np.ndarray, " prompt"], epsilon: float = EPSILON
) -> float:
    """p of H0: |P(m(C) > m(M)) - 1/2| < epsilon. DataError where the two are the same on every prompt."""
    if np.array_equal(circuit, model):
        raise DataError(
            "the circuit equals its model on every prompt, so that neither outdoes the other",
            expected="a circuit that leaves out an edge which matters",
            seen=f"{len(model)} equal values",
        )
    n = len(model)
    away = abs(float((circuit > model).mean()) - 0.5)
    wins = np.arange(n + 1)
    # As unlikely as what was seen, or more, at the end of H0: one half and epsilon. Less rounding, so that
    # the count itself is among them.
    extreme = np.abs(wins / n - 0.5) >= away - 1e-12
    return float(min(1.0, binom.pmf(wins, n, 0.5 + epsilon)[extreme].sum()))


def independence_p(
    without: Float[np.ndarray, " prompt"],
    model: Float[np.ndarray, " prompt"],
    rng: np.random.Generator,
    n_permutations: int = PERMUTATIONS,
) -> float:
    """p of H0: m(M without C) is independent of m(M), by permutations of HSIC with Gaussian kernels."""
    one = _centred(_gaussian_kernel(without))
    other = _gaussian_kernel(model)
    # HSIC = tr(K H L H) / (n - 1)^2: the constant does not matter to a permutation test.
    seen = float((one * other).sum())
    at_least = 0
    for _ in range(n_permutations):
        order = rng.permutation(len(model))
        at_least += (one * other[np.ix_(order, order)]).sum() >= seen - 1e-12 * abs(seen)
    # The order that was seen is one of those that are equally likely: p is never 0.
    return (1 + at_least) / (1 + n_permutations)


def _gaussian_kernel(values: Float[np.ndarray, " prompt"]) -> Float[np.ndarray, "prompt prompt"]:
    distance = np.abs(values[:, None] - values)
    # The median of the distances is the kernel's width; 1 where all values agree.
    width = float(np.median(distance[np.triu_indices(len(values), 1)])) or float(distance.max()) or 1.0
    return np.exp(-((distance / width) ** 2) / 2)


def _centred(kernel: Float[np.ndarray, "prompt prompt"]) -> Float[np.ndarray, "prompt prompt"]:
    return kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()


def minimality_p(effect: float, reference: Float[np.ndarray, " edge"], quantile: float = QUANTILE) -> float:
    """p of H0: an edge matters more than `quantile` of the edges of random paths added to the circuit."""
    smaller = int((effect > reference).sum())
    return float(binom.cdf(smaller, len(reference), quantile))


def outdoes_p(n_outdone: int, n_random: int, quantile: float = QUANTILE) -> float:
    """p of H0: a circuit outdoes at most `quantile` of random circuits. Sufficiency and partial necessity."""
    return float(binom.sf(n_outdone - 1, n_random, quantile))


def sufficiency_p(
    circuit: Float[np.ndarray, " prompt"],
    drawn: Float[np.ndarray, "circuit prompt"],
    model: Float[np.ndarray, " prompt"],
    quantile: float = QUANTILE,
) -> float:
    """Is the circuit closer to the model, on average over prompts, than random circuits are?"""
    distances = np.abs(drawn - model).mean(axis=1)
    return outdoes_p(int((np.abs(circuit - model).mean() <= distances).sum()), len(drawn), quantile)


def partial_necessity_p(
    without: Float[np.ndarray, " prompt"],
    without_drawn: Float[np.ndarray, "circuit prompt"],
    model: Float[np.ndarray, " prompt"],
    quantile: float = QUANTILE,
) -> float:
    """Does the model change more without the circuit than without random ones?"""
    changes = np.abs(without_drawn - model).mean(axis=1)
    return outdoes_p(int((np.abs(without - model).mean() > changes).sum()), len(without_drawn), quantile)


def random_path(graph: Graph, rng: np.random.Generator) -> list[int]:
    """Edges from the embedding to the logits, each source drawn among those that a destination reads."""
    path = []
    d = graph.logits_input
    while True:
        source = int(rng.integers(graph.destinations[d].n_sources))
        path.append(graph.edge(source, d))
        if source == 0:
            return path
        inputs = [i for i, each in enumerate(graph.destinations) if source in each.nodes and i < d]
        d = int(rng.choice(inputs))


def inflated(
    circuit: Bool[np.ndarray, " edge"], graph: Graph, rng: np.random.Generator, *, tries: int = 100
) -> tuple[Bool[np.ndarray, " edge"], Bool[np.ndarray, " edge"]]:
    """The circuit with a random path added, and the same without one of the edges that are new.

    DataError where `tries` paths lie in the circuit.
    """
    for _ in range(tries):
        path = random_path(graph, rng)
        new = [edge for edge in path if not circuit[edge]]
        if new:
            larger = circuit.copy()
            larger[path] = True
            without = larger.copy()
            without[rng.choice(new)] = False
            return larger, without
    raise DataError(
        "no random path adds an edge to the circuit",
        expected="a circuit that leaves out some paths",
        seen=f"{int(circuit.sum())} of {graph.n_edges} edges",
    )
