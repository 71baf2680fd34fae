"""Keys and values of a batch of texts that grow: what is computed once is read again at every later step.

Column c of a row holds that row's position c, whatever the lengths of the other rows are. Room is added in
chunks, since concatenating would copy all of it at every token; rows that are finished give theirs up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.models.blocks import KeyValueHeads
from engine.models.forward import KVPrefix

NewHeads = Float[Tensor, "_row key_value_head new d_head"]

CHUNK = 256
"""How many positions are added when the room is used up; fewer where the texts cannot become so long."""


class BatchCache:
    """The `engine.models.forward.KVStore` of texts that are continued together.

    `rows` is how many there are, `limit` how long one may become. Say where the next forward writes before it
    runs: `write_block` or `write_next`.
    """

    def __init__(self, rows: int, limit: int) -> None:
        self.rows = rows
        self.limit = limit
        self.keys: dict[int, Tensor] = {}  # by layer, "batch key_value_head pos d_head"
        self.values: dict[int, Tensor] = {}
        self._block = slice(0, rows)
        self._first = 0
        self._next: Tensor | None = None
        self._rows = torch.arange(rows)
        self._end = 0

    def fill(self, prefix: KVPrefix) -> None:
        """Every row begins with the positions of a text that was computed before, in a batch of 1."""
        self.write_block(slice(0, self.rows), 0)
        for layer, (key, value) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
            self.extended(layer, key, value)

    def write_block(self, rows: slice, first_position: int) -> None:
        """The next forward computes some rows, all from the same position on."""
        self._block = rows
        self._first = first_position
        self._next = None

    def write_next(self, positions: Int[Tensor, " batch"], longest: int) -> None:
        """The next forward computes one position of each row; the furthest of them is `longest` - 1."""
        self._next = positions
        self._end = longest
        # Once for all layers: small calls are a good part of a small model's step.
        self._rows = torch.arange(self.rows, device=positions.device)

    def extended(self, layer: int, key: NewHeads, value: NewHeads) -> tuple[KeyValueHeads, KeyValueHeads]:
        """Those of the new positions are put in; what comes back are views of all positions so far."""
        last = self._end if self._next is not None else self._first + key.shape[2]
        self._make_room(layer, key, value, last)
        return self._put(self.keys[layer], key, last), self._put(self.values[layer], value, last)

    def keep(self, order: Sequence[int]) -> None:
        """Row i is from now on what was row order[i]; as many rows are left as `order` has."""
        for tensors in (self.keys, self.values):
            for tensor in tensors.values():
                for row, before in enumerate(order):
                    if row != before:
                        tensor[row] = tensor[before]
        self.rows = len(order)

    def _put(self, room: Tensor, new: NewHeads, last: int) -> KeyValueHeads:
        if self._next is None:
            # A batch of 1 fills every row of the block: the common start of all texts.
            room[self._block, :, self._first : last] = new
            return room[self._block, :, :last]
        # Each row at its own position: indices of rows and positions are taken together, one by one.
        room[self._rows, :, self._next] = new[:, :, 0]
        return room[: self.rows, :, :last]

    def _make_room(self, layer: int, key: NewHeads, value: NewHeads, last: int) -> None:
        for tensors, new in ((self.keys, key), (self.values, value)):
            room = tensors.get(layer)
            if room is not None and room.shape[2] >= last:
                continue
            columns = min(self.limit, last + CHUNK)
            # Zeros: a kernel multiplies what is hidden by 0, and 0 times what lies in memory may be NaN.
            larger = new.new_zeros((self.rows, new.shape[1], columns, new.shape[3]))
            if room is not None:
                larger[:, :, : room.shape[2]] = room[: self.rows]
            tensors[layer] = larger


def closed_up(kept: Sequence[int]) -> list[int]:
    """In which order the rows `kept` (ascending) fill the first places: as few as possible move.

    A row that is given up is replaced by one from the end, so that no more is copied than has to be.
    """
    staying = {row for row in kept if row < len(kept)}
    moving = iter([row for row in kept if row >= len(kept)])
    return [row if row in staying else next(moving) for row in range(len(kept))]
