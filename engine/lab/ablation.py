"""What takes a fact away from a clean run: of its subject, and of a single place.

    interchange  the subject of the pair's corrupted prompt; a place gets that run's activation
    gaussian     noise on the embeddings of the subject's tokens, of three times the standard deviation that
                 subjects' embeddings have here; a place gets that run's activation
    mean         the embeddings of the subject's tokens become their mean over the clean prompts; a place gets
                 its mean over the clean prompts, at tokens of the same role
    zero         the same with zeros

Interchange keeps every activation in distribution and takes away what tells the two facts apart. The others
take away more than the fact, and zeros and noise may leave what the model was ever trained on.

Source: Vig et al. 2020, Geiger et al. 2021 (interchange), Meng et al. 2022 (Gaussian noise), Wang et al. 2023
(mean); compared by Zhang & Nanda 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.data.pairs import PromptPairs
from engine.lab.groups import equal_length_groups
from engine.lab.patch_pairs import PATCHED, PatchPairs
from engine.lab.roles import ROLES, role_positions
from engine.models.sites import Site
from engine.spec.family_params import AblationName
from engine.spec.sites import RESID_PRE

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

NOISE = 3.0  # standard deviations of the embeddings, as in Meng et al. 2022
START = Site(0, RESID_PRE)


@dataclass(frozen=True)
class Constants:
    """Activations that belong to no run: by site, one for each role of a token, "role *axes".

    `role` is "prompt pos"; tokens before the subject have a role of their own, the last.
    """

    values: Mapping[Site, Tensor]
    role: Int[Tensor, "prompt pos"]

    def rows(self, index: Sequence[int] | np.ndarray | Tensor) -> Constants:
        """The constants for the prompts at `index`."""
        return Constants(self.values, self.role[torch.as_tensor(index, device=self.role.device)])

    def at(self, place: Site, position: int) -> Tensor:
        """What each prompt gets at a site and position: "prompt *axes"."""
        return self.values[place][self.role[:, position]]


@dataclass(frozen=True)
class Ablation:
    """`denoising` patches the clean run into the run without its subject; when noising, a place of the clean
    run gets the activation of the latter, or `instead` a constant."""

    denoising: PatchPairs
    instead: Constants | None = None

    @property
    def noising(self) -> PatchPairs:
        return self.denoising.reversed()


def ablation(model: HookedModel, prompts: PromptPairs, name: AblationName, seed: int) -> Ablation:
    """The pairs to patch between under one way of taking the fact away; `seed` draws the noise."""
    if name == "interchange":
        return Ablation(
            PatchPairs(prompts.corrupted, prompts.clean, prompts.last, prompts.answer, prompts.wrong_answer)
        )
    clean = model.embed(prompts.clean)
    subject = torch.as_tensor(role_positions(prompts, "subject", "subject last"), device=clean.device)
    if name == "gaussian":
        return Ablation(_pairs(prompts, torch.where(subject[..., None], _noisy(clean, subject, seed), clean)))
    role = roles_of(prompts).to(clean.device)
    values = means_by_role(model, prompts, role)
    if name == "zero":
        values = {place: torch.zeros_like(mean) for place, mean in values.items()}
    start = torch.where(subject[..., None], values[START][role], clean)
    return Ablation(_pairs(prompts, start), Constants(values, role))


def roles_of(prompts: PromptPairs) -> Int[Tensor, "prompt pos"]:
    """Each position's role as an index into ROLES; len(ROLES) for what stands before the subject."""
    role = torch.full(prompts.clean.shape, len(ROLES))
    for index, name in enumerate(ROLES):
        # In order: where the subject ends the prompt, its last token counts as the prompt's.
        role[torch.as_tensor(role_positions(prompts, name))] = index
    return role


def means_by_role(
    model: HookedModel, prompts: PromptPairs, role: Int[Tensor, "prompt pos"]
) -> dict[Site, Tensor]:
    """By patched site, the clean prompts' mean activation over the tokens of each role, "role *axes"."""
    sites = model.sites(*PATCHED.values())
    sums: dict[Site, Tensor] = {}
    count = torch.zeros(len(ROLES) + 1, device=role.device)
    for index in equal_length_groups(prompts.last, 8):
        length = int(prompts.last[index[0]]) + 1
        here = role[index, :length].flatten()
        count.index_add_(0, here, torch.ones_like(here, dtype=count.dtype))
        for place, value in model.forward(prompts.clean[index, :length], read=sites).activations.items():
            flat = value.float().flatten(0, 1)
            zeros = flat.new_zeros(len(count), *flat.shape[1:])
            sums[place] = sums.get(place, zeros).index_add(0, here, flat)
    # A role that no token plays is never asked for: its mean may be anything.
    count = count.clamp(min=1)
    return {place: total / count.view(-1, *[1] * (total.ndim - 1)) for place, total in sums.items()}


def _noisy(
    clean: Float[Tensor, "prompt pos d_model"], subject: Bool[Tensor, "prompt pos"], seed: int
) -> Float[Tensor, "prompt pos d_model"]:
    """Every embedding with noise, of which the caller takes the subjects'."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    # epsilon ~ N(0, (3 sigma)^2), sigma over all coordinates of the subjects' embeddings
    return (clean + NOISE * clean[subject].float().std() * noise).to(clean.dtype)


def _pairs(prompts: PromptPairs, start: Float[Tensor, "prompt pos d_model"]) -> PatchPairs:
    """The clean prompt on both sides, patched into from a run that begins without its subject."""
    return PatchPairs(
        prompts.clean,
        prompts.clean,
        prompts.last,
        prompts.answer,
        prompts.wrong_answer,
        base_start=start,
    )
