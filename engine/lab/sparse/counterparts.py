"""Whether a latent of one dictionary has a counterpart in another: by direction, and by where it fires.

Two dictionaries of one site may point in other directions and fire alike, or the reverse, so that both are
looked at for each latent.

- Cosine of decoder rows, signed, with each latent of the other dictionary.
- Pearson correlation over tokens of its activation with that of each latent of the other dictionary, zeros
  counted; 0 where one of them never fires, or fires the same everywhere.

What chance gives: the largest correlation with the other's latents when the tokens of this one are shuffled,
so that it fires as often and as strongly as before, and elsewhere. For cosines see
`engine.lab.sparse.matching`.

Sources: matching by activation, Li et al. 2015, arXiv 1511.07543; by decoder direction, Sharkey et al. 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from engine.errors import DataError
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.matching import Dictionary, OtherDictionary, unit_rows

Correlations = Float[np.ndarray, "chosen other"]


def direction_cosines(
    own: Dictionary, other: OtherDictionary, latents: Sequence[int]
) -> Float[np.ndarray, "chosen other"]:
    """The cosine of some decoder rows with every row of another dictionary."""
    return unit_rows(own[np.asarray(latents, dtype=int)]) @ unit_rows(other).T


def activation_correlations(own: Codes, other: Codes, latents: Sequence[int]) -> Correlations:
    """The correlation over tokens of some latents' activation with every latent's of another dictionary.

    Raises DataError where the codes are not of the same tokens.
    """
    require_same_rows(own, other)
    return _correlations(columns(own, latents), _sparse(other))


def chance_correlations(
    own: Codes, other: Codes, latents: Sequence[int], *, draws: int = 20, seed: int = 0
) -> Float[np.ndarray, "draw chosen"]:
    """The largest correlation of each with any of the other's latents, when its tokens are shuffled."""
    require_same_rows(own, other)
    dense = columns(own, latents)
    theirs = _sparse(other)
    generator = np.random.default_rng(seed)
    # The other dictionary stays as it is: which of its latents fire together is part of what chance is over.
    best = [_correlations(generator.permutation(dense), theirs).max(axis=1) for _ in range(draws)]
    return np.stack(best)


def columns(codes: Codes, latents: Sequence[int]) -> Float[np.ndarray, "row chosen"]:
    """The activations of some latents on every token, zeros included."""
    return _sparse(codes)[:, np.asarray(latents, dtype=int)].toarray()


def require_same_rows(own: Codes, other: Codes) -> None:
    """DataError where the codes have not as many rows, so that they are not of the same tokens."""
    if len(own) != len(other):
        raise DataError(
            "codes of different texts cannot be compared",
            expected=f"{len(own):,} tokens on both sides",
            seen=f"{len(other):,}",
        )


def _sparse(codes: Codes) -> csr_array:
    """The codes as they stand are a matrix by rows; in double precision, for sums over many tokens."""
    parts = (codes.values.double().numpy(), codes.latents.numpy(), codes.starts.numpy())
    return csr_array(parts, shape=(len(codes), codes.n_latents))


def _correlations(own: Float[np.ndarray, "row chosen"], other: csr_array) -> Correlations:
    """Pearson's r of each column of one with each column of the other."""
    n = len(own)
    # r = (E[xy] - E[x] E[y]) / (sd x * sd y)
    mean = np.asarray(other.sum(axis=0)) / n
    covariance = (other.T @ own).T / n - np.outer(own.mean(axis=0), mean)
    variance = np.asarray(other.power(2).sum(axis=0)) / n - mean**2
    # Of a latent that never varies rounding may leave a variance a little below 0.
    scale = np.outer(own.std(axis=0), np.sqrt(np.maximum(variance, 0)))
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-12)
