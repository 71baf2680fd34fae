"""Which latents of a wider dictionary are the children of a latent of a narrower one.

A child's parent is the latent of the narrower dictionary whose decoder direction is nearest to the child's,
if their cosine is high enough and the parent fires on enough of the child's tokens. So each child has one
parent at most, and a parent any number of children.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.coder import unit_rows
from engine.lab.sparse.codes import Codes


@dataclass(frozen=True)
class Kinship:
    """Each child's nearest parent, and how much they are alike. `live` latents fire on the tokens at hand.

    `given_child` is the share of a child's tokens on which its nearest parent fires; 0 for dead children.
    `matches` are pairs "both 2" of (child, token * n_parents + parent): both fire there.
    """

    nearest: Int[np.ndarray, " child"]
    cosine: Float[np.ndarray, " child"]
    given_child: Float[np.ndarray, " child"]
    live_children: Bool[np.ndarray, " child"]
    parent_fired: Int[np.ndarray, " parent"]
    best_child_cosine: Float[np.ndarray, " parent"]
    matches: Int[np.ndarray, "both 2"]

    @property
    def live_parents(self) -> Int[np.ndarray, " live"]:
        """The parents that fire, by number."""
        return np.flatnonzero(self.parent_fired)

    def is_child(self, min_cosine: float, min_given: float) -> Bool[np.ndarray, " child"]:
        """The live children that have a parent."""
        return self.live_children & (self.cosine >= min_cosine) & (self.given_child >= min_given)

    def children(self, min_cosine: float, min_given: float) -> Int[np.ndarray, " live"]:
        """How many children each live parent has."""
        # Counted over all parents, so that place and number agree, then cut down to live ones.
        of = self.nearest[self.is_child(min_cosine, min_given)]
        return np.bincount(of, minlength=len(self.parent_fired))[self.live_parents]

    def covered(self, min_cosine: float, min_given: float) -> Float[np.ndarray, " live"]:
        """The share of each live parent's tokens on which at least one of its children fires.

        What is left is the parent's alone, or taken over by latents that point elsewhere (absorption, Chanin
        et al. 2024, arXiv 2409.14507).
        """
        # A token is covered once, however many of a parent's children fire there: distinct (token, parent)
        # are counted.
        child, place = self.matches.T
        places = np.unique(place[self.is_child(min_cosine, min_given)[child]])
        # place = token * n_parents + parent: the remainder is the parent.
        hits = np.bincount(places % len(self.parent_fired), minlength=len(self.parent_fired))
        return (hits / np.maximum(self.parent_fired, 1))[self.live_parents]


def kinship(
    parents: Float[Tensor, "parent d"],
    parent_codes: Codes,
    children: Float[Tensor, "child d"],
    child_codes: Codes,
) -> Kinship:
    """Directions and codes on the same tokens. Raises DataError where these do not go together."""
    if parents.shape[1] != children.shape[1] or len(parent_codes) != len(child_codes):
        raise DataError(
            "these dictionaries do not code the same activations",
            expected=f"{len(parent_codes):,} tokens in {parents.shape[1]} dimensions",
            seen=f"{len(child_codes):,} tokens in {children.shape[1]} dimensions",
        )
    nearest, cosine, best = nearest_parents(parents, children)
    n_parents = len(parents)
    child_fired = child_codes.fired().numpy()
    # A firing is one number, token * n_parents + parent. Every firing of a child asks for that of its nearest
    # parent on the same token: the two lists of numbers say where both fire, without tokens times parents.
    fires_at = (parent_codes.rows * n_parents + parent_codes.latents).numpy()
    child = child_codes.latents.numpy()
    wanted = child_codes.rows.numpy() * n_parents + nearest[child]
    both = np.isin(wanted, fires_at, assume_unique=False)
    together = np.bincount(child[both], minlength=len(children))
    return Kinship(
        nearest=nearest,
        cosine=cosine,
        # A dead child fires on nothing: 0 / 1, not 0 / 0.
        given_child=together / np.maximum(child_fired, 1),
        live_children=child_fired > 0,
        parent_fired=parent_codes.fired().numpy(),
        best_child_cosine=best,
        matches=np.stack([child[both], wanted[both]], axis=1),
    )


def nearest_parents(
    parents: Float[Tensor, "parent d"], children: Float[Tensor, "child d"], block: int = 2048
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each child's nearest parent and their cosine, and each parent's cosine with its nearest child."""
    rows = unit_rows(parents)
    best = torch.full((len(parents),), -1.0)
    nearest: list[Tensor] = []
    cosine: list[Tensor] = []
    for start in range(0, len(children), block):
        # Blocks of children: all cosines at once would be the product of two widths.
        cosines = unit_rows(children[start : start + block]) @ rows.T
        top = cosines.max(dim=1)
        nearest.append(top.indices)
        cosine.append(top.values)
        # Kept running over the blocks, since a parent's nearest child may be in any of them.
        best = torch.maximum(best, cosines.amax(dim=0))
    return torch.cat(nearest).numpy(), torch.cat(cosine).numpy(), best.numpy()


def relabelled(codes: Codes, seed: int) -> Codes:
    """The codes with the latents' numbers shuffled: who fires when no longer goes with who points where."""
    # Rows keep how many latents fire and how strongly; only the names are exchanged.
    new = torch.randperm(codes.n_latents, generator=torch.Generator().manual_seed(seed))
    latents = new[codes.latents]
    order = torch.argsort(codes.rows * codes.n_latents + latents)  # latents ascend within a row again
    return Codes(codes.starts, latents[order], codes.values[order], codes.n_latents)
