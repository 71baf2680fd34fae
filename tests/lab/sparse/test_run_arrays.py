"""A coder comes back from the arrays of its run as it was, and what is no coder is said to be none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.sparse.coder import Coder, unit_rows
from engine.lab.sparse.run_arrays import ARRAYS, arrays_of, coder_of, require_arrays

D, LATENTS, K = 6, 10, 3
RATES = np.linspace(0, 1, LATENTS)


def coder(architecture: Any = "topk", threshold: float | None = None, scale: float = 1.0) -> Coder:
    g = torch.Generator().manual_seed(0)
    W_dec = unit_rows(torch.randn(LATENTS, D, generator=g))
    W_enc = torch.randn(D, LATENTS, generator=g)
    b_enc, b_dec = torch.randn(LATENTS, generator=g), torch.randn(D, generator=g)
    return Coder(W_enc, b_enc, W_dec, b_dec, architecture, K, threshold, scale)


def rows() -> torch.Tensor:
    return 3 * torch.randn(40, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("architecture", "threshold"), [("topk", None), ("batchtopk", 1.5)])
def test_what_a_run_holds_codes_and_decodes_as_the_coder_did(
    architecture: str, threshold: float | None
) -> None:
    made = coder(architecture, threshold)
    back = coder_of(arrays_of(made, RATES), "the run")
    assert (back.architecture, back.k, back.threshold) == (made.architecture, K, made.threshold)
    torch.testing.assert_close(back.encode(rows()), made.encode(rows()), atol=1e-6, rtol=1e-6)
    assert made.encode(rows()).any()


@pytest.mark.parametrize(
    "made", [coder(scale=0.25), coder("batchtopk", 1.5, 0.25)], ids=["topk", "batchtopk"]
)
def test_the_scale_of_training_is_folded_away_so_that_codes_are_in_the_models_units(made: Coder) -> None:
    arrays = arrays_of(made, RATES)
    assert arrays["scale"].tolist() == [1.0]
    back = coder_of(arrays, "the run")
    torch.testing.assert_close(back.encode(rows()), made.encode(rows()) / 0.25, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(back.reconstruct(rows()), made.reconstruct(rows()), atol=1e-5, rtol=1e-5)


def test_arrays_are_in_single_precision_with_the_firing_rates_beside_them() -> None:
    arrays = arrays_of(coder(), RATES)
    assert set(arrays) == {*ARRAYS, "firing_rate", "batchtopk"}
    assert arrays["firing_rate"] == pytest.approx(RATES, abs=1e-7)
    assert {array.dtype for name, array in arrays.items() if name not in ("k", "batchtopk")} == {
        np.dtype(np.float32)
    }
    assert (arrays["k"].tolist(), arrays["batchtopk"].tolist()) == ([K], [False])


def test_a_run_from_before_batchtopk_is_a_topk_whatever_its_threshold_says() -> None:
    arrays = arrays_of(coder(), RATES)
    del arrays["batchtopk"]
    back = coder_of(arrays, "the run")
    assert (back.architecture, back.threshold) == ("topk", None)


def test_a_coder_may_change_without_the_file_that_its_arrays_are_mapped_from() -> None:
    arrays = arrays_of(coder(), RATES)
    for array in arrays.values():
        array.flags.writeable = False  # as safetensors maps them
    before = arrays["W_dec"].copy()
    coder_of(arrays, "the run").W_dec.zero_()
    assert np.array_equal(arrays["W_dec"], before)


def test_a_run_that_is_no_sae_is_named_with_the_arrays_that_it_lacks() -> None:
    arrays = arrays_of(coder(), RATES)
    del arrays["k"], arrays["W_enc"]
    with pytest.raises(DataError, match=r"saes\[seed=3\] is no trained SAE") as caught:
        coder_of(arrays, "saes[seed=3]")
    assert caught.value.seen == "no W_enc, k"
    assert caught.value.expected == "arrays W_enc, b_enc, W_dec, b_dec, threshold, scale, k"


def test_only_the_arrays_that_are_asked_for_are_required() -> None:
    require_arrays({"W_dec": np.zeros(1)}, ["W_dec"], "the run")
    with pytest.raises(DataError, match="the run is no trained SAE"):
        require_arrays({}, ["W_dec"], "the run")
