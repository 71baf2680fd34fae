"""A coder as the arrays of the run that trained it, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float

from engine.errors import DataError
from engine.lab.sparse.coder import Coder

ARRAYS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "scale", "k")
"""What a run holds of a coder, besides `firing_rate` and whether it is a BatchTopK."""


def arrays_of(coder: Coder, firing_rate: Float[np.ndarray, " latent"]) -> dict[str, np.ndarray]:
    """What a run holds of a coder: folded weights in fp32; threshold 0 where Top-K needs none."""
    coder = coder.folded()
    arrays = {name: getattr(coder, name).float().numpy() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    # Arrays of a run are always the same ones, so that readers need not know the architecture first.
    threshold = 0.0 if coder.threshold is None else float(coder.threshold)
    return arrays | {
        "firing_rate": firing_rate.astype(np.float32),
        "threshold": np.array([threshold], dtype=np.float32),
        "scale": np.array([coder.scale], dtype=np.float32),
        "k": np.array([coder.k], dtype=np.int64),
        "batchtopk": np.array([coder.architecture == "batchtopk"]),
    }


def coder_of(arrays: Mapping[str, np.ndarray], who: str) -> Coder:
    """The coder that a run holds; DataError where the run is no trained SAE."""
    require_arrays(arrays, ARRAYS, who)
    batchtopk = "batchtopk" in arrays and bool(arrays["batchtopk"][0])
    return Coder(
        W_enc=_tensor(arrays["W_enc"]),
        b_enc=_tensor(arrays["b_enc"]),
        W_dec=_tensor(arrays["W_dec"]),
        b_dec=_tensor(arrays["b_dec"]),
        architecture="batchtopk" if batchtopk else "topk",
        k=int(arrays["k"][0]),
        threshold=float(arrays["threshold"][0]) if batchtopk else None,
        scale=float(arrays["scale"][0]),
    )


def require_arrays(arrays: Mapping[str, np.ndarray], names: Sequence[str], who: str) -> None:
    """DataError where a run has not all of these arrays, so that `who` is no trained SAE."""
    missing = [name for name in names if name not in arrays]
    if missing:
        seen = f"no {', '.join(missing)}"
        raise DataError(f"{who} is no trained SAE", expected=f"arrays {', '.join(names)}", seen=seen)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))  # a copy: a run's arrays may be mapped from its file
