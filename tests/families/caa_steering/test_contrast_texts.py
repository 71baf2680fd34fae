"""Both texts of a contrast as token ids: what they share, what counts, and what is read of it."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from engine.errors import DataError
from engine.families.caa_steering.contrast_texts import (
    answer,
    beginning,
    beginnings,
    contrast_texts,
    read_texts,
)
from engine.models.micro import WORDS, micro_model
from engine.models.sites import site_of

MODEL = micro_model()
ROW = {
    "id": "a",
    "prompt": "the city of Spain",
    "positive": "the city of Spain is red .",
    "negative": "the city of Spain is green",
}
TABLE = pd.DataFrame([ROW, {**ROW, "id": "b", "positive": "the city of Spain sat"}])


def test_what_counts_begins_where_the_two_texts_differ():
    texts = contrast_texts(MODEL, TABLE, "plain")
    words = [
        MODEL.token_strings(row[start:]) for row, start in zip(*vars(texts.positive).values(), strict=True)
    ]
    assert words == [["red", "."], ["sat"]]
    assert texts.negative.starts == [5, 4]
    assert texts.negative.n_tokens.tolist() == [1, 2]


def test_an_instruction_stands_in_front_and_counts_for_nothing():
    texts = contrast_texts(MODEL, TABLE, "plain", "Fact :")
    assert MODEL.token_strings(texts.positive.rows[0][:3]) == ["Fact", ":", "the"]
    assert texts.positive.starts == [7, 6]


def test_in_a_chat_the_beginning_is_the_request_and_the_instruction_the_system_text():
    model = micro_model(vocab_words=(*WORDS, "user", "system", "end", "assistant"))
    model.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} end {% endfor %}assistant "
    )
    texts = contrast_texts(model, TABLE, "chat", "Fact :")
    assert model.decode(texts.positive.rows[0]) == (
        "system Fact : end user the city of Spain end assistant is red ."
    )
    assert model.token_strings(texts.negative.rows[1][texts.negative.starts[1] :]) == ["is", "green"]
    begun = beginnings(model, TABLE, "chat")[0]
    assert model.decode(begun) == "user the city of Spain end assistant"


def test_texts_that_differ_at_once_count_from_their_second_token():
    rows = pd.DataFrame([{"id": "a", "positive": "red city", "negative": "green city"}])
    assert contrast_texts(MODEL, rows, "plain").positive.starts == [1]


def test_a_text_that_the_other_begins_with_counts_by_its_last_token():
    rows = pd.DataFrame([{"id": "a", "positive": "the city", "negative": "the city sat"}])
    texts = contrast_texts(MODEL, rows, "plain")
    assert (texts.positive.starts, texts.negative.starts) == ([1], [2])


def test_what_both_begin_with_is_the_prompt_or_the_whole_words_they_share():
    assert beginning(ROW) == "the city of Spain"
    assert beginning({**ROW, "prompt": "another text"}) == "the city of Spain is"
    # "re" is in both, and is no word.
    assert beginning({"positive": "the city is red", "negative": "the city is ready"}) == "the city is"
    assert answer(ROW, "positive") == "is red ."


def test_nothing_shared_is_nothing_to_go_on_from():
    rows = pd.DataFrame([{"id": "a", "positive": "red city", "negative": "green city"}])
    with pytest.raises(DataError, match="begin with nothing that both have") as refused:
        beginnings(MODEL, rows, "plain")
    assert refused.value.where == "a" and "open_prompts: 0" in refused.value.hint
    assert [len(ids) for ids in beginnings(MODEL, TABLE, "plain", "Fact :")] == [6, 6]


def test_an_answer_is_read_over_its_tokens_or_at_its_last():
    site = site_of("blocks.0.hook_resid_post", 2)
    texts = contrast_texts(MODEL, TABLE, "plain").positive
    for row, (ids, start) in enumerate(zip(texts.rows, texts.starts, strict=True)):
        # Alone, without padding.
        with torch.no_grad():
            stream = MODEL.layers(MODEL.embed(torch.tensor([list(ids)])), stop=1)[0]
        mean = read_texts(MODEL, texts, site, "answer")[row]
        torch.testing.assert_close(mean, stream[start:].mean(0), atol=1e-5, rtol=0)
        last = read_texts(MODEL, texts, site, "last")[row]
        torch.testing.assert_close(last, stream[-1], atol=1e-5, rtol=0)
