"""The facts a model knows: tokenised pairs filtered by what the model itself answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from engine.data.answers import PromptAnswers
from engine.data.pairs import PromptPairs
from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.lab.groups import equal_length_groups
from engine.lab.patch_pairs import PatchPairs
from engine.lab.split import first_per_stratum, hash_order, selection_half, split_in_words
from engine.lab.threads import side_by_side

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@dataclass(frozen=True)
class Facts:
    """Prompts whose answer the model knows; the unit of sampling is the prompt, in clusters.

    `given` is how many prompts there were, `unused` how many known ones a limit left out.
    """

    prompts: PromptAnswers
    given: int
    unused: int = 0

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def table(self) -> pd.DataFrame:
        return self.prompts.table

    @cached_property
    def ids(self) -> list[str]:
        return [str(i) for i in self.table["id"]]

    @cached_property
    def relations(self) -> list[str]:
        return [str(r) for r in self.table["relation"]]

    @cached_property
    def clusters(self) -> list[str]:
        """The cluster of each prompt, beside `ids`."""
        return self.prompts.clusters.tolist()

    @cached_property
    def selecting(self) -> np.ndarray:
        """True for the half that layers and heads are chosen on: whole clusters. Shape "prompt"."""
        return selection_half(self.ids, self.clusters)

    @property
    def chosen_on(self) -> str:
        """Which prompts chose and which measure, in words."""
        return split_in_words(self.clusters, self.selecting, self.prompts.cluster_column)

    def evidence(self) -> Evidence:
        """Evidence over these prompts, with how many were given, known, used and dropped, and why."""
        column = self.prompts.cluster_column
        groups = self.clusters if column else None
        ev = Evidence("prompt", self.ids, groups=groups, group_unit=column)
        # What a limit left out is known all the same: it must not count as dropped for its content.
        known = len(self) + self.unused
        ev.count("prompts_given", self.given, "Prompts in the set, before any filter.")
        ev.count("prompts_known", known, "Prompts whose fact the model knows.")
        ev.count("prompts_used", len(self), "Known prompts that were measured.")
        about = f"Clusters ({column or 'none'}) that the measured prompts come in."
        ev.count("clusters_used", len(set(self.clusters)), about, unit=column or "prompt")
        about = "Prompts that do not fit the tokenizer or are not known."
        ev.count("prompts_dropped", self.given - known, about)
        reasons = self.prompts.dropped["reason"].value_counts()
        ev.table("dropped", reasons.rename_axis("reason").reset_index(name="prompts"))
        return ev

    def halves(self, ev: Evidence) -> tuple[Evidence, Evidence]:
        """The half of the prompts that layers and heads are chosen on, and the one they are measured on."""
        words = self.chosen_on
        return ev.where(self.selecting, chosen_on=words), ev.where(~self.selecting, chosen_on=words)

    @property
    def pairs(self) -> PromptPairs:
        """The prompts with their corrupted ones; DataError where they have none."""
        return with_corrupted(self.prompts)

    @property
    def denoising(self) -> PatchPairs:
        """From the clean prompt into the corrupted one."""
        p = self.pairs
        return PatchPairs(p.corrupted, p.clean, p.last, p.answer, p.wrong_answer)

    @property
    def noising(self) -> PatchPairs:
        """From the corrupted prompt into the clean one."""
        return self.denoising.reversed()

    def other_answers(self) -> Int[Tensor, " prompt"]:
        """For each prompt the answer of another, of its relation where one differs: the control's target."""
        chosen = self.prompts.answer.clone()
        for row, near in enumerate(_partners(self.ids, self.relations)):
            # The first by hash among those whose answer differs: an order nobody chose, the same in every
            # run.
            different = [i for i in near if self.prompts.answer[i] != self.prompts.answer[row]]
            # Where all prompts share one answer, the wrong answer is the only other one there is.
            chosen[row] = self.prompts.answer[different[0]] if different else self.prompts.wrong_answer[row]
        return chosen

    def unrelated(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows with another fact of equal length (neither answer its own), and that fact's row.

        A fact of another relation where there is one, since one of the same relation shares the question and
        the kind of answer; among those, one whose subject stands at the same tokens.
        """
        p = self.prompts
        own = torch.stack((p.answer, p.wrong_answer), dim=1)
        subjects = _subject_spans(p)
        rows = []
        partners = []
        for row, others in enumerate(_partners(self.ids, self.relations)):
            # Of equal length, so that positions correspond; with neither of the two answers, so that nothing
            # of the fact comes along by accident.
            fits = [i for i in others if p.last[i] == p.last[row] and p.answer[i] not in own[row]]
            # The least is taken, the first by hash among equals.
            related = [(self.relations[i] == self.relations[row], subjects[i] != subjects[row]) for i in fits]
            rows += [row] if fits else []
            partners += [fits[related.index(min(related))]] if fits else []
        return np.array(rows, dtype=int), np.array(partners, dtype=int)


def known_facts(
    model: HookedModel,
    prompts: PromptAnswers,
    *,
    known_rank: int = 0,
    both_sides: bool = False,
    per_relation: int | None = None,
) -> Facts:
    """The prompts whose answer has rank `known_rank` or better (from 0), and better than the wrong answer's.

    With `both_sides` the corrupted prompt's own answer must be known as well, so that a pair's two logit
    differences have opposite signs and a normalised one has a scale. DataError where fewer than two are.
    """
    given = len(prompts) + len(prompts.dropped)
    answers = torch.stack((prompts.answer, prompts.wrong_answer), dim=1)
    rank, other = token_ranks(model, prompts.clean, prompts.last, answers).T
    # `rank < other` as well: with a large known_rank both answers may pass, and the logit difference must
    # have the right sign.
    kept = prompts.keep((rank <= known_rank) & (rank < other), "the model does not know the answer")
    # On the corrupted prompt the two answers change their parts.
    if both_sides and len(kept):
        answers = torch.stack((kept.wrong_answer, kept.answer), dim=1)
        rank, other = token_ranks(model, with_corrupted(kept).corrupted, kept.last, answers).T
        known = (rank <= known_rank) & (rank < other)
        kept = kept.keep(known, "the model does not know the corrupted prompt's answer")
    if len(kept) < 2:
        raise DataError(
            f"{model.name} knows {len(kept)} of the {given} facts",
            expected=f"at least two whose answer has rank {known_rank} or better",
            hint="a larger known_rank, easier prompts or a larger model",
        )
    if per_relation is None:
        return Facts(kept, given)
    facts = Facts(kept, given)
    chosen = first_per_stratum(facts.ids, facts.relations, per_relation)
    return Facts(kept.keep(torch.as_tensor(chosen), "over the limit of prompts"), given, int((~chosen).sum()))


def with_corrupted(prompts: PromptAnswers) -> PromptPairs:
    """The prompts as pairs; DataError where they have no corrupted ones."""
    if isinstance(prompts, PromptPairs):
        return prompts
    # A family that reads pairs is never given anything else: the plan has judged its prompts.
    raise DataError("these prompts have no corrupted ones", expected="pairs", seen="prompts with answers")


def token_ranks(
    model: HookedModel,
    input_ids: Int[Tensor, "prompt pos"],
    last: Int[Tensor, " prompt"],
    tokens: Int[Tensor, "prompt token"],
) -> Int[Tensor, "prompt token"]:
    """How many tokens the model finds likelier than each of the given ones, as what comes next."""
    ranks = torch.zeros_like(tokens)

    def ranked(index: list[int]) -> Tensor:
        # All of a group have one length, so that the last position of each is the last column.
        ids = input_ids[index, : int(last[index[0]]) + 1]
        logits = model.unembed(model.layers(model.embed(ids))[:, -1])
        # Strictly larger: ties do not push a token down, so that the likeliest has rank 0 even with an equal
        # one.
        return (logits[:, None] > logits.gather(1, tokens[index])[..., None]).sum(-1)

    groups = list(equal_length_groups(last, 16))
    for index, found in zip(groups, side_by_side(ranked, groups, model.device), strict=True):
        ranks[index] = found
    return ranks


def _partners(ids: Sequence[str], relations: Sequence[str]) -> list[list[int]]:
    """For each prompt the others: first those of its relation, in the order of the hashes after its own."""
    order = hash_order(ids).tolist()
    partners = []
    for row, relation in enumerate(relations):
        place = order.index(row)
        # Around the circle from the prompt's own place, so that each prompt has another partner.
        others = order[place + 1 :] + order[:place]
        # `sorted` is stable: within a relation and outside of it the order of hashes remains.
        partners.append(sorted(others, key=lambda i: relations[i] != relation))
    return partners


def _subject_spans(prompts: PromptAnswers) -> list[tuple[int, int] | None]:
    """First and last token of each subject; None where the prompts name no subjects."""
    if prompts.subject_first is None or prompts.subject_last is None:
        return [None] * len(prompts)
    return list(zip(prompts.subject_first.tolist(), prompts.subject_last.tolist(), strict=True))
