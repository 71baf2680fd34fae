"""The packaged facts: consistent, balanced and without leaks, and of equal token length where it matters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from engine.data.pairs import PromptPairs, TokenIds, tokenize_pairs
from engine.data.prompts import PACKAGED, PromptSet, load_prompts
from engine.models.cards import find_card, is_cached
from engine.models.fetch import fetch
from engine.spec.models import PromptChoice


@pytest.fixture(scope="module")
def facts() -> PromptSet:
    return load_prompts(PromptChoice(name="facts"), Path())


@pytest.fixture(scope="module")
def table(facts: PromptSet) -> pd.DataFrame:
    return facts.table


def test_there_are_enough_facts_of_every_relation(table: pd.DataFrame):
    assert len(table) >= 400 and table["id"].is_unique
    per_relation = Counter(table["relation"])
    # Relations are the clusters: with twelve of them, six and six decide little.
    assert len(per_relation) >= 24 and min(per_relation.values()) >= 20


def test_relations_are_the_clusters(facts: PromptSet, table: pd.DataFrame):
    assert facts.cluster_column == "relation"
    assert facts.clusters.tolist() == table["relation"].tolist()


def test_the_card_and_the_page_count_as_the_set_does(table: pd.DataFrame):
    card = (PACKAGED / "facts.md").read_text()
    page = (Path(__file__).parents[2] / "site/guide/prompts.md").read_text()
    per_relation = table["relation"].value_counts().to_dict()
    assert f"{len(table)} prompt pairs of {len(per_relation)} relations" in card
    assert f"{len(table)} pairs of {len(per_relation)} relations" in page
    rows = {name: int(n) for name, n in re.findall(r"^\| ([a-z-]+) \| (\d+) \|", card, re.M)}
    assert rows == per_relation | {"all": len(table)}


def test_no_fact_contradicts_another_and_wrong_answers_are_true_of_the_corrupted_subject(table: pd.DataFrame):
    assert not table.duplicated(["relation", "subject"]).any()
    truth = table.set_index(["relation", "subject"])["answer"]
    asked = list(zip(table["relation"], table["corrupted_subject"], strict=True))
    assert truth.loc[asked].tolist() == table["wrong_answer"].tolist()


def test_the_two_prompts_of_a_pair_differ_in_the_subject_alone(table: pd.DataFrame):
    for row in table.to_dict("records"):
        assert row["clean"].count(row["subject"]) == 1, row["id"]
        assert row["clean"].replace(row["subject"], row["corrupted_subject"]) == row["corrupted"], row["id"]


def test_every_answer_is_as_often_right_as_wrong_so_that_no_bias_for_a_word_can_help(table: pd.DataFrame):
    for _, relation in table.groupby("relation"):
        assert sorted(relation["answer"]) == sorted(relation["wrong_answer"])


def test_an_answer_is_one_word_after_a_space_that_its_prompt_does_not_give_away(table: pd.DataFrame):
    assert table["answer"].str.fullmatch(r" [A-Za-z]+").all()
    for row in table.to_dict("records"):
        assert row["answer"].strip() not in re.findall(r"\w+", row["clean"]), row["id"]
        assert not row["clean"].endswith((" ", row["subject"])), row["id"]


class CachedTokenizer:
    """A fetched model's tokenizer without its weights."""

    def __init__(self, name: str) -> None:
        from tokenizers import Tokenizer

        if not is_cached(find_card(name)):
            pytest.skip(f"{name} is not cached")
        self.text = Tokenizer.from_file(str(fetch(name) / "tokenizer.json"))

    def token_ids(self, texts: Sequence[str], /) -> list[TokenIds]:
        return [e.ids for e in self.text.encode_batch(list(texts))]

    def pad(self, ids: list[TokenIds], /) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        return padded, torch.ones_like(padded), torch.tensor([len(row) - 1 for row in ids])


@pytest.mark.model
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gpt2"])
def test_every_pair_fits_the_tokenizer_and_subjects_are_where_its_offsets_say(facts: PromptSet, name: str):
    model = CachedTokenizer(name)
    pairs = tokenize_pairs(facts, model, strict=True)
    assert [*zip(*subject_positions(pairs), strict=True)] == [
        subject_by_offsets(model, clean, subject)
        for clean, subject in zip(facts.table["clean"], facts.table["subject"], strict=True)
    ]


def subject_positions(pairs: PromptPairs) -> tuple[list[int], list[int]]:
    assert pairs.subject_first is not None and pairs.subject_last is not None
    return pairs.subject_first.tolist(), pairs.subject_last.tolist()


def subject_by_offsets(model: CachedTokenizer, text: str, subject: str) -> tuple[int, int]:
    start = text.index(subject)
    inside = [
        token
        for token, (first, stop) in enumerate(model.text.encode(text).offsets)
        if stop > start and first < start + len(subject)
    ]
    return inside[0], inside[-1]
