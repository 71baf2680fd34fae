"""What steering costs on ordinary text: the loss on one context of each document, by coefficient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from engine.data.corpora import Corpus
from engine.families.caa_steering.margins import Steering
from engine.lab.contexts import cut
from engine.lab.continuations import Continuations, log_probs, log_probs_by_edit
from engine.lab.split import hash_order
from engine.models.hooked import HookedModel

Loss = Float[np.ndarray, " document"]


@dataclass(frozen=True)
class TextLosses:
    """Nats per token of each document: unmodified, at each coefficient, and the mean over random
    directions."""

    documents: np.ndarray
    plain: Loss
    steered: Mapping[float, Loss]
    random: Loss


@runtime_checkable
class TextSettings(Protocol):
    """Of the family's parameters, those that text is read by."""

    coefficient: float
    text_documents: int
    context_tokens: int

    @property
    def doses(self) -> list[float]: ...


def text_losses(
    model: HookedModel,
    corpus: Corpus,
    steering: Steering,
    settings: TextSettings,
    progress: Callable[..., None],
) -> TextLosses:
    """The loss on one context of some documents; random directions at the one coefficient alone."""
    documents, texts = first_contexts(model, corpus, settings.text_documents, settings.context_tokens)

    doses = settings.doses
    edits = [steering.added(dose) for dose in doses] + steering.random_added(settings.coefficient)
    progress(0.0)
    losses = -log_probs_by_edit(model, texts, steering.site, edits) / texts.n_tokens
    plain = -log_probs(model, texts) / texts.n_tokens
    steered = dict(zip(doses, losses, strict=False))
    return TextLosses(documents, plain, steered, losses[len(doses) :].mean(axis=0))


def first_contexts(
    model: HookedModel, corpus: Corpus, n_documents: int, context_tokens: int
) -> tuple[np.ndarray, Continuations]:
    """One context of each of some documents: their numbers, and the tokens behind each one's first."""
    contexts = cut(corpus, model, context_tokens=context_tokens)
    lead = [] if contexts.bos is None else [contexts.bos]
    rows = [[*lead, *contexts.row_ids(context).tolist()] for context in range(len(contexts))]
    # The first context of each document that has two tokens: one that follows another can be predicted.
    readable = np.flatnonzero([len(row) > 1 for row in rows])
    numbers, first = np.unique(contexts.documents[readable], return_index=True)
    chosen = hash_order([str(number) for number in numbers])[:n_documents]
    taken = [rows[readable[first[place]]] for place in chosen]
    return numbers[chosen], Continuations(taken, [1] * len(taken))
