"""Prompts with answers as tokens: what fits, and where a wrong answer comes from when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.data.answers import PromptAnswers, tokenize_answers
from engine.data.prompts import load_prompts
from engine.errors import DataError
from engine.spec.inputs import ANSWERS
from engine.spec.models import PromptChoice
from tests.data.test_pairs import Pieces

CAPITALS = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Japan": "Tokyo"}


def answers(model: Pieces, *rows: dict[str, str]) -> PromptAnswers:
    choice = PromptChoice.model_validate({"rows": list(rows)})
    return tokenize_answers(load_prompts(choice, Path(), ANSWERS), model)


def capitals(**extra: str) -> list[dict[str, str]]:
    return [{"prompt": f"{land}: the city is", "answer": city} | extra for land, city in CAPITALS.items()]


def test_prompts_and_answers_are_the_tokens_of_their_texts() -> None:
    model = Pieces(["<bos>"])
    found = answers(model, *[row | {"subject": row["prompt"].split(":")[0]} for row in capitals()])
    assert [model.text(ids[: last + 1]) for ids, last in zip(found.clean, found.last, strict=True)] == [
        f"<bos>{land}: the city is" for land in CAPITALS
    ]
    assert [model.text(answer[None]) for answer in found.answer] == [f" {city}" for city in CAPITALS.values()]
    assert found.subject_first is not None and found.subject_first.tolist() == [1, 1, 1, 1]
    assert found.mask.sum(1).tolist() == (found.last + 1).tolist()


def test_a_wrong_answer_is_that_of_another_prompt_of_the_same_relation() -> None:
    rows = capitals(relation="capital") + [
        {"prompt": f"{word} has the colour", "answer": colour, "relation": "colour"}
        for word, colour in (("Snow", "white"), ("Coal", "black"), ("Milk", "white"))
    ]
    found = answers(model := Pieces(), *rows)
    wrong = [model.text(answer[None]) for answer in found.wrong_answer]
    assert wrong == found.table["wrong_answer"].tolist()
    cities = {f" {city}" for city in CAPITALS.values()}
    assert all(answer in cities for answer in wrong[:4])
    # Milk is white as snow is: the wrong answer of either is the other colour.
    assert wrong[4:] == [" black", " white", " black"]
    assert all(a != b for a, b in zip(wrong, found.table["answer"], strict=True))
    # By content and not by place: the same wrong answer wherever the prompt stands.
    turned = answers(Pieces(), *rows[::-1])
    assert turned.table["wrong_answer"].tolist()[::-1] == wrong


def test_a_wrong_answer_that_is_named_is_taken() -> None:
    found = answers(model := Pieces(), *capitals(wrong_answer="Oslo"))
    assert {model.text(answer[None]) for answer in found.wrong_answer} == {" Oslo"}


def test_prompts_of_one_answer_have_no_wrong_one() -> None:
    with pytest.raises(DataError, match="all prompts have one answer") as caught:
        answers(Pieces(), *[row | {"answer": "Rome"} for row in capitals()])
    assert caught.value.expected.startswith("a column wrong_answer")


def test_what_does_not_fit_is_dropped_with_its_reason() -> None:
    rows = [
        *capitals(),
        {"prompt": "Far away is", "answer": "Constantinople"},
        {"prompt": "A space is ", "answer": "last"},
    ]
    found = answers(Pieces(), *rows)
    assert len(found) == 4
    assert found.dropped["reason"].tolist() == [
        "answer ' Constantinople' is 2 tokens, not one",
        "the prompt's last space is in one token with answer 'last': leave it to the answer",
    ]
    with pytest.raises(DataError, match="1 of 1 prompts do not fit"):
        answers(Pieces(), rows[-1])


def test_a_selection_takes_every_tensor_along() -> None:
    found = answers(Pieces(), *capitals())
    fewer = found.keep(found.answer == found.answer[2], "another city")
    assert (len(fewer), fewer.last.tolist(), len(fewer.dropped)) == (1, [found.last[2]], 3)
