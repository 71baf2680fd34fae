"""A sparse coder: activations as a few directions out of many, and back.

    codes = f((x * scale - b_dec) W_enc + b_enc)         x' = (codes W_dec + b_dec) / scale

`f` is what its architecture makes of pre-activations (engine/lab/sparse/architectures): the k largest of a
row, or what lies above a threshold. Codes are in the units of the scaled activations; `folded` has scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.architectures.by_name import ARCHITECTURES, TRAINABLE, ArchitectureName
from engine.lab.sparse.codes import Codes


@dataclass(frozen=True)
class Coder:
    """Weights and what makes codes of them. `threshold` is a number, or "latent" for jumprelu.

    Raises DataError where k and the numbers of latents do not go together, or shapes do not.
    """

    W_enc: Float[Tensor, "d latent"]
    b_enc: Float[Tensor, " latent"]
    W_dec: Float[Tensor, "latent d"]
    b_dec: Float[Tensor, " d"]
    architecture: ArchitectureName
    k: int = 0
    threshold: float | Tensor | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        # Architectures that are read only, by thresholds, have no k: 1 passes.
        check_width(self.W_dec.shape[0], self.k if self.architecture in TRAINABLE else 1)
        latents, d = self.W_dec.shape
        wanted = [(d, latents), (latents,), (d,)]
        seen = [tuple(t.shape) for t in (self.W_enc, self.b_enc, self.b_dec)]
        if seen != wanted or self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise DataError(
                "these weights are no sparse coder",
                expected=f"W_enc, b_enc, b_dec of shapes {wanted}; architecture one of {known}",
                seen=f"{seen}; {self.architecture}",
            )

    @property
    def d(self) -> int:
        return self.W_dec.shape[1]

    @property
    def n_features(self) -> int:
        return self.W_dec.shape[0]

    def pre_activations(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row latent"]:
        """What the codes are chosen from."""
        # One fused product and sum: the dense encoder is the most expensive part of inference.
        return torch.addmm(self.b_enc, x * self.scale - self.b_dec, self.W_enc)

    def codes(self, x: Float[Tensor, "row d"]) -> Codes:
        """The active latents of each row, as at inference."""
        return ARCHITECTURES[self.architecture].infer(self.pre_activations(x), self.k, self.threshold)

    def encode(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row latent"]:
        """Codes with their zeros."""
        return self.codes(x).dense()

    def decode(self, codes: Float[Tensor, "row latent"]) -> Float[Tensor, "row d"]:
        """Activations of dense codes, in the model's own scale."""
        return torch.addmm(self.b_dec, codes, self.W_dec) / self.scale

    def decode_sparse(self, codes: Codes) -> Float[Tensor, "row d"]:
        """The same from active latents only."""
        return (codes.times(self.W_dec) + self.b_dec) / self.scale

    def reconstruct(self, x: Float[Tensor, "*place d"]) -> Float[Tensor, "*place d"]:
        """Encoded and decoded, for splicing into a model."""
        # Contexts and positions are all rows alike; back to the model's dtype so that a splice changes no
        # dtype.
        rows = x.reshape(-1, self.d).to(self.W_dec.dtype)
        return self.decode_sparse(self.codes(rows)).reshape(x.shape).to(x.dtype)

    def folded(self) -> Coder:
        """The same coder with scale 1: decoder rows as they are, codes in the model's own units.

        Pre-activations are linear in x, so that a scale s on the input divides biases and threshold by s.
        """
        # (s x - b_dec) W + b_enc = s ((x - b_dec / s) W + b_enc / s): codes come out divided by s, which is
        # what decoding divides by, so that decoder rows stay.
        threshold = None if self.threshold is None else self.threshold / self.scale
        biases = {"b_enc": self.b_enc / self.scale, "b_dec": self.b_dec / self.scale}
        return replace(self, **biases, threshold=threshold, scale=1.0)


def check_width(n_features: int, k: int) -> None:
    """DataError unless 1 <= k <= n_features."""
    if n_features < 1:
        raise DataError("a dictionary has latents", expected="n_features of 1 or more", seen=str(n_features))
    if not 1 <= k <= n_features:
        raise DataError(
            "a dictionary cannot keep more latents active than it has, nor none",
            expected=f"k from 1 to n_features = {n_features}",
            seen=f"k = {k}",
        )


def random_coder(d: int, n_features: int, k: int, *, seed: int, mean: Tensor | None = None) -> Coder:
    """Top-K over random unit directions, the encoder being the decoder's transpose: what chance codes."""
    check_width(n_features, k)
    W_dec = unit_rows(torch.randn(n_features, d, generator=torch.Generator().manual_seed(seed)))
    b_dec = torch.zeros(d) if mean is None else mean.clone()
    return Coder(W_dec.T.contiguous(), torch.zeros(n_features), W_dec, b_dec, "topk", k)


def unit_rows(rows: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
    """Each row divided by its norm."""
    # A row of zeros stays zero instead of becoming NaN.
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
