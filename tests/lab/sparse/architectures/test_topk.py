"""Top-K: what it keeps, and its k and rescaling in a SAELens folder."""

import pytest
import torch

from engine.errors import DataError
from engine.lab.sparse.architectures import topk

PRE = torch.tensor([[3.0, -1.0, 2.0, 1.0], [-4.0, -3.0, -2.0, 0.5]])


def test_the_k_largest_of_each_row_are_kept_where_they_are_positive():
    codes, smallest = topk.select(PRE, 2)
    assert codes.dense().tolist() == [[3, 0, 2, 0], [0, 0, 0, 0.5]]
    assert smallest is None
    assert torch.equal(topk.infer(PRE, 2, None).dense(), codes.dense())


def test_lengths_weigh_in_the_choice_and_not_in_the_codes():
    codes, _ = topk.select(PRE, 1, lengths=torch.tensor([1.0, 1, 1, 9]))
    assert codes.dense().tolist() == [[0, 0, 0, 1], [0, 0, 0, 0.5]]


def test_rescaled_weights_choose_and_decode_alike():
    g = torch.Generator().manual_seed(0)
    weights = {"W_enc": torch.randn(5, 8, generator=g), "b_enc": torch.randn(8, generator=g)}
    weights |= {"W_dec": torch.randn(8, 5, generator=g), "b_dec": torch.randn(5, generator=g)}
    x = torch.randn(20, 5, generator=g)
    loaded = topk.load(weights, {"k": 3, "rescale_acts_by_decoder_norm": True}, "cfg.json")
    pre = x @ weights["W_enc"] + weights["b_enc"]
    theirs = topk.select(pre, 3, lengths=weights["W_dec"].norm(dim=1))[0].dense() @ weights["W_dec"]
    ours = topk.infer(x @ loaded["W_enc"] + loaded["b_enc"], 3, None).dense() @ loaded["W_dec"]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("k", [None, True, 2.0])
def test_a_configuration_without_k_is_refused(k):
    with pytest.raises(DataError, match="says its k"):
        topk.load({}, {"k": k}, "cfg.json")
