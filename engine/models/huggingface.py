"""The same weights as a Hugging Face model and as a TransformerBridge, and the proof that all paths agree.

Both share their parameters' storage with the plain path. The bridge replaces the submodules of the model it
is given, so it gets a module tree of its own. Importing transformers takes seconds, so it happens inside the
functions of this file, and in convert.py, which is imported when a model is converted.
"""

from __future__ import annotations

import contextlib
import copy
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.errors import ModelError
from engine.models.checkpoint import placed
from engine.models.process_guard import process_as_before
from engine.models.rounding import rounding_limit

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformer_lens.model_bridge import TransformerBridge

    from engine.models.hooked import HookedModel

PROBE = "Fact: The capital city of France is the city of"


@dataclass(frozen=True)
class Parity:
    """Largest absolute logit differences from the Hugging Face forward, and the largest logit met."""

    plain: float
    bridge: float
    largest_logit: float


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, advice or network from transformers while a model is built from what is here."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging

        level = logging.get_verbosity()
        bars = logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def build(config: Mapping[str, Any], weights: Mapping[str, Tensor], attention: str = "sdpa") -> Any:
    """A Hugging Face model around `weights`, none of them copied. `attention` is "sdpa" or "eager".

    Architectures that torch's kernels cannot compute (Gemma 2, whose scores are capped) are eager always.
    """
    with quiet():
        from transformers import AutoConfig, AutoModelForCausalLM

        settings = AutoConfig.for_model(**config)
        kind: Any = AutoModelForCausalLM._model_mapping.get(type(settings), None)
        settings._attn_implementation = attention if getattr(kind, "_supports_sdpa", True) else "eager"
        # Without storage first: random initial weights would take the memory and time of a second model.
        hf = filled(empty(settings, next(iter(weights.values())).dtype), weights)
    # Buffers are made on the CPU; the weights may lie on a GPU.
    hf.to(next(iter(weights.values())).device)
    return hf.requires_grad_(False)


def empty(config: Any, dtype: torch.dtype) -> Any:
    """The Hugging Face model of a configuration, its parameters without storage."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    # Buffers such as rotary frequencies are computed from the configuration and are in no weight file.
    with init_empty_weights(include_buffers=False):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def filled(hf: Any, weights: Mapping[str, Tensor]) -> Any:
    """An empty model with its parameters put in, none copied; ModelCorrupt unless they fill it exactly."""
    expected = {name: tensor.shape for name, tensor in hf.state_dict().items()}
    # Which tensors are one is the configuration's to say; transformers keeps the names for both cases.
    tied = hf._tied_weights_keys if hf.config.tie_word_embeddings else {}
    tensors = placed(weights, expected, tied, hf.base_model_prefix)
    # `assign` puts the tensors themselves in; not strict, since a tied head is not among them.
    hf.load_state_dict(tensors, strict=False, assign=True)
    # Assigning put a new tensor into the embedding: the head has to be pointed at it again.
    hf.tie_weights()
    return hf.eval()


def boot(hf: Any, tokenizer: Any, name: str) -> TransformerBridge:
    """A TransformerBridge around `hf`, whose submodules it replaces; nothing else of the process changes."""
    # The bridge goes by the class that a configuration names; one that was built in code names none.
    hf.config.architectures = [type(hf).__name__]
    with quiet():
        from transformer_lens.model_bridge import TransformerBridge

        parameter = next(hf.parameters())
        with process_as_before(hf):
            bridge = TransformerBridge.boot_transformers(
                # For the record alone. By itself a short name is one of an alias, of which it would warn.
                f"loaded:{name}",
                hf_model=hf,
                # A copy, since the bridge sets padding and special tokens on the one it is given.
                tokenizer=copy.deepcopy(tokenizer),
                device=str(parameter.device),
                dtype=parameter.dtype,
            )
    bridge.requires_grad_(False)  # a joint projection is split into fresh parameters
    return bridge


def parity(model: HookedModel) -> Parity:
    """How far the plain path and the bridge are from the Hugging Face forward, over the probe text.

    Each is compared with Hugging Face's forward on the attention kernel it uses itself (the bridge must use
    eager attention to hook scores); the two kernels alone differ by up to 5e-5 on SmolLM2, by rounding.
    """
    input_ids = torch.tensor(model.token_ids([PROBE]), device=model.device)
    with torch.no_grad():
        expected = model.hf(input_ids, use_cache=False).logits
        eager = build(model.config, model.weights, "eager")(input_ids, use_cache=False).logits
        return Parity(
            plain=_difference(model.logits(input_ids), expected),
            bridge=_difference(model.bridge(input_ids, prepend_bos=False), eager),
            largest_logit=float(expected.abs().max()),
        )


def require_parity(found: Parity, model: HookedModel) -> None:
    """ModelError where a path differs from the Hugging Face forward by more than rounding explains."""
    limit = rounding_limit(model.dtype, model.shape, found.largest_logit)
    # Where the engine has no blocks of its own, its forward is the bridge's, read and started at hooks.
    own = "plain" if model.is_plain else "hooked"
    for path, difference in ((own, found.plain), ("bridge", found.bridge)):
        # `not <=`, so that NaN fails as well.
        if not difference <= limit:
            raise ModelError(
                f"the {path} logits of {model.name} do not equal the Hugging Face forward in {model.dtype}",
                expected=f"largest difference {limit:.2g} or less",
                seen=f"{difference:g}",
            )


def device_gap(model: HookedModel, on_cpu: HookedModel) -> float:
    """The largest logit difference of a device's forward from the CPU's, over the probe text."""
    input_ids = torch.tensor(model.token_ids([PROBE]))
    with torch.no_grad():
        there = model.logits(input_ids.to(model.device))
        return _difference(there.cpu(), on_cpu.logits(input_ids))


def require_device(gap: float, largest_logit: float, model: HookedModel) -> None:
    """ModelError where a device computes other logits than the CPU, by more than rounding explains."""
    limit = rounding_limit(model.dtype, model.shape, largest_logit)
    # `not <=`, so that NaN fails as well.
    if not gap <= limit:
        raise ModelError(
            f"{model.device} computes other logits than the CPU for {model.name} in {model.dtype}",
            expected=f"largest difference {limit:.2g} or less, as rounding explains",
            seen=f"{gap:g}",
            hint="MECH_DEVICE=cpu: what such a device computes is wrong without a word",
        )


def _difference(seen: Tensor, expected: Tensor) -> float:
    return float((seen.float() - expected.float()).abs().max())


def wrap_tokenizer(text: Tokenizer, folder: Path | None) -> Any:
    """The Hugging Face tokenizer of a model folder, or one around a tokenizer that was built in code."""
    with quiet():
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        if folder is not None:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return PreTrainedTokenizerFast(tokenizer_object=text, unk_token="<unk>", pad_token="<pad>")
