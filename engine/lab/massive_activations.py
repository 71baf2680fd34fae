"""Massive activations: a few tokens whose activation is far longer than all others', to be left out.

They stand mostly at the first position of a text, point the same way everywhere and serve attention as a
place to go (Sun et al. 2024, "Massive Activations in Large Language Models", arXiv 2402.17762). Four in
20,000 tokens may hold five sixths of the variance: what a dictionary explains is then said of these four, and
the scale of its input is theirs. The rule is relative to the median norm of the training tokens, which they
cannot move.
"""

from __future__ import annotations

from math import inf

import numpy as np
import torch
from jaxtyping import Float, Int

from engine.lab.activations import Activations

ROWS_AT_ONCE = 16_384


def norms(acts: Activations, site: str) -> Float[np.ndarray, " row"]:
    """How long each row at a site is."""
    blocks = torch.arange(acts.n_tokens).split(ROWS_AT_ONCE)
    # In double precision: squares of massive activations reach 1e9.
    return np.concatenate([acts.rows(site, rows).double().norm(dim=1).numpy() for rows in blocks])


def norm_limit(training: Activations, site: str, max_norm: float | None) -> float:
    """The largest norm that counts at a site, `max_norm` times the median; infinite where it is None."""
    return inf if max_norm is None else max_norm * float(np.median(norms(training, site)))


def massive_rows(acts: Activations, site: str, limit: float) -> Int[np.ndarray, " row"]:
    """The rows at a site that are longer than a limit."""
    # Without a limit nothing has to be read.
    return np.empty(0, dtype=np.int64) if limit == inf else np.flatnonzero(norms(acts, site) > limit)
