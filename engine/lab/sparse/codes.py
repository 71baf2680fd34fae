"""Which latents are active on which rows, and how strongly: codes without their zeros.

A row of a dictionary's codes has some 32 entries out of thousands. Everything that works on them (decoding,
gradients, counts of firing) costs rows * k * d here instead of rows * latents * d.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import DataError


@dataclass(frozen=True)
class Codes:
    """Active latents row by row: row r holds entries starts[r] to starts[r + 1]; latents ascend."""

    starts: Int[Tensor, " edge"]  # one more than there are rows
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls its sparse layout beta
            # Codes are a CSR matrix as they stand. A sampled product computes left @ right.T at its entries
            # only; beta = 0 drops what the pattern itself holds.
            zeros = torch.zeros_like(self.values)
            pattern = torch.sparse_csr_tensor(self.starts, self.latents, zeros, size, check_invariants=False)
            return torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0).values()

    def by_latent(self) -> tuple[Int[Tensor, " entry"], Int[Tensor, " edge"]]:
        """The entries in the order of their latents, and where each latent's entries start in that order."""
        starts = self.starts.new_zeros(self.n_latents + 1)
        torch.cumsum(self.fired(), 0, out=starts[1:])
        # Stable, so that within a latent rows stay ascending and sums are taken in one order everywhere.
        if self.latents.device.type != "cpu" or self.n_latents > 2**16:
            return torch.argsort(self.latents, stable=True), starts
        short = self.latents.numpy().astype(np.uint16)  # numpy sorts 16 bits by radix, in linear time
        return torch.from_numpy(np.argsort(short, kind="stable")), starts


def weighted_sums(
    index: Int[Tensor, " entry"],
    starts: Int[Tensor, " edge"],
    weights: Float[Tensor, " entry"],
    table: Float[Tensor, "row d"],
) -> Float[Tensor, "bag d"]:
    """For each bag of entries, the sum of table[index] times weight."""
    # A bag is a row, its entries the active latents: torch's kernel gathers and sums without a row of
    # products in between.
    return torch.nn.functional.embedding_bag(
        index, table, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def codes_at(flat: Int[Tensor, " entry"], pre: Float[Tensor, "row latent"]) -> Codes:
    """The codes whose active entries are the positive ones of `pre` among flat positions, ascending."""
    values = pre.flatten()[flat]
    positive = values > 0
    if not bool(positive.all()):  # a copy saved in nearly every batch
        flat = flat[positive]
        values = values[positive]
    n_rows, n_latents = pre.shape
    # Flat positions ascend, so that row r starts where r * n_latents would be put.
    edges = torch.arange(n_rows + 1, device=pre.device) * n_latents
    return Codes(torch.searchsorted(flat, edges), flat % n_latents, values, n_latents)


def joined(codes: Iterable[Codes]) -> Codes:
    """The codes of consecutive batches as one. Raises DataError where there are none."""
    held = list(codes)
    if not held:
        raise DataError("there are no codes", expected="at least one batch", seen="none")
    # Each batch's starts count from 0: only the differences can be joined.
    counts = torch.cat([c.starts.diff() for c in held])
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    latents = torch.cat([c.latents for c in held])
    values = torch.cat([c.values for c in held])
    return Codes(starts, latents, values, held[0].n_latents)
