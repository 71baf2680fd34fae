"""Both texts of contrasts as a model reads them: as they are or in its chat template, after an instruction
or not.

What both texts begin with is the column `prompt` where the set has it, else the words that they share. In
the chat template it is the request and what follows it the answer; an instruction is the system text. As
plain text an instruction stands in front, as one sentence more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from engine.data.chat import rendered_request, require_template
from engine.data.contrasts import shared_ends
from engine.errors import DataError
from engine.lab.continuations import Continuations
from engine.lab.threads import side_by_side
from engine.models.forward import read_activations
from engine.models.hooked import HookedModel
from engine.models.sites import Site
from engine.spec.family_params import ReadAt, TextTemplate

AT_ONCE = 16  # texts that are read together


@dataclass(frozen=True)
class ContrastTexts:
    """The two texts of each contrast as token ids, each counted from the first token in which they differ."""

    positive: Continuations
    negative: Continuations

    @property
    def sides(self) -> tuple[Continuations, Continuations]:
        return self.positive, self.negative


def contrast_texts(
    model: HookedModel, table: pd.DataFrame, template: TextTemplate, instruction: str = ""
) -> ContrastTexts:
    """The contrasts of a table; DataError where the model has no chat template that is asked for."""
    rows = table.to_dict("records")
    texts = [
        [as_read(model, row, str(row[side]), template, instruction) for row in rows]
        for side in ("positive", "negative")
    ]
    positive, negative = (_token_ids(model, side, template) for side in texts)
    # Where they differ at the first token already, it has nothing before it to be predicted from.
    starts = [max(1, shared_ends(*pair)[0]) for pair in zip(positive, negative, strict=True)]
    # A text that the other begins with has no token of its own: its last one counts.
    return ContrastTexts(*(_counted(side, starts) for side in (positive, negative)))


def beginnings(
    model: HookedModel, table: pd.DataFrame, template: TextTemplate, instruction: str = ""
) -> list[list[int]]:
    """What each contrast begins with, as token ids to be continued; DataError where two texts share
    nothing."""
    rows = table.to_dict("records")
    for row in rows:
        if not beginning(row).strip():
            raise DataError(
                "the two texts of a contrast begin with nothing that both have",
                where=str(row["id"]),
                expected="a column prompt, or words that both begin with",
                seen=f"{str(row['positive'])[:40]!r} and {str(row['negative'])[:40]!r}",
                hint="open_prompts: 0 generates nothing; template: plain needs no beginning",
            )
    texts = [as_read(model, row, beginning(row), template, instruction) for row in rows]
    return _token_ids(model, texts, template)


def beginning(row: Mapping[Any, Any]) -> str:
    """What both texts of a contrast begin with: its prompt, or the whole words that they share."""
    positive, negative = (str(row[side]) for side in ("positive", "negative"))
    prompt = row.get("prompt")
    if isinstance(prompt, str) and positive.startswith(prompt) and negative.startswith(prompt):
        return prompt
    alike = (one == other for one, other in zip(positive, negative, strict=False))
    shared = positive[: sum(takewhile(bool, alike))]
    # Up to the last space: a word that only begins alike is no shared word.
    return shared[: shared.rfind(" ") + 1].rstrip()


def answer(row: Mapping[Any, Any], side: str) -> str:
    """What a text has after the beginning."""
    return str(row[side])[len(beginning(row)) :].strip()


def as_read(
    model: HookedModel, row: Mapping[Any, Any], text: str, template: TextTemplate, instruction: str
) -> str:
    """A text of a contrast, or its beginning, with the instruction and what the chat template writes."""
    if template == "plain":
        return f"{instruction} {text}" if instruction else text
    require_template(model)
    begun = beginning(row)
    chat = rendered_request(model, begun, instruction, str(row["id"]))
    # The generation prompt ends where an answer begins, so that no space stands between.
    return chat.text + text[len(begun) :].lstrip()


def _token_ids(model: HookedModel, texts: Sequence[str], template: TextTemplate) -> list[list[int]]:
    # The chat template has written the special tokens itself.
    return model.token_ids(texts, special_tokens=template == "plain")


def _counted(rows: list[list[int]], starts: Sequence[int]) -> Continuations:
    return Continuations(rows, [min(start, len(row) - 1) for row, start in zip(rows, starts, strict=True)])


@torch.no_grad()
def read_texts(
    model: HookedModel, texts: Continuations, site: Site, read_at: ReadAt
) -> Float[Tensor, "text d_model"]:
    """Each text's activation at a site, in fp32: the mean over what counts of it, or at its last token."""

    def read(batch: np.ndarray) -> Tensor:
        input_ids, _, last = model.pad([texts.rows[i] for i in batch])
        # Without a mask: padding stands on the right, where no real position looks.
        found = read_activations(model.path, model.embed(input_ids), [site])[site].float()
        if read_at == "last":
            return found[torch.arange(len(batch), device=found.device), last]
        first = torch.tensor([texts.starts[i] for i in batch], device=found.device)[:, None]
        position = torch.arange(input_ids.shape[1], device=found.device)
        counts = ((position >= first) & (position <= last[:, None])).float()
        return torch.einsum("bp,bpd->bd", counts, found) / counts.sum(1, keepdim=True)

    batches = np.split(np.arange(len(texts)), range(AT_ONCE, len(texts), AT_ONCE))
    return torch.cat(side_by_side(read, batches, model.device))
