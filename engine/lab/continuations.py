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
from engine.lab.prompt_batches import PromptBatch, read_prompts, similar_lengths
from engine.lab.threads import side_by_side
from engine.models.forward import NO_EDITS, Edit
from engine.models.generate import common_start
from engine.models.hooked import HookedModel
from engine.models.sites import Site
from engine.spec.sites import RESID_POST, RESID_PRE

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
    return _finite(sums.cpu().numpy())


def log_probs_by_edit(
    model: HookedModel, texts: Continuations, site: Site, edits: Sequence[Edit]
) -> Float[np.ndarray, "edit text"]:
    """What `log_probs` gives under each of several edits at one site.

    At the stream before or after a block the blocks up to there see no edit, and run once for all of them.
    """
    # x_l, which block l reads, is what block l - 1 leaves: the blocks that follow begin at this one.
    start = {RESID_PRE: site.layer, RESID_POST: site.layer + 1}.get(site.kind)
    if start is None or not model.is_plain or not edits:
        return np.array([log_probs(model, texts, {site: edit}) for edit in edits])

    def read(batch: list[int]) -> Tensor:
        input_ids, _, last = model.pad([texts.rows[text] for text in batch])
        # Without a mask: pads stand on the right, where no real position looks.
        stream = model.layers(model.embed(input_ids), stop=start)
        steered = (model.layers(edit(stream), start) for edit in edits)
        sums = [_log_probs(model, texts, PromptBatch(batch, resid, last, 0)) for resid in steered]
        return torch.stack(sums, dim=1)

    batches = similar_lengths([len(row) for row in texts.rows], torch.get_num_threads())
    found = np.empty((len(texts), len(edits)))
    for batch, sums in zip(batches, side_by_side(read, batches, model.device), strict=True):
        found[batch] = sums.cpu().numpy()
    return _finite(found).T


def _finite(found: np.ndarray) -> np.ndarray:
    broken = ~np.isfinite(found)
    if broken.any():
        raise ModelError(
            "log-probabilities are not finite",
            expected="numbers",
            seen=f"NaN or infinity in {int(broken.sum())} of {found.size} readings of texts",
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
