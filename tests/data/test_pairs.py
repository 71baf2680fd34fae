"""Pairs as tokens: what is dropped and why, where the subject stands, what the tensors hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import pytest
import torch

from engine.data.pairs import TokenIds, tokenize_pairs
from engine.data.prompts import PromptSet
from engine.errors import DataError


class Pieces:
    """A tokenizer of word pieces: a space belongs to the next word, a word breaks after 8 letters."""

    def __init__(self, bos: Sequence[str] = ()) -> None:
        self.bos, self.vocab = list(bos), ["<pad>"]

    def split(self, text: str) -> list[str]:
        return [*self.bos, *re.findall(r" ?[a-z]{1,8}|.", text, re.DOTALL | re.IGNORECASE)]

    def token_ids(self, texts: Sequence[str], /) -> list[TokenIds]:
        for piece in (p for text in texts for p in self.split(text)):
            if piece not in self.vocab:
                self.vocab.append(piece)
        return [[self.vocab.index(p) for p in self.split(text)] for text in texts]

    def pad(self, ids: list[TokenIds], /) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(row) for row in ids])
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).long(), lengths - 1

    def text(self, ids: torch.Tensor) -> str:
        return "".join(self.vocab[int(i)] for i in ids)


def prompt_set(*rows: tuple[str, ...]) -> PromptSet:
    columns = ["id", "clean", "corrupted", "answer", "wrong_answer", "subject", "corrupted_subject"]
    table = pd.DataFrame(rows, columns=columns[: len(rows[0])])
    return PromptSet("made-up", table.assign(relation="capital"), "hash", "a test", "answer")


FRANCE = ("france", "In France, the city is", "In Spain, the city is", " Paris", " Madrid", "France", "Spain")
GERMANY = ("germany", "Of Germany: is", "Of Italy: is", " Berlin", " Rome", "Germany", "Italy")


@pytest.mark.parametrize("bos", [[], ["<bos>"]])
def test_tensors_hold_the_texts_the_answers_and_the_last_positions(bos: list[str]):
    model = Pieces(bos)
    pairs = tokenize_pairs(prompt_set(FRANCE, GERMANY), model)
    for row, source in enumerate((FRANCE, GERMANY)):
        start, stop = len(bos), int(pairs.last[row]) + 1
        assert model.text(pairs.clean[row, start:stop]) == source[1]
        assert model.text(pairs.corrupted[row, start:stop]) == source[2]
        assert model.text(pairs.answer[row : row + 1]) == source[3]
        assert model.text(pairs.wrong_answer[row : row + 1]) == source[4]
    assert pairs.mask.sum(1).tolist() == (pairs.last + 1).tolist()
    assert pairs.dropped.empty and list(pairs.dropped.columns) == ["id", "reason"]


@pytest.mark.parametrize(
    ("clean", "subject", "tokens"),
    [
        ("In France, the city is", "France", (1, 1)),
        ("France is in", "France", (0, 0)),
        ("See the Great Wall is in", "the Great Wall", (1, 3)),
        ("The home of Wittgenstein is", "Wittgenstein", (3, 4)),
        ("If in Spain you see Spain, the", "Spain", (5, 5)),
        ("The author of (Hamlet) is", "Hamlet", (5, 5)),
    ],
)
def test_a_subject_is_found_at_its_tokens(clean: str, subject: str, tokens: tuple[int, int]):
    row = ("x", clean, clean.replace("i", "o"), " Paris", " Madrid", subject)
    pairs = tokenize_pairs(prompt_set(row), Pieces())
    assert (pairs.subject_first, pairs.subject_last) == tuple(torch.tensor([t]) for t in tokens)


def test_without_a_subject_column_there_are_no_subject_positions():
    pairs = tokenize_pairs(prompt_set(FRANCE[:5]), Pieces())
    assert pairs.subject_first is None and pairs.subject_last is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({2: "In New Spain, the city is"}, "clean has 6 tokens, corrupted 7"),
        ({3: " Ouagadougou"}, "answer ' Ouagadougou' is 2 tokens, not one"),
        ({4: " New York"}, "wrong_answer ' New York' is 2 tokens, not one"),
        ({3: "Paris"}, "answer 'Paris' runs into the prompt's last word; does it lack its space?"),
        (
            {1: "In France, the city is ", 2: "In Spain, the city is ", 3: "Paris"},
            "the prompt's last space is in one token with answer 'Paris': leave it to the answer",
        ),
        ({5: "Franc"}, "the subject does not begin and end where tokens do"),
        ({6: "Spain, the"}, "the subject's first and last token are (1, 1) in clean, (1, 3) in corrupted"),
    ],
)
def test_a_pair_that_does_not_fit_is_dropped_with_its_reason(changes: dict[int, str], reason: str):
    odd = tuple(changes.get(i, text) for i, text in enumerate(FRANCE))
    pairs = tokenize_pairs(prompt_set(GERMANY, odd), Pieces())
    assert list(pairs.table["id"]) == ["germany"] and len(pairs) == len(pairs.clean) == 1
    assert pairs.dropped.to_dict("records") == [{"id": "france", "reason": reason}]
    with pytest.raises(DataError, match=re.escape(f"france: {reason}")):
        tokenize_pairs(prompt_set(GERMANY, odd), Pieces(), strict=True)


def test_prompts_that_end_in_a_space_fit_with_an_answer_that_has_its_own():
    spaced = (FRANCE[0], f"{FRANCE[1]} ", f"{FRANCE[2]} ", *FRANCE[3:])
    pairs = tokenize_pairs(prompt_set(spaced), Pieces(), strict=True)
    assert len(pairs) == 1 and int(pairs.last[0]) == len(Pieces().split(FRANCE[1]))


def test_texts_that_the_tokenizer_cannot_tell_apart_are_dropped():
    class Caseless(Pieces):
        def split(self, text: str) -> list[str]:
            return super().split(text.lower())

    prompts = (FRANCE[1], FRANCE[1].upper()), (FRANCE[1], FRANCE[2])
    answers = (" a", " b"), (" paris", " Paris")
    rows = [(f"p{i}", *p, *a) for i, (p, a) in enumerate(zip(prompts, answers, strict=True))]
    dropped = tokenize_pairs(prompt_set(FRANCE[:5], *rows), Caseless()).dropped
    assert [reason.split()[-2:] for reason in dropped["reason"]] == [["same", "tokens"], ["same", "token"]]


def test_nothing_left_is_an_error_that_names_the_pairs():
    odd = [(f"p{i}", f"In {i} the city is", "In the city is", " a", " b") for i in range(12)]
    with pytest.raises(DataError, match="12 of 12 pairs do not fit") as caught:
        tokenize_pairs(prompt_set(*odd), Pieces())
    assert "p9: clean has" in caught.value.seen and "p10" not in caught.value.seen
    assert "and 2 more" in caught.value.seen


def test_keeping_some_pairs_moves_the_others_to_dropped():
    pairs = tokenize_pairs(prompt_set(FRANCE, GERMANY), Pieces())
    known = pairs.keep(torch.tensor([False, True]), "the model does not know it")
    assert known.ids.tolist() == ["germany"] and known.table.index.tolist() == [0]
    assert (pairs.clusters.tolist(), known.clusters.tolist()) == ([" Paris", " Berlin"], [" Berlin"])
    assert known.dropped.to_dict("records") == [{"id": "france", "reason": "the model does not know it"}]
    assert torch.equal(known.clean, pairs.clean[1:]) and known.subject_last is not None
    assert torch.equal(known.subject_last, torch.tensor([1]))
    assert len(pairs) == 2
