"""Activations that no coder was trained on, context by context, and what a coder's arrays hold in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.activations import Activations
from engine.lab.sparse.coder import Coder, Codes
from engine.lab.sparse.metrics import joined

ARRAYS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "scale", "k")


@dataclass(frozen=True)
class HeldOut:
    """Rows of activations with their token and context; `rows` fetches some of them by position.

    `context` numbers the contexts from 0; `names` are their labels, the units of sampling. `inputs` gives
    what the model reads of some contexts; its positions before `first_position` (a BOS) have no row.
    """

    rows: Callable[[Int[Tensor, " row"]], Float[Tensor, "row d"]]
    inputs: Callable[[Int[np.ndarray, " context"]], Int[Tensor, "context pos"]]
    first_position: int
    ids: Int[np.ndarray, " row"]
    context: Int[np.ndarray, " row"]
    names: list[str]

    @classmethod
    def of(cls, acts: Activations, site: str) -> HeldOut:
        """One site of harvested activations; a context's name is where it begins in the corpus."""
        return cls(
            rows=lambda index: acts.rows(site, index),
            inputs=lambda contexts: acts.inputs(contexts)[0],
            first_position=acts.contexts.first_position,
            ids=acts.ids,
            context=acts.context.astype(np.int64),
            names=[f"token {start}" for start in acts.contexts.starts[acts.chosen].tolist()],
        )

    def batches(self, size: int = 4096) -> Iterator[tuple[Float[Tensor, "row d"], Int[Tensor, " row"]]]:
        """All rows in order, with the context of each."""
        context = torch.from_numpy(self.context)
        for start in range(0, len(self.ids), size):
            index = torch.arange(start, min(start + size, len(self.ids)))
            yield self.rows(index), context[index]

    def codes(self, coder: Coder) -> Codes:
        """The active latents of every row."""
        return joined(coder.codes(x) for x, _ in self.batches())

    def texts(self, limit: int) -> tuple[Int[Tensor, "context pos"], list[str]]:
        """What the model reads of the first contexts of full length, and their names.

        Raises DataError where the longest context has no next token.
        """
        lengths = np.bincount(self.context, minlength=len(self.names))
        if lengths.max() < 2:
            raise DataError("no held-out context has a next token", expected="2 tokens or more", seen="1")
        full = np.flatnonzero(lengths == lengths.max())[:limit]
        return self.inputs(full), [self.names[i] for i in full]


def arrays_of(coder: Coder, firing_rate: Float[np.ndarray, " latent"]) -> dict[str, np.ndarray]:
    """What a run holds of a coder: folded weights in fp32; threshold 0 where Top-K needs none."""
    coder = coder.folded()
    arrays = {name: getattr(coder, name).float().numpy() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    threshold = 0.0 if coder.threshold is None else float(coder.threshold)
    return arrays | {
        "firing_rate": firing_rate.astype(np.float32),
        "threshold": np.array([threshold], dtype=np.float32),
        "scale": np.array([coder.scale], dtype=np.float32),
        "k": np.array([coder.k], dtype=np.int64),
        "batchtopk": np.array([coder.kind == "batchtopk"]),
    }


def coder_of(arrays: Mapping[str, np.ndarray], who: str) -> Coder:
    """The coder that a run holds; DataError where the run is no trained SAE."""
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise DataError(f"{who} is no trained SAE", expected=", ".join(ARRAYS), seen=f"no {missing[0]}")
    W_enc, b_enc, W_dec, b_dec = (torch.from_numpy(np.array(arrays[name])) for name in ARRAYS[:4])
    batch = bool(np.asarray(arrays.get("batchtopk", [False]))[0])
    threshold = float(arrays["threshold"][0]) if batch else None
    kind, k, scale = ("batchtopk" if batch else "topk"), int(arrays["k"][0]), float(arrays["scale"][0])
    return Coder(W_enc, b_enc, W_dec, b_dec, kind, k, threshold, scale)
