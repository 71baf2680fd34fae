"""The fast sweep against TransformerLens's own functions: every site, cell and direction."""

from functools import partial

import numpy as np
import pytest
import torch
from transformer_lens import patching as theirs

from engine.lab.patch_pairs import PatchPairs
from engine.lab.patching import sweep
from engine.models.micro import micro_model

TRANSFORMER_LENS = {
    "resid_pre": theirs.get_act_patch_resid_pre,
    "attn_out": theirs.get_act_patch_attn_out,
    "mlp_out": theirs.get_act_patch_mlp_out,
    "z": theirs.get_act_patch_attn_head_out_by_pos,
}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    return micro_model(request.param, n_layers=2)


@pytest.fixture(scope="module")
def pairs(model) -> PatchPairs:
    """Two pairs of one length: one that differs from the first token on, one that differs late."""
    clean = model.token_ids(["cat sat on the tower", "the city of France is"])
    corrupted = model.token_ids(["dog ran under a bridge", "the city of Spain is"])
    base, source = torch.tensor(corrupted), torch.tensor(clean)
    last = torch.full((2,), base.shape[1] - 1)
    return PatchPairs(base, source, last, torch.tensor([5, 7]), torch.tensor([9, 12]))


def metric(logits: torch.Tensor, pair: int, pairs: PatchPairs) -> torch.Tensor:
    return logits[0, -1, pairs.answer[pair]] - logits[0, -1, pairs.wrong_answer[pair]]


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("site", TRANSFORMER_LENS)
def test_the_sweep_equals_get_act_patch(model, pairs, site, direction):
    pairs = pairs if direction == "denoising" else pairs.reversed()
    ours = sweep(model, pairs, sites=[site]).patched[site]
    for pair in range(len(pairs)):
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(pairs.source[[pair]], prepend_bos=False)
            expected = TRANSFORMER_LENS[site](
                model.bridge, pairs.base[[pair]], cache, partial(metric, pair=pair, pairs=pairs)
            )
        scale = max(1.0, float(expected.abs().max()))
        assert np.abs(ours[pair] - expected.numpy()).max() <= 1e-5 * scale
        assert np.ptp(ours[pair]) > 0.01 * scale  # patches do something here
