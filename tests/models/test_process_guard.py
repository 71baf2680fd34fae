"""Booting a bridge leaves every other model of the process as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.errors import ModelError
from engine.models.process_guard import process_as_before
from tests.models.random_models import hooked, random_hugging_face, token_ids


@pytest.mark.parametrize("name", ["gemma2", "gpt_neox", "phi3", "olmo2"])
def test_a_plain_forward_is_the_same_bits_before_and_after_a_bridge_of_another_instance(name: str) -> None:
    plain = random_hugging_face(name)
    other = hooked(random_hugging_face(name, seed=1), name)
    ids = token_ids(other)
    with torch.no_grad():
        before = plain(ids, use_cache=False).logits
        bridged = other.bridge(ids, prepend_bos=False)
        after = plain(ids, use_cache=False).logits
    assert torch.equal(before, after)
    assert not torch.allclose(before, bridged)
    assert "Bridge" not in "".join(type(module).__name__ for module in plain.modules())


def test_what_a_boot_replaces_in_a_class_or_module_is_put_back() -> None:
    import transformers.activations as activations
    from transformers.cache_utils import DynamicCache
    from transformers.models.llama import modeling_llama

    hf = random_hugging_face("llama")
    forward = modeling_llama.LlamaMLP.forward
    rotate = modeling_llama.rotate_half
    silu: Any = activations.SiLUActivation.forward if hasattr(activations, "SiLUActivation") else None
    with process_as_before(hf) as restored:
        modeling_llama.LlamaMLP.forward = lambda self, x: x  # pyright: ignore[reportAttributeAccessIssue]
        modeling_llama.rotate_half = lambda x: x  # pyright: ignore[reportAttributeAccessIssue]
        DynamicCache.an_old_method = lambda self: None  # pyright: ignore[reportAttributeAccessIssue]
        DynamicCache.is_patched = True  # pyright: ignore[reportAttributeAccessIssue]
    assert modeling_llama.LlamaMLP.forward is forward and modeling_llama.rotate_half is rotate
    assert not hasattr(DynamicCache, "an_old_method") and not hasattr(DynamicCache, "is_patched")
    names = {name.rpartition(".")[2] for name in restored}
    assert names == {"forward", "rotate_half", "an_old_method", "is_patched"}
    assert silu is None or activations.SiLUActivation.forward is silu


def test_it_is_put_back_where_the_boot_fails_too() -> None:
    from transformers.models.llama import modeling_llama

    rotate = modeling_llama.rotate_half
    with pytest.raises(RuntimeError), process_as_before(random_hugging_face("llama")):
        modeling_llama.rotate_half = lambda x: x  # pyright: ignore[reportAttributeAccessIssue]
        raise RuntimeError
    assert modeling_llama.rotate_half is rotate


def test_a_setting_of_torch_that_changed_is_an_error() -> None:
    before = torch.get_default_dtype()
    try:
        with (
            pytest.raises(ModelError, match=r"(?s)whole process.*default dtype"),
            process_as_before(random_hugging_face("llama")),
        ):
            torch.set_default_dtype(torch.float64)
    finally:
        torch.set_default_dtype(before)
