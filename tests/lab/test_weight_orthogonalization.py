"""Orthogonal weights: what they compute is directional ablation, in every layout that has no post-norms."""

from dataclasses import replace

import pytest
import torch

from engine.errors import ModelError
from engine.lab.directions import ablation_edits, projection
from engine.lab.weight_orthogonalization import orthogonalized, weights_receipt
from tests.models.random_models import random_model

IDS = torch.tensor([[3, 5, 7, 9, 4], [8, 2, 6, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def drawn(seed=3):
    return 4 * torch.randn(32, generator=torch.Generator().manual_seed(seed))


def require_equal(model, direction):
    """Logits of the changed model equal those of ablation, and not those of the model."""
    run = model.forward(IDS, edit=ablation_edits(model, direction), attention_mask=MASK)
    changed = orthogonalized(model, direction)
    weights = changed.logits(IDS, MASK)
    real = MASK.bool()
    assert torch.allclose(weights[real], model.unembed(run.resid)[real], atol=1e-4)
    assert not torch.allclose(weights[real], model.logits(IDS, MASK)[real], atol=1e-2)
    return changed


def test_orthogonal_weights_are_ablation(model):
    changed = require_equal(model, drawn())
    resid = changed.layers(changed.embed(IDS))
    assert float(projection(resid, drawn()).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "phi3 with a window"])
def test_orthogonal_weights_are_ablation_in_other_layouts(name):
    # Biases, a parallel residual, a joint MLP with tied embeddings.
    require_equal(random_model(name), drawn())


def test_a_tied_embedding_is_untied_first(model):
    changed = orthogonalized(model, drawn())
    assert "lm_head.weight" not in model.weights
    assert torch.equal(changed.W_U, model.W_U)
    assert float(projection(changed.decoder.token_embedding, drawn()).abs().max()) < 1e-5
    # Hugging Face's model around the same weights agrees, so that nothing is tied there either.
    theirs = changed.hf(IDS[:1], use_cache=False).logits
    assert torch.allclose(theirs, changed.logits(IDS[:1]), atol=1e-4)


def test_the_model_itself_is_left_as_it_was(model):
    before = {name: weight.clone() for name, weight in model.weights.items()}
    orthogonalized(model, drawn())
    assert all(torch.equal(model.weights[name], weight) for name, weight in before.items())


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2"])
def test_a_model_with_post_norms_is_refused(name):
    with pytest.raises(ModelError, match="norms what attention and MLP write") as error:
        orthogonalized(random_model(name), drawn())
    assert "post-norms" in str(error.value)


def test_a_direction_of_another_width_is_refused(model):
    with pytest.raises(ModelError, match="is not one of"):
        orthogonalized(model, torch.ones(8))


def test_the_receipt_passes_in_fp32_whatever_the_dtype(model):
    narrow = replace(
        model, dtype="bfloat16", weights={name: w.bfloat16() for name, w in model.weights.items()}
    )
    for each in (model, narrow):
        found = weights_receipt(each, drawn(), IDS, MASK)
        assert found.passed
        assert found.value < 2e-5


def test_the_receipt_fails_where_a_writer_was_forgotten(model, monkeypatch):
    from engine.lab import weight_orthogonalization as module

    whole = module._stream_axis
    monkeypatch.setattr(
        module,
        "_stream_axis",
        lambda name, layout: None if layout.down in name else whole(name, layout),
    )
    assert not weights_receipt(model, drawn(), IDS, MASK).passed
