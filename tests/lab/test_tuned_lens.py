"""Translators: exact where the truth is affine, and equal to plain least squares on a model's own streams."""

import numpy as np
import pytest
import torch

from engine.lab.contexts import cut
from engine.lab.lens import read_lens
from engine.lab.tuned_lens import Translators, divergences, fit_translators, layer_streams
from engine.models.micro import micro_model
from tests.lab.texts import made_up

CONTEXTS = 24


@pytest.fixture(scope="module")
def fitted():
    model = micro_model("llama", n_layers=3)
    contexts = cut(made_up(), model, context_tokens=16)
    return model, contexts, fit_translators(model, contexts, np.arange(CONTEXTS))


def test_the_fit_is_the_weighted_least_squares_of_numpy(fitted):
    model, contexts, translators = fitted
    with torch.no_grad():
        streams, counted = layer_streams(model, contexts, np.arange(CONTEXTS))
    final = streams[-1][counted].double().numpy()
    weight = 1 / np.linalg.norm(final, axis=1, keepdims=True)
    for layer in range(model.n_layers):
        x = streams[layer][counted].double().numpy()
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        slow = x @ np.linalg.lstsq(x * weight, final * weight, rcond=None)[0]
        both = torch.stack([streams[layer][counted], streams[-1][counted]], dim=1)
        every = both[:, :1].expand(-1, model.n_layers, -1)
        fast = translators(torch.cat([every, both[:, 1:]], dim=1))[:, layer].numpy()
        assert np.abs(fast - slow).max() < 2e-3 * np.abs(slow).max()


def test_after_the_last_block_nothing_is_translated(fitted):
    model, contexts, translators = fitted
    ids = contexts.inputs(np.arange(4))[:, :8]
    last = torch.full((4,), 7)
    targets = torch.arange(4)[:, None]
    plain = read_lens(model, ids, last, targets)
    tuned = read_lens(model, ids, last, targets, translators)
    assert (plain.rank[:, -1] == tuned.rank[:, -1]).all()
    assert np.abs(plain.logprob[:, 0] - tuned.logprob[:, 0]).max() > 1e-3


def test_a_fitted_lens_is_nearer_to_the_output_than_one_that_reads_nothing(fitted):
    model, contexts, translators = fitted
    tried = np.arange(CONTEXTS, min(len(contexts), CONTEXTS + 20))
    kl = divergences(model, contexts, tried, translators, np.random.default_rng(0))
    assert set(kl) == {"plain", "tuned", "constant"}
    assert kl["tuned"].shape == (len(tried), model.n_layers + 1)
    assert kl["tuned"][:, -1] == pytest.approx(0, abs=1e-5)
    assert min(kl[lens].min() for lens in kl) > -1e-6
    # The last translated layer has only one block to undo.
    assert kl["tuned"][:, -2].mean() < kl["constant"][:, -2].mean()


def test_translators_keep_the_shape_and_dtype_of_what_they_map():
    translators = Translators(torch.eye(4).expand(2, 4, 4), torch.ones(2, 4), torch.ones(4))
    streams = torch.randn(5, 3, 4).bfloat16()
    moved = translators(streams)
    assert (moved.shape, moved.dtype) == (streams.shape, streams.dtype)
    assert (moved[:, -1] == streams[:, -1]).all()
