"""Labelled texts as tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.data.labelled import LabelledTexts, tokenize_labelled
from engine.data.prompts import load_prompts
from engine.errors import DataError
from engine.spec.inputs import LABELLED
from engine.spec.models import PromptChoice
from tests.data.test_pairs import Pieces

ROWS = [{"text": "a b", "label": "spam"}, {"text": "c", "label": "ham"}, {"text": "d e f g", "label": "spam"}]


def labelled(model: Pieces, context: int = 128) -> LabelledTexts:
    choice = PromptChoice.model_validate({"rows": ROWS})
    return tokenize_labelled(load_prompts(choice, Path(), LABELLED), model, context)


def test_each_text_has_the_index_of_its_label() -> None:
    model = Pieces()
    found = labelled(model)
    assert (found.labels, found.label.tolist()) == (("ham", "spam"), [1, 0, 1])
    assert [model.text(ids[: last + 1]) for ids, last in zip(found.tokens, found.last, strict=True)] == [
        row["text"] for row in ROWS
    ]


def test_a_text_that_is_too_long_is_left_out() -> None:
    found = labelled(Pieces(), context=3)
    assert found.table["text"].tolist() == ["a b", "c"]
    assert found.dropped["reason"].tolist() == ["4 tokens, of which the model reads 3"]


def test_what_is_left_has_two_labels() -> None:
    with pytest.raises(DataError, match="the texts that are left have one label"):
        labelled(Pieces(), context=1)
