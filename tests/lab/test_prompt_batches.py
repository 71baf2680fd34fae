"""Prompts in batches with a shared start equal each prompt alone, with edits and without."""

from dataclasses import replace

import pytest
import torch

from engine.errors import DataError
from engine.lab import prompt_batches
from engine.lab.prompt_batches import (
    PromptBatch,
    last_streams,
    over_logits,
    read_prompts,
    streams_before_answer,
    token_rows,
)
from engine.models.micro import micro_model
from engine.models.sites import Site
from engine.spec.sites import RESID_PRE
from tests.data.test_chat import chatty, render

START = "Fact : The capital city of France is Paris and one red cat sat on two green dogs "
TEXTS = ["in the river", "Rome", "People speak a language in the tower of Madrid", "a cat", "is the"]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    return micro_model(request.param, n_layers=3)


@pytest.fixture(scope="module")
def rows(model):
    return model.token_ids([START + text for text in TEXTS])


def edits(n_layers=3):
    direction = torch.randn(32, generator=torch.Generator().manual_seed(3))
    return {Site(n_layers // 2, RESID_PRE): lambda value: value + direction}


def alone(model, row, edit):
    """The slow twin: one whole forward of one prompt."""
    return model.forward(torch.tensor([list(row)]), edit=edit).resid[0, -1]


@pytest.mark.parametrize("edit", [{}, edits()], ids=["plain", "edited"])
def test_batches_equal_each_prompt_alone(model, rows, edit, monkeypatch):
    expected = torch.stack([alone(model, row, edit) for row in rows])
    for at_once in (4, 12, 512):
        monkeypatch.setattr(prompt_batches, "TOKENS_AT_ONCE", at_once)
        for n_shared in (None, 0, 7):
            found = last_streams(model, rows, edit=edit, n_shared=n_shared)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_common_start_is_computed_once(model, rows, monkeypatch):
    embedded = []
    whole = type(model).forward

    def counted(self, input_ids, **more):
        embedded.append(input_ids.shape)
        return whole(self, input_ids, **more)

    monkeypatch.setattr(type(model), "forward", counted)
    last_streams(model, rows)
    assert embedded == [(1, len(START.split()))]


def test_few_shared_positions_are_not_worth_a_forward(model, rows):
    firsts = set()

    def first(batch: PromptBatch):
        firsts.add(batch.first_position)
        return batch.resid[:, 0]

    read_prompts(model, rows, first)
    read_prompts(model, rows[:1], first)
    assert firsts == {len(START.split()), 0}


def test_a_model_behind_a_bridge_reads_whole_prompts(model, rows):
    bridged = replace(model, anatomy=replace(model.anatomy, style="bridge"))
    found = last_streams(bridged, rows, edit=edits())
    torch.testing.assert_close(found, last_streams(model, rows, edit=edits()), atol=1e-4, rtol=0)


def test_logits_are_read_a_few_rows_at_a_time(model, rows, monkeypatch):
    monkeypatch.setattr(prompt_batches, "ROWS_AT_ONCE", 2)
    resid = last_streams(model, rows)
    seen = []

    def top(logits, piece):
        seen.append(piece)
        return logits.amax(-1)

    torch.testing.assert_close(over_logits(model, resid, top), model.unembed(resid).amax(-1))
    assert seen == [slice(0, 2), slice(2, 4), slice(4, 6)]


@pytest.mark.parametrize(
    ("bad", "seen"), [([[]], "0 tokens"), ([[1], [1] * 129], "129 tokens"), ([], "none")]
)
def test_what_cannot_be_read_is_said(model, bad, seen):
    with pytest.raises(DataError) as caught:
        last_streams(model, bad)
    assert caught.value.seen == seen


def test_chat_prompts_lose_their_pads():
    model = chatty()
    found = render(model, {"request": "the capital city of France"}, {"request": "cat"})
    assert token_rows(found) == model.token_ids(found.table["rendered"].tolist())


@pytest.mark.parametrize("n_positions", [1, 3])
def test_streams_before_the_answer_are_those_of_each_prompt_alone(model, rows, n_positions):
    found = streams_before_answer(model, rows, n_positions)
    assert found.shape == (len(rows), 3, n_positions, 32)
    for row, streams in zip(rows, found, strict=True):
        sites = [Site(layer, RESID_PRE) for layer in range(3)]
        run = model.forward(torch.tensor([list(row)]), read=sites)
        for site in sites:
            expected = run.activations[site][0, -n_positions:]
            torch.testing.assert_close(streams[site.layer], expected, atol=1e-5, rtol=0)


def test_streams_of_what_all_prompts_share_are_read_with_each(model):
    # The last two positions are in the common start of these two.
    rows = [[3, 4, 5, 6], [3, 4, 5, 6]] * 20
    assert streams_before_answer(model, rows, 2).shape[2] == 2
    with pytest.raises(DataError, match="no such positions"):
        streams_before_answer(model, rows, 5)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("at_once", [6, 40, 512])
def test_every_thread_has_batches_and_none_is_too_large(threads, at_once, monkeypatch):
    monkeypatch.setattr(prompt_batches, "TOKENS_AT_ONCE", at_once)
    lengths = [3, 9, 1, 4, 4, 8, 2, 5, 5, 7]
    groups = prompt_batches.similar_lengths(lengths, threads)
    assert sorted(prompt for group in groups for prompt in group) == list(range(len(lengths)))
    assert len(groups) % threads == 0 or len(groups) == len(lengths)
    for group in groups:
        longest = max(lengths[prompt] for prompt in group)
        assert len(group) == 1 or len(group) * longest <= at_once
    assert prompt_batches.similar_lengths([4], threads) == [[0]]
