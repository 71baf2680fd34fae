"""Pairs, and the scale on which what a patch did is read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.lab.patch_pairs import SITES, Sweep, answer_direction, empty_sweep, logit_differences


def test_rows_keep_the_parts_of_a_pair_together(pairs):
    pairs = replace(pairs, base_start=torch.rand(3, 8, 4))
    some = pairs.rows([2, 0])
    assert len(some) == 2
    assert some.source_start is None
    for name in vars(pairs).keys() - {"source_start"}:
        assert torch.equal(getattr(some, name), getattr(pairs, name)[[2, 0]])


def test_reversing_exchanges_the_prompts_and_not_the_answers(pairs):
    other = pairs.reversed()
    assert torch.equal(other.base, pairs.source) and torch.equal(other.source, pairs.base)
    assert torch.equal(other.answer, pairs.answer) and torch.equal(other.wrong_answer, pairs.wrong_answer)
    assert torch.equal(other.reversed().base, pairs.base)


def test_an_effect_is_0_at_the_base_run_and_1_at_the_source_run():
    values = np.array([[[1.0, 3.0, 5.0]], [[10.0, 10.0, 0.0]]])  # prompt layer pos
    found = Sweep({"mlp_out": values}, base=np.array([1.0, 10.0]), source=np.array([5.0, 20.0]))
    assert found.normalised()["mlp_out"].tolist() == [[[0, 0.5, 1]], [[0, 0, -1]]]


def test_another_run_may_be_the_1_of_the_scale_and_heads_are_scaled_by_prompt_too():
    heads = np.full((2, 1, 3, 4), 6.0)  # prompt layer pos head
    found = Sweep({"z": heads}, base=np.array([2.0, 4.0]), source=np.array([3.0, 5.0]))
    effects = found.normalised(source=np.array([10.0, 8.0]))["z"]
    assert effects[0].flatten().tolist() == [0.5] * 12
    assert effects[1].flatten().tolist() == [0.5] * 12


def test_a_sweep_begins_with_nothing_measured(model, pairs):
    empty = empty_sweep(model, pairs, SITES)
    grid = (3, model.n_layers, pairs.base.shape[1])
    assert {site: values.shape for site, values in empty.patched.items()} == {
        site: (*grid, 4) if site == "z" else grid for site in SITES
    }
    assert all(np.isnan(values).all() for values in (*empty.patched.values(), empty.base, empty.source))


def test_differences_along_the_answers_direction_are_those_of_the_logits(model, pairs):
    resid = model.forward(pairs.base).resid[torch.arange(3), pairs.last]
    logits = model.unembed(resid)
    expected = [
        float(logits[i, pairs.answer[i]] - logits[i, pairs.wrong_answer[i]]) for i in range(len(pairs))
    ]
    found = logit_differences(model, resid, answer_direction(model, pairs))
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
