"""Rows that no coder was trained on: disjoint from training, in order, and joined to what the model read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.activations import Activations
from engine.lab.harvest import harvest
from engine.lab.lab import Lab
from engine.lab.massive_activations import norms
from engine.lab.sparse.coder import random_coder
from engine.lab.sparse.held_out import RECEIPT_CONTEXTS, HeldOutActivations, hold_out
from engine.spec.family_params import HarvestParams
from tests.lab.texts import BOS, made_up, with_bos

SITE, OTHER = "blocks.1.hook_resid_pre", "blocks.0.hook_resid_pre"
MODEL = with_bos()
CORPUS = made_up()


@pytest.fixture(scope="module")
def acts() -> Activations:
    return harvest(MODEL, CORPUS, [SITE, OTHER], folder=None, context_tokens=16)


@pytest.fixture
def lab() -> Lab:
    return Lab(MODEL, corpus=CORPUS, hook_site=SITE)


@pytest.fixture(scope="module")
def held(acts: Activations) -> HeldOutActivations:
    return HeldOutActivations.of(acts.split(0.25)[1], SITE)


def test_training_and_held_out_rows_are_all_rows_and_share_none(acts: Activations, lab: Lab) -> None:
    training, held, massive = hold_out(lab, acts, HarvestParams(held_out=0.25))
    assert (massive.training, massive.held_out) == (0, 0)
    assert training.n_tokens + len(held.ids) == acts.n_tokens
    starts = {f"token {start}" for start in acts.contexts.starts[training.chosen].tolist()}
    assert starts.isdisjoint(held.names)
    assert len(starts) + len(held.names) == acts.n_contexts
    assert len(held.names) == round(0.25 * acts.n_contexts)


def test_of_several_sites_the_first_is_measured_on(acts: Activations, lab: Lab) -> None:
    _, held, _ = hold_out(lab, acts, HarvestParams(held_out=0.25))
    assert held.site == SITE
    found = held.rows(torch.arange(5))
    assert torch.equal(found, acts.split(0.25)[1].rows(SITE, range(5)))


def test_a_row_is_the_models_own_activation_at_its_token(held: HeldOutActivations) -> None:
    for context in (0, len(held.names) - 1):
        rows = np.flatnonzero(held.context == context)
        input_ids = held.inputs(np.array([context]))
        assert held.first_position == 1 and int(input_ids[0, 0]) == BOS
        length = held.first_position + len(rows)
        assert held.ids[rows].tolist() == input_ids[0, 1:length].tolist()
        with torch.no_grad():
            _, cache = MODEL.bridge.run_with_cache(
                input_ids[:, :length], names_filter=SITE, prepend_bos=False
            )
        torch.testing.assert_close(held.rows(torch.from_numpy(rows)), cache[SITE][0, 1:], atol=1e-5, rtol=0)


def test_a_context_is_named_by_where_it_begins_in_the_corpus(held: HeldOutActivations) -> None:
    for context, name in enumerate(held.names):
        start = int(name.removeprefix("token "))
        rows = np.flatnonzero(held.context == context)
        assert held.ids[rows].tolist() == CORPUS.ids[start : start + len(rows)].tolist()


@pytest.mark.parametrize("size", [7, 4096])
def test_batches_hold_every_row_once_in_order_with_its_context(held: HeldOutActivations, size: int) -> None:
    batches = list(held.batches(size))
    assert [len(rows) for rows, _ in batches[:-1]] == [size] * (len(batches) - 1)
    assert torch.equal(torch.cat([rows for rows, _ in batches]), held.rows(torch.arange(len(held.ids))))
    assert torch.cat([context for _, context in batches]).tolist() == held.context.tolist()


def test_codes_of_batches_are_those_of_all_rows_at_once(held: HeldOutActivations) -> None:
    coder = random_coder(32, 48, 4, seed=0)
    whole = coder.codes(held.rows(torch.arange(len(held.ids))))
    assert torch.equal(held.codes(coder).dense(), whole.dense())


def test_texts_are_the_first_contexts_of_full_length(held: HeldOutActivations) -> None:
    input_ids, names = held.texts(3)
    lengths = np.bincount(held.context)
    full = [name for name, length in zip(held.names, lengths, strict=True) if length == 15]
    assert len(full) > 3 and lengths.min() < 15
    assert names == full[:3]
    assert input_ids.shape == (3, 16)  # a BOS and 15 tokens
    everything, all_names = held.texts(10_000)
    assert all_names == full and len(everything) == len(full)


def test_contexts_of_one_token_have_no_next_token_to_measure(held: HeldOutActivations) -> None:
    of_one = {
        "ids": held.ids[:4],
        "context": np.arange(4),
        "names": held.names[:4],
        "lengths": np.ones(4, int),
    }
    short = replace(held, **of_one)
    with pytest.raises(DataError, match="no held-out context has a next token") as caught:
        short.texts(2)
    assert (caught.value.expected, caught.value.seen) == ("2 tokens or more", "1")


def test_receipts_are_of_some_held_out_contexts(
    acts: Activations, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(
        "engine.lab.sparse.held_out.base_receipts_of_contexts",
        lambda model, ids: given.append(ids) or ["one"],
    )
    before = list(lab.receipts)
    _, held, _ = hold_out(lab, acts, HarvestParams(held_out=0.5))
    (input_ids,) = given
    assert torch.equal(input_ids, held.texts(RECEIPT_CONTEXTS)[0])
    assert list(lab.receipts) == [*before, "one"]


def test_massive_tokens_are_neither_trained_nor_measured_on(acts: Activations, lab: Lab) -> None:
    everything = norms(acts, SITE)
    # A limit that two or three in a hundred rows of this model exceed.
    factor = float(np.quantile(everything, 0.97) / np.median(everything))
    training, held, massive = hold_out(lab, acts, HarvestParams(held_out=0.25, max_norm=factor))
    limit = held.norm_limit
    sides = acts.split(0.25)
    assert limit == pytest.approx(factor * np.median(norms(sides[0], SITE)))
    assert massive.training == int((norms(sides[0], SITE) > limit).sum()) > 0
    assert massive.held_out == int((norms(sides[1], SITE) > limit).sum()) > 0
    assert training.n_tokens == sides[0].n_tokens - massive.training
    assert norms(training, SITE).max() <= limit
    rows = torch.cat([batch for batch, _ in held.batches()])
    assert float(rows.norm(dim=1).max()) <= limit
    kept = norms(sides[1], SITE) <= limit
    assert held.ids.tolist() == sides[1].ids[kept].tolist()
    assert held.context.tolist() == sides[1].context[kept].tolist()


def test_a_splice_leaves_massive_tokens_as_they_are(held: HeldOutActivations) -> None:
    x = torch.ones(2, 3, 4)
    x[1, 0] = 100
    found = replace(held, norm_limit=10.0).sparing(torch.zeros_like)(x)
    assert torch.equal(found[1, 0], x[1, 0]) and float(found.sum()) == 400
    assert float(held.sparing(torch.zeros_like)(x).sum()) == 0
