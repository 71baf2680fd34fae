"""What rounding explains grows with the dtype's eps, the depth, the width and the logits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.models.known import ModelShape
from engine.models.rounding import FACTOR, relative_rounding, rounding_limit

SMOLLM2 = ModelShape(
    n_layers=30, n_heads=9, n_key_value_heads=3, d_model=576, d_head=64, d_mlp=1536, vocab=49_152
)


def test_the_limit_follows_from_eps_depth_width_and_the_size_of_logits() -> None:
    # SmolLM2: 30 blocks of width 576. In float32: (1 + sqrt(576 / 16)) * eps / 2 * sqrt(60).
    expected = 7 * torch.finfo(torch.float32).eps / 2 * 60**0.5
    assert relative_rounding("float32", SMOLLM2) == pytest.approx(expected)
    assert rounding_limit("float32", SMOLLM2, 30.0) == pytest.approx(FACTOR * expected * 30)
    assert rounding_limit("float32", SMOLLM2, 60.0) == 2 * rounding_limit("float32", SMOLLM2, 30.0)
    deeper = replace(SMOLLM2, n_layers=4 * SMOLLM2.n_layers)
    assert relative_rounding("float32", deeper) == pytest.approx(2 * expected)


def test_bfloat16_rounds_what_it_stores() -> None:
    # Its products are summed in float32 all the same: width counts for next to nothing.
    wider = replace(SMOLLM2, d_model=4 * SMOLLM2.d_model)
    assert relative_rounding("bfloat16", wider) == pytest.approx(
        relative_rounding("bfloat16", SMOLLM2), rel=1e-3
    )
    assert relative_rounding("bfloat16", SMOLLM2) > 1000 * relative_rounding("float32", SMOLLM2)
