"""The slow twin of the sweep against what patching means, by running the source or the base alone."""

import pytest
import torch

from engine.lab.slow_patching import patch_one


def difference(model, pairs, ids, pair: int) -> float:
    """answer - wrong answer at the last position of one side, unpatched, as Hugging Face has it."""
    with torch.no_grad():
        logits = model.hf(ids[[pair], : int(pairs.last[pair]) + 1]).logits[0, -1]
    return float(logits[pairs.answer[pair]] - logits[pairs.wrong_answer[pair]])


def test_patching_the_only_token_that_differs_makes_the_source_run_and_a_common_one_leaves_the_base(
    model, pairs
):
    differing = patch_one(model, pairs, 0, "resid_pre", 0, 4)
    assert differing == pytest.approx(difference(model, pairs, pairs.source, 0), abs=1e-4)
    common = patch_one(model, pairs, 0, "resid_pre", 0, 0)
    assert common == pytest.approx(difference(model, pairs, pairs.base, 0), abs=1e-4)
    assert abs(differing - common) > 1e-3


@pytest.mark.parametrize("site", ["resid_pre", "attn_out", "mlp_out"])
def test_a_prompt_patched_with_itself_is_unchanged(model, pairs, site):
    same = type(pairs)(pairs.base, pairs.base, pairs.last, pairs.answer, pairs.wrong_answer)
    found = patch_one(model, same, 1, site, 1, 2)
    assert found == pytest.approx(difference(model, pairs, pairs.base, 1), abs=1e-4)


def test_one_head_moves_something_else_than_another_or_the_whole(model, pairs):
    position = int(pairs.last[0])
    by_head = [patch_one(model, pairs, 0, "z", 1, position, head) for head in range(4)]
    whole = patch_one(model, pairs, 0, "z", 1, position)
    base = difference(model, pairs, pairs.base, 0)
    assert len({round(value, 6) for value in (*by_head, whole, base)}) == 6
    assert whole == pytest.approx(patch_one(model, pairs, 0, "attn_out", 1, position), abs=1e-4)
