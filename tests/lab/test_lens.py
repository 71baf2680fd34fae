"""The lens against the model's own output, and against ranks counted the slow way."""

import numpy as np
import pytest
import torch

from engine.lab.lens import read_lens


def test_the_last_row_is_the_output(model, pairs):
    reading = read_lens(model, pairs.source, pairs.last, pairs.answer[:, None])
    for row, last in enumerate(pairs.last.tolist()):
        with torch.no_grad():
            output = model.hf(pairs.source[[row], : last + 1]).logits[0, -1]
        answer = int(pairs.answer[row])
        assert reading.logprob[row, -1, 0] == pytest.approx(output.log_softmax(-1)[answer].item(), abs=1e-5)
        assert reading.rank[row, -1, 0] == int((output > output[answer]).sum())


def test_each_row_is_the_norm_and_unembedding_of_the_hooked_stream(model, pairs):
    row, last = 1, int(pairs.last[1])
    ids, targets = pairs.source[[row], : last + 1], torch.tensor([[3, 8]])
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(ids, prepend_bos=False)
        reading = read_lens(model, ids, torch.tensor([last]), targets)
        for layer in range(model.n_layers):
            logits = model.unembed(cache[f"blocks.{layer}.hook_resid_pre"][0, -1])
            expected = logits.log_softmax(-1)[targets[0]].numpy()
            np.testing.assert_allclose(reading.logprob[0, layer], expected, atol=1e-5)
            assert reading.rank[0, layer].tolist() == [int((logits > logits[t]).sum()) for t in targets[0]]
