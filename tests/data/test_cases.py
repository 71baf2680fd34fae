"""Files that failed elsewhere, each one instance of a kind: sound ones are read, others refused by line."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from engine.data.corpora import count_characters, load_corpus
from engine.data.pairs import tokenize_pairs
from engine.data.prompts import PromptSet, load_prompts
from engine.errors import DataError
from engine.models.micro import micro_model
from engine.spec.models import CorpusChoice, PromptChoice
from tests.data.test_pairs import Pieces

CASES = Path(__file__).parent / "cases"


def read(name: str) -> PromptSet:
    return load_prompts(PromptChoice(name=name), CASES)


def refusal(name: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(name)
    return caught.value


def test_a_sound_file_is_read_whole():
    pairs = tokenize_pairs(read("good.jsonl"), Pieces(), strict=True)
    assert pairs.ids.tolist() == ["fr", "de", "it", "jp"]


def test_two_pairs_under_twelve_ids_are_refused_with_their_lines():
    error = refusal("same_pair_repeated.jsonl")
    assert error.problem == "2 different prompts under 12 ids"
    assert error.where == f"{CASES / 'same_pair_repeated.jsonl'}:3"
    said = [line.strip() for line in error.seen.splitlines()]
    equal = "clean, corrupted, answer and wrong_answer are equal"
    assert said[:3] == [
        f"line 3 repeats line 1: {equal}",
        f"line 4 repeats line 2: {equal}",
        f"line 5 repeats line 1: {equal}",
    ]
    assert len(said) == 10


def test_prompts_that_end_in_a_space_are_read_and_an_answer_without_its_own_is_explained():
    prompts = read("trailing_space.jsonl")
    assert len(tokenize_pairs(prompts, Pieces(), strict=True)) == 4
    bare = prompts.table.assign(answer=prompts.table["answer"].str.strip())
    unspaced = PromptSet(prompts.name, bare, prompts.hash, prompts.source)
    with pytest.raises(DataError, match="the prompt's last space is in one token with answer 'Paris'"):
        tokenize_pairs(unspaced, Pieces())


def test_a_file_in_windows_encoding_is_refused_with_line_and_byte():
    error = refusal("cp1252.csv")
    assert (error.problem, error.where) == ("not UTF-8", f"{CASES / 'cp1252.csv'}:2")
    assert error.seen.startswith("the byte 0x92, byte 29 of the line")


def test_a_subject_with_a_combining_accent_is_found_in_a_composed_prompt():
    written = [json.loads(line) for line in (CASES / "nfd_subject.jsonl").read_text().splitlines()]
    assert written[-1]["subject"] not in written[-1]["clean"]
    peru = read("nfd_subject.jsonl").table.iloc[-1]
    assert peru["subject"] in peru["clean"]
    assert peru["subject"] == unicodedata.normalize("NFC", written[-1]["subject"])


def test_a_corpus_with_half_of_a_character_is_refused_with_its_line():
    choice = CorpusChoice(name="corpus_surrogate.jsonl")
    where = f"{CASES / 'corpus_surrogate.jsonl'}:8"
    for read_it in (
        lambda: count_characters(choice, CASES),
        lambda: load_corpus(choice, CASES, micro_model()),
    ):
        with pytest.raises(DataError, match="text is not valid Unicode") as caught:
            read_it()
        assert caught.value.where == where
