"""Contrasts as tokens: where the two texts differ, and which are left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.data.contrasts import TextContrasts, shared_ends, tokenize_contrasts
from engine.data.prompts import load_prompts
from engine.errors import DataError
from engine.lab.split import selection_half
from engine.spec.inputs import CONTRAST
from engine.spec.models import PromptChoice
from tests.data.test_pairs import Pieces


def contrasts(model: Pieces, *rows: dict[str, str], context: int = 128) -> TextContrasts:
    choice = PromptChoice.model_validate({"rows": list(rows)})
    return tokenize_contrasts(load_prompts(choice, Path(), CONTRAST), model, context)


@pytest.mark.parametrize(
    ("one", "other", "ends"),
    [
        ([1, 2, 3], [1, 9, 3], (1, 1)),
        ([1, 2], [3, 4], (0, 0)),
        ([1, 2], [1, 2, 3], (2, 0)),
        ([1, 1], [1, 1, 1], (2, 0)),
        ([5, 1], [1], (0, 1)),
        ([1, 2, 3, 4], [1, 3, 4], (1, 2)),
    ],
)
def test_shared_tokens_are_counted_from_one_end_only(one: list[int], other: list[int], ends: tuple) -> None:
    assert shared_ends(one, other) == shared_ends(other, one) == ends


def test_both_sides_are_their_own_texts_and_know_where_they_differ() -> None:
    model = Pieces(["<bos>"])
    found = contrasts(
        model,
        {"positive": "I feel very glad today", "negative": "I feel sad today"},
        {"positive": "Yes", "negative": "No"},
    )
    texts = [
        model.text(ids[: last + 1]) for ids, last in zip(found.positive, found.positive_last, strict=True)
    ]
    assert texts == ["<bos>I feel very glad today", "<bos>Yes"]
    assert found.negative_last.tolist() == [4, 1]
    assert (found.shared_start.tolist(), found.shared_end.tolist()) == ([3, 1], [1, 0])
    assert found.positive_mask.sum(1).tolist() == [6, 2]


def test_texts_of_the_same_tokens_and_texts_that_are_too_long_are_dropped() -> None:
    class Deaf(Pieces):
        """A tokenizer to which capitals are nothing."""

        def split(self, text: str) -> list[str]:
            return super().split(text.lower())

    rows = [
        {"positive": "Good", "negative": "good"},
        {"positive": "one", "negative": "two"},
        {"positive": "a b c d e", "negative": "f"},
    ]
    found = contrasts(Deaf(), *rows, context=4)
    assert found.table["positive"].tolist() == ["one"]
    assert found.dropped["reason"].tolist() == [
        "positive and negative are the same tokens",
        "5 tokens, of which the model reads 4",
    ]
    with pytest.raises(DataError, match="1 of 1 contrasts do not fit"):
        contrasts(Deaf(), rows[0])


def test_a_split_never_divides_a_topic() -> None:
    rows = [{"positive": f"p{i}", "negative": f"n{i}", "topic": f"t{i % 3}"} for i in range(12)]
    found = contrasts(Pieces(), *rows)
    chooses = selection_half(found.ids, found.clusters)
    assert 0 < chooses.sum() < 12
    for topic in set(found.clusters):
        assert len(set(chooses[found.clusters == topic])) == 1
