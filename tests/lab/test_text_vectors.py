"""One vector for each text, against the same computed text by text."""

import pytest
import torch

from engine.lab.site_vectors import activations_at
from engine.lab.text_vectors import pool, text_vectors

TEXTS = [
    "the capital city of France is Paris",
    "cat",
    "a red cat sat on Paris",
    "dog ran",
    "the dog sat on Rome",
]
SITES = ("blocks.1.hook_resid_pre", "blocks.2.mlp.hook_post")


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_each_text_has_what_it_has_alone(model, site, pooling):
    ids = model.token_ids(TEXTS)
    tokens, _, last = model.pad(ids)

    def encode(rows):
        return torch.relu(rows[:, :5] - 0.1)

    vectors, codes = text_vectors(model, tokens, last, site, pooling, encode)
    assert codes is not None and codes.shape == (len(TEXTS), 5)
    for row, own in enumerate(ids):
        alone = activations_at(model, torch.tensor([own]), [site])[site][0]
        # The first token counts only where it is the only one.
        kept = alone[-1:] if pooling == "last" else alone[1:] if len(own) > 1 else alone
        expected = kept.amax(0) if pooling == "max" else kept.mean(0)
        coded = encode(kept).amax(0) if pooling == "max" else encode(kept).mean(0)
        torch.testing.assert_close(torch.tensor(vectors[row]), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.tensor(codes[row]), coded, atol=1e-5, rtol=0)


def test_without_a_dictionary_there_are_no_codes(model):
    tokens, _, last = model.pad(model.token_ids(TEXTS[:1]))
    vectors, codes = text_vectors(model, tokens, last, SITES[0])
    assert codes is None and vectors.shape == (1, model.shape.d_model)


def test_pooling_says_which_tokens_stand_for_a_text():
    values = torch.tensor([[[1.0, 5.0], [3.0, -1.0]]])
    assert pool(values, "last").tolist() == [[3.0, -1.0]]
    assert pool(values, "mean").tolist() == [[2.0, 2.0]]
    assert pool(values, "max").tolist() == [[3.0, 5.0]]
