"""The largest k of every row of a matrix, found without sorting it: several times as fast as torch.topk.

1. Split each row into groups; the k-th largest of the groups' maxima is at most the k-th largest entry.
2. Keep the entries that reach that bound: little more than k of them.
3. Among these, partition once more to find the k-th largest itself.

All entries that equal the k-th largest are candidates; where there are more than k, the earlier columns win.
On a device other than the CPU, torch.topk is as good and is used.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

GROUP = 16
"""Entries of a group: more make the maxima fewer, and the candidates more."""


def largest(values: Float[Tensor, "row column"], k: int) -> Int[Tensor, " entry"]:
    """Flat positions, ascending, of the k largest entries of each row."""
    n_rows, n_columns = values.shape
    if k >= n_columns:
        return torch.arange(values.numel(), device=values.device)
    if values.device.type != "cpu":
        return slow_largest(values, k)
    table = values.numpy()
    flat = _at_least(table, _bounds(values, k))
    counts = np.diff(np.searchsorted(flat, np.arange(n_rows + 1) * n_columns))
    if (counts == k).all():  # the bound was the k-th largest itself: common where k is small
        return torch.from_numpy(flat)
    if (counts < k).any():  # only with NaN, which compares with nothing
        return slow_largest(values, k)
    return torch.from_numpy(_trimmed(table, flat, counts, k))


def slow_largest(values: Float[Tensor, "row column"], k: int) -> Int[Tensor, " entry"]:
    """The same by torch.topk, which may break ties otherwise."""
    columns = values.topk(min(k, values.shape[1]), dim=1, sorted=False).indices.sort(dim=1).values
    starts = torch.arange(len(values), device=values.device)[:, None] * values.shape[1]
    return (starts + columns).flatten()


def _bounds(values: Float[Tensor, "row column"], k: int) -> Float[np.ndarray, " row"]:
    """A value for each row that at least k of its entries reach (step 1)."""
    n_rows, n_columns = values.shape
    n_groups = n_columns // GROUP
    if n_groups < k:  # fewer maxima than k: nothing is gained, so the exact bound at once
        return _kth(values.numpy(), k)
    # k groups have a maximum at or above the k-th largest maximum, so that at least k entries reach it.
    # Groups are strided (column c is in group c mod n_groups): the maximum then runs over whole contiguous
    # slices. Columns beyond the last whole group are left out here; they can only add candidates.
    grouped = values[:, : n_groups * GROUP].view(n_rows, GROUP, n_groups)
    return _kth(grouped.amax(dim=1).numpy(), k)


def _kth(table: Float[np.ndarray, "row column"], k: int) -> Float[np.ndarray, " row"]:
    """The k-th largest entry of each row, by partition: linear in the columns."""
    place = table.shape[1] - k
    return np.partition(table, place, axis=1)[:, place]


def _at_least(
    table: Float[np.ndarray, "row column"], bounds: Float[np.ndarray, " row"]
) -> Int[np.ndarray, " entry"]:
    """Flat positions, ascending, of the entries that reach their row's bound (step 2); few do."""
    reached = (table >= bounds[:, None]).reshape(-1)
    # Eight booleans are one 64-bit word, and nearly all words are 0: find the words that are not, then look
    # inside those only. `inside` counts bytes over the words found.
    words = reached[: reached.size // 8 * 8].view(np.uint64)
    found = np.flatnonzero(words)
    inside = np.flatnonzero(words[found].view(bool))
    flat = found[inside // 8] * 8 + inside % 8
    rest = words.size * 8 + np.flatnonzero(reached[words.size * 8 :])
    return np.concatenate([flat, rest])


def _trimmed(
    table: Float[np.ndarray, "row column"],
    flat: Int[np.ndarray, " candidate"],
    counts: Int[np.ndarray, " row"],
    k: int,
) -> Int[np.ndarray, " entry"]:
    """The k largest of each row's candidates (step 3); among equals at the margin, the earlier columns."""
    # The candidates as a narrow table, -inf where a row has fewer than the most.
    rows = np.repeat(np.arange(len(counts)), counts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    values = table.reshape(-1)[flat]
    padded = np.full((len(counts), counts.max()), -np.inf, dtype=table.dtype)
    padded[rows, np.arange(len(flat)) - starts[rows]] = values
    kth = _kth(padded, k)[rows]
    # What lies above the k-th largest is in. What equals it fills the places that are left, in the order of
    # columns: a candidate's rank among the equals of its row is their running count less that at the row's
    # start.
    above = values > kth
    equal = values == kth
    places_left = k - np.bincount(rows, weights=above, minlength=len(counts))
    equals_before = np.cumsum(equal) - equal
    rank = equals_before - equals_before[starts[rows]]
    return flat[above | (equal & (rank < places_left[rows]))]
