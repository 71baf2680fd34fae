"""Planted models are what they say: one head looks facts up, and effects add up in a linear one."""

import pytest
import torch

from engine.lab.planted import (
    ANSWERS,
    HEAD,
    LAYER,
    N_LAYERS,
    SUBJECTS,
    estimate_gap,
    linear_model,
    planted_lab,
    planted_model,
)
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, MLP_OUT, Z


def test_the_planted_model_knows_every_fact_of_its_prompts():
    lab = planted_lab()
    assert lab.prompts is not None
    table = lab.prompts.table
    assert len(table) == 32 and table["id"].is_unique
    for column, answers in (("clean", "answer"), ("corrupted", "wrong_answer")):
        input_ids = torch.tensor(lab.model.token_ids(table[column].tolist()))
        said = lab.model.logits(input_ids)[:, -1].argmax(dim=1)
        assert [lab.model.decode([i]) for i in said.tolist()] == [a.strip() for a in table[answers]]


def test_only_the_planted_head_writes_anything():
    model = planted_model()
    ids = torch.tensor(model.token_ids(["Fact France is in"]))
    sites = [Site(layer, kind) for layer in range(N_LAYERS) for kind in (ATTN_OUT, MLP_OUT, Z)]
    seen = model.forward(ids, read=sites).activations
    assert {str(site) for site, value in seen.items() if value.any()} == {
        f"blocks.{LAYER}.hook_attn_out",
        f"blocks.{LAYER}.attn.hook_z",
    }
    z = seen[Site(LAYER, Z)]
    assert [head for head in range(z.shape[2]) if z[:, :, head].any()] == [HEAD]


def test_each_subject_has_one_answer_of_its_own():
    model = planted_model()
    ids = torch.tensor(model.token_ids([f"Well {subject} is in" for subject in SUBJECTS]))
    assert [model.decode([i]) for i in model.logits(ids)[:, -1].argmax(dim=1).tolist()] == list(ANSWERS)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_in_a_linear_model_changes_of_the_stream_add_up(architecture):
    model = linear_model(architecture)
    resid = model.embed(torch.tensor(model.token_ids(["the city of Spain is red"])))
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(resid.shape, generator=generator) for _ in range(2))
    base = model.layers(resid)
    apart = (model.layers(resid + one) - base) + (model.layers(resid + other) - base)
    torch.testing.assert_close(model.layers(resid + one + other) - base, apart, atol=1e-3, rtol=1e-3)


def test_estimates_are_exact_in_it_and_not_once_mlps_write():
    assert estimate_gap(linear_model("llama")) < 1e-4
    assert estimate_gap(linear_model("llama", mlps=True)) > 1e-3
