"""How likely a model finds given texts, token by token, unmodified or under edits.

The sum of ln p(token | all before it) over the tokens of a text from some place on. Of two texts with one
beginning the difference is what answers are compared by: where they differ in a single last token it is the
logit difference of the two, since the softmax has one denominator for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import DataError, ModelError
from engine.lab.prompt_batches import PromptBatch, read_prompts
from engine.models.forward import NO_EDITS, Edit
from engine.models.generate import common_start
from engine.models.hooked import HookedModel
from engine.models.sites import Site

UNEMBEDDED_AT_ONCE = 256  # positions: of 150,000 logits each, 150 MB


@dataclass(frozen=True)
class Continuations:
    """Token ids of some texts, and from which of its tokens on each counts (from 1: the first follows none).

    DataError for none, and for a text of which nothing counts.
    """

    rows: Sequence[Sequence[int]]
    starts: Sequence[int]

    def __post_init__(self) -> None:
        if not self.rows or len(self.rows) != len(self.starts):
            raise DataError("no texts to read", expected="a start for each text", seen=f"{len(self.rows)}")
        for text, (row, start) in enumerate(zip(self.rows, self.starts, strict=True)):
            if not 1 <= start < len(row):
                raise DataError(
                    "a text of which no token counts",
                    where=f"text {text}",
                    expected=f"a start from 1 to {len(row) - 1}",
                    seen=str(start),
                )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_tokens(self) -> Int[np.ndarray, " text"]:
        """How many tokens of each text count."""
        return np.array([len(row) - start for row, start in zip(self.rows, self.starts, strict=True)])


def log_probs(
    model: HookedModel, texts: Continuations, edit: Mapping[Site, Edit] = NO_EDITS
) -> Float[np.ndarray, " text"]:
    """The log-probability of what counts of each text, in nats, under edits at every position.

    ModelError where an edit leaves numbers that are none: a coefficient beyond the range of the dtype.
    """

    # The last token before the first that counts is computed in every text: what follows it is read there.
    n_shared = common_start([list(row[:start]) for row, start in zip(texts.rows, texts.starts, strict=True)])
    sums = read_prompts(
        model, texts.rows, lambda batch: _log_probs(model, texts, batch), edit=edit, n_shared=n_shared
    )
    found = sums.cpu().numpy()
    if not np.isfinite(found).all():
        raise ModelError(
            "log-probabilities are not finite",
            expected="numbers",
            seen=f"NaN or infinity in {int((~np.isfinite(found)).sum())} of {len(found)} texts",
            hint="an edit that is too large for the dtype: a smaller coefficient",
        )
    return found


def _log_probs(model: HookedModel, texts: Continuations, batch: PromptBatch) -> Float[Tensor, " text"]:
    input_ids, _, last = model.pad([texts.rows[text] for text in batch.prompts])
    positions = batch.first_position + torch.arange(batch.resid.shape[1], device=model.device)
    # The token at p is read from the stream at p - 1: positions start - 1 to last - 1.
    first = torch.tensor([texts.starts[text] for text in batch.prompts], device=model.device)[:, None] - 1
    text, place = torch.nonzero((positions >= first) & (positions < last[:, None]), as_tuple=True)
    sums = torch.zeros(len(batch.prompts), dtype=torch.float64, device=model.device)
    # Only what counts is unembedded, since the vocabulary is the larger part of a small model's work.
    for piece in torch.arange(len(text), device=model.device).split(UNEMBEDDED_AT_ONCE):
        logits = model.unembed(batch.resid[text[piece], place[piece]]).float()
        tokens = input_ids[text[piece], positions[place[piece]] + 1]
        # ln softmax of the token alone: its logit minus log sum exp of all
        found = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        sums.index_add_(0, text[piece], found.double())
    return sums
