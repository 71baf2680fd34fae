"""What a latent fires on: its strongest contexts with the tokens around the peak, as a table to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from engine.evidence.marked import marked
from engine.lab.sparse.codes import Codes

Decode = Callable[[Sequence[int]], list[str]]
"""Token ids -> each token's own text."""


def top_contexts(
    codes: Codes,
    ids: Int[np.ndarray, " row"],
    context: Int[np.ndarray, " row"],
    decode: Decode,
    *,
    latents: Sequence[int],
    top: int = 5,
    around: int = 10,
) -> pd.DataFrame:
    """The `top` contexts of each latent by its largest activation there, strongest first.

    Columns: latent, place (from 1), activation, token, text (every token that the latent fires on is marked,
    see engine/evidence/marked.py), context (its index). Latents that never fire have no row.
    """
    entries = _LatentEntries(codes, context)
    rows = []
    for latent in latents:
        for place, (row, activation) in enumerate(entries.peaks(latent, top), 1):
            first, last = entries.window(row, around)
            tokens = decode(ids[first:last].tolist())
            strengths = entries.activations(latent, first, last)
            rows.append(
                {
                    "latent": int(latent),
                    "place": place,
                    "activation": activation,
                    "token": tokens[row - first],
                    "text": marked(tokens, strengths),
                    "context": int(context[row]),
                }
            )
    columns = ["latent", "place", "activation", "token", "text", "context"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def evenly_by_rate(codes: Codes, n: int) -> list[int]:
    """At most n live latents, evenly spaced from the one that fires most to the one that fires least."""
    fired = codes.fired().numpy()
    live = np.flatnonzero(fired)
    # Stable, so that latents of one rate keep the order of their numbers on every machine.
    by_rate = live[np.argsort(-fired[live], kind="stable")]
    # Fewer live latents than places give the same place twice: each is listed once.
    return by_rate[np.unique(np.linspace(0, len(live) - 1, n).astype(int))].tolist() if len(live) else []


class _LatentEntries:
    """Codes by latent, so that each latent's rows are at hand."""

    def __init__(self, codes: Codes, context: np.ndarray) -> None:
        # Sorted once for all latents: a mask over all entries for each would be quadratic.
        order, starts = codes.by_latent()
        self.rows = codes.rows[order].numpy()
        self.values = codes.values[order].numpy()
        self.starts = starts.numpy()
        self.context = context

    def of(self, latent: int) -> slice:
        return slice(self.starts[latent], self.starts[latent + 1])

    def peaks(self, latent: int, top: int) -> list[tuple[int, float]]:
        """Row and activation of the strongest token of each context, strongest first."""
        rows = self.rows[self.of(latent)]
        values = self.values[self.of(latent)]
        strongest = np.argsort(-values, kind="stable")
        # `unique` gives each context's first place among the strongest, which is its peak.
        _, first = np.unique(self.context[rows[strongest]], return_index=True)
        return [(int(rows[i]), float(values[i])) for i in strongest[np.sort(first)[:top]]]

    def window(self, row: int, around: int) -> tuple[int, int]:
        """The rows around one, first and past the last, all of its context."""
        low = max(0, row - around)
        high = min(len(self.context), row + around + 1)
        # A context's rows are consecutive, so that the first and the last of the same one bound the window.
        same = np.flatnonzero(self.context[low:high] == self.context[row])
        return low + int(same[0]), low + int(same[-1]) + 1

    def activations(self, latent: int, first: int, last: int) -> np.ndarray:
        """The latent's activation on each row of a window."""
        rows = self.rows[self.of(latent)]
        values = self.values[self.of(latent)]
        # Rows of one latent ascend (`by_latent` is stable): two searches find those of the window.
        here = slice(*np.searchsorted(rows, [first, last]))
        strengths = np.zeros(last - first)
        strengths[rows[here] - first] = values[here]
        return strengths
