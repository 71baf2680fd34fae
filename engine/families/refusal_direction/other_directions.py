"""Directions that should do nothing: what the one that was found is compared with.

Each is as long as the one that was found. Their sign means nothing, so each points to where the harmful
training requests lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from engine.families.refusal_direction.recipe import Learned
from engine.lab.directions import Direction, Labels, mean_difference, projection, random_directions, unit

NOUNS = {
    "random": "a random direction",
    "shuffled": "the direction of shuffled labels",
    "unrelated": "the direction of an unrelated contrast",
}
OtherDirections = Mapping[str, Sequence[Direction]]
"""By kind, a word of NOUNS: one or more directions."""


def other_directions(
    learned: Learned, positive: Labels, n_random: int, n_shuffled: int, seed: int
) -> dict[str, list[Direction]]:
    """Random directions, and differences in means of the same training requests under shuffled labels."""
    layer, place = learned.place
    streams = learned.streams[:, layer, place]
    found = learned.selection.chosen.direction
    drawn = list(random_directions(found, n_random, seed))
    shuffled = []
    for number in range(n_shuffled):
        labels = torch.from_numpy(np.random.default_rng([seed, number]).permutation(positive))
        labels = labels.to(streams.device)
        shuffled.append(as_long_as(found, mean_difference(streams[labels], streams[~labels])))
    of_kind = torch.from_numpy(positive.copy()).to(streams.device)
    asking = mean_difference(streams[of_kind], streams[~of_kind])
    return {
        "random": [_oriented(each, asking) for each in drawn],
        "shuffled": [_oriented(each, asking) for each in shuffled],
    }


def as_long_as(found: Direction, other: Direction) -> Direction:
    """The other direction at the length of the one that was found."""
    return unit(other).to(found.device) * found.float().norm()


def _oriented(direction: Direction, asking: Direction) -> Direction:
    """The direction or its opposite, whichever the harmful training requests lie further along."""
    return -direction if float(projection(asking, direction)) < 0 else direction
