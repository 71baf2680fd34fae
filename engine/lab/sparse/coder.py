"""A sparse coder: activations as a few directions out of many, and back.

    codes = f((x * scale - b_dec) W_enc + b_enc)         x' = (codes W_dec + b_dec) / scale

`f` by kind: "topk" keeps the k largest of each row, positive ones only (Gao et al. 2024, arXiv 2406.04093);
"batchtopk" is trained on the k largest a row on average over a batch and infers with one threshold (Bussmann
et al. 2024, arXiv 2412.06410); "jumprelu" has a threshold for each latent (Rajamanoharan et al. 2024, arXiv
2407.14435); "relu" has none. Codes are in the units of the scaled activations; `folded` has scale 1.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.select import largest

Kind = Literal["topk", "batchtopk", "jumprelu", "relu"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Codes:
    """Active latents row by row: row r holds entries starts[r] to starts[r + 1]; latents ascend."""

    starts: Int[Tensor, " row+1"]
    latents: Int[Tensor, " entry"]
    values: Float[Tensor, " entry"]
    n_latents: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def rows(self) -> Int[Tensor, " entry"]:
        """The row of each entry."""
        counts = self.starts.diff()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)

    def dense(self) -> Float[Tensor, "row latent"]:
        codes = self.values.new_zeros(len(self), self.n_latents)
        codes[self.rows, self.latents] = self.values
        return codes

    def fired(self) -> Int[Tensor, " latent"]:
        """On how many rows each latent is active."""
        return torch.bincount(self.latents, minlength=self.n_latents)

    def times(self, matrix: Float[Tensor, "latent d"]) -> Float[Tensor, "row d"]:
        """The product of the codes with a matrix, active latents only."""
        return weighted_sums(self.latents, self.starts, self.values, matrix)

    @torch.no_grad()
    def dots(self, left: Float[Tensor, "row d"], right: Float[Tensor, "latent d"]) -> Float[Tensor, " entry"]:
        """left[row] . right[latent] for each entry, and for no other pair."""
        size = (len(self), self.n_latents)
        with warnings.catch_warnings():  # torch calls its sparse layout beta
            warnings.simplefilter("ignore")
            zeros = torch.zeros_like(self.values)
            pattern = torch.sparse_csr_tensor(self.starts, self.latents, zeros, size, check_invariants=False)
            return torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0).values()

    def by_latent(self) -> tuple[Int[Tensor, " entry"], Int[Tensor, " latent+1"]]:
        """The entries in the order of their latents, and where each latent's entries start in that order."""
        starts = self.starts.new_zeros(self.n_latents + 1)
        torch.cumsum(self.fired(), 0, out=starts[1:])
        if self.latents.device.type != "cpu" or self.n_latents > 2**16:
            return torch.argsort(self.latents, stable=True), starts
        short = self.latents.numpy().astype(np.uint16)  # numpy sorts 16 bits by radix
        return torch.from_numpy(np.argsort(short, kind="stable")), starts


def weighted_sums(
    index: Int[Tensor, " entry"],
    starts: Int[Tensor, " bag+1"],
    weights: Float[Tensor, " entry"],
    table: Float[Tensor, "row d"],
) -> Float[Tensor, "bag d"]:
    """For each bag of entries, the sum of table[index] times weight."""
    return torch.nn.functional.embedding_bag(
        index, table, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def codes_at(flat: Int[Tensor, " entry"], pre: Float[Tensor, "row latent"]) -> Codes:
    """The codes whose active entries are the positive ones of `pre` among flat positions, ascending."""
    values = pre.flatten()[flat]
    positive = values > 0
    if not bool(positive.all()):
        flat, values = flat[positive], values[positive]
    n_rows, n_latents = pre.shape
    edges = torch.arange(n_rows + 1, device=pre.device) * n_latents
    return Codes(torch.searchsorted(flat, edges), flat % n_latents, values, n_latents)


def batch_largest(pre: Float[Tensor, "row latent"], k: int) -> Int[Tensor, " entry"]:
    """Flat positions, ascending, of the k times rows largest entries of the whole batch."""
    return largest(pre.reshape(1, -1), k * len(pre))


@dataclass(frozen=True)
class Coder:
    """Weights and what makes codes of them. `threshold` is a number, or "latent" for jumprelu.

    Raises DataError where k and the numbers of latents do not go together, or shapes do not.
    """

    W_enc: Float[Tensor, "d latent"]
    b_enc: Float[Tensor, " latent"]
    W_dec: Float[Tensor, "latent d"]
    b_dec: Float[Tensor, " d"]
    kind: Kind
    k: int = 0
    threshold: float | Tensor | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_width(self.W_dec.shape[0], self.k if self.kind in ("topk", "batchtopk") else 1)
        latents, d = self.W_dec.shape
        seen = [tuple(t.shape) for t in (self.W_enc, self.b_enc, self.b_dec)]
        if seen != (wanted := [(d, latents), (latents,), (d,)]) or self.kind not in KINDS:
            raise DataError(
                "these weights are no sparse coder",
                expected=f"W_enc, b_enc, b_dec of shapes {wanted}; kind one of {', '.join(KINDS)}",
                seen=f"{seen}; {self.kind}",
            )

    @property
    def d(self) -> int:
        return self.W_dec.shape[1]

    @property
    def n_features(self) -> int:
        return self.W_dec.shape[0]

    def pre_activations(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row latent"]:
        """What the codes are chosen from."""
        return torch.addmm(self.b_enc, x * self.scale - self.b_dec, self.W_enc)

    def codes(self, x: Float[Tensor, "row d"]) -> Codes:
        """The active latents of each row."""
        pre = self.pre_activations(x)
        if self.kind == "topk":
            return codes_at(largest(pre, self.k), pre)
        bound = 0.0 if self.threshold is None else self.threshold
        return codes_at((pre > bound).flatten().nonzero().flatten(), pre)

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
        rows = x.reshape(-1, self.d).to(self.W_dec.dtype)
        return self.decode_sparse(self.codes(rows)).reshape(x.shape).to(x.dtype)

    def folded(self) -> Coder:
        """The same coder with scale 1: decoder rows as they are, codes in the model's own units."""
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
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
