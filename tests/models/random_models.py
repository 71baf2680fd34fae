"""A small random model of every architecture that the plain path knows, made from its configuration.

Each has grouped keys where its architecture allows them, windows shorter than `TEXT`, soft caps that bite and
norms that are not 1, so that a part that is left out shows in the logits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from engine.models.anatomy import describe
from engine.models.hooked import HookedModel
from engine.models.huggingface import quiet
from engine.models.micro import WORDS, word_tokenizer

WINDOW = 4
N_LAYERS = 3
TEXT = "the capital city of France is Paris and one red cat sat on two green dogs in Rome"
PAIR = ("the city of Spain is a red tower in the river", "the city of France is a red tower in the river")
ROTARY = {"rope_type": "default", "rope_theta": 10_000.0}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0, 1.5, 2.0, 3.0],
    "long_factor": [2.0, 3.0, 4.0, 6.0],
    "original_max_position_embeddings": 24,
}
BY_LAYER = ["sliding_attention", "full_attention", "sliding_attention"]
SIZES: dict[str, Any] = {
    "num_hidden_layers": N_LAYERS,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GROUPED = {"num_key_value_heads": 2}
GEMMA = {
    "head_dim": 12,
    "query_pre_attn_scalar": 20,
    "sliding_window": WINDOW,
    "layer_types": BY_LAYER,
    "final_logit_softcapping": 4.0,
    **GROUPED,
}
GEMMA3_ROTARY = {
    "sliding_attention": ROTARY,
    "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e5},
}
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"head_dim": 8, "attention_bias": True, **GROUPED}),
    "mistral with a window": ("Mistral", {"sliding_window": WINDOW, "head_dim": 8, **GROUPED}),
    "qwen2 with windows": (
        "Qwen2",
        {"sliding_window": WINDOW, "use_sliding_window": True, "layer_types": BY_LAYER, **GROUPED},
    ),
    "qwen3": ("Qwen3", {"head_dim": 12, **GROUPED}),
    "qwen3 with windows": (
        "Qwen3",
        {
            "head_dim": 12,
            "sliding_window": WINDOW,
            "use_sliding_window": True,
            "layer_types": BY_LAYER,
            **GROUPED,
        },
    ),
    "gpt_neox": ("GPTNeoX", {"rope_parameters": {**ROTARY, "partial_rotary_factor": 0.5}}),
    "gpt_neox in sequence": (
        "GPTNeoX",
        {
            "use_parallel_residual": False,
            "hidden_act": "gelu_new",
            "rope_parameters": {**ROTARY, "partial_rotary_factor": 1.0},
        },
    ),
    "gemma2": ("Gemma2", {"attn_logit_softcapping": 1.5, **GEMMA}),
    "gemma3": ("Gemma3", {"rope_parameters": GEMMA3_ROTARY, **GEMMA}),
    "phi3": ("Phi3", {"rope_parameters": {**ROTARY, "partial_rotary_factor": 1.0}, **GROUPED}),
    "phi3 with a window": (
        "Phi3",
        {
            "rope_parameters": {**ROTARY, "partial_rotary_factor": 0.5},
            "sliding_window": WINDOW,
            "tie_word_embeddings": True,
            **GROUPED,
        },
    ),
    "phi3 with longrope": (
        "Phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 24, **GROUPED},
    ),
    "olmo2": ("Olmo2", GROUPED),
}
NAMES = tuple(CONFIGURATIONS)
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
BRIDGED: dict[str, tuple[str, dict[str, Any]]] = {
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "gpt_neo": ("GPTNeo", {"attention_types": [[["global", "local", "global"], 1]], "window_size": WINDOW}),
    "gptj": ("GPTJ", {"rotary_dim": 4}),
    "phi": ("Phi", {}),
    "gemma": ("Gemma", {"head_dim": 12, **GROUPED}),
    "stablelm": ("StableLm", GROUPED),
    "olmo": ("Olmo", GROUPED),
    "starcoder2": ("Starcoder2", GROUPED),
    "nemotron": ("Nemotron", GROUPED),
    "cohere": ("Cohere", GROUPED),
    "granite": ("Granite", {"residual_multiplier": 0.5, "logits_scaling": 2.0, **GROUPED}),
    "mixtral": ("Mixtral", {**GROUPED, **EXPERTS}),
    "qwen3_moe": ("Qwen3Moe", {"head_dim": 12, **GROUPED, **EXPERTS}),
}
"""Architectures that the engine reads through TransformerLens's bridge."""
BRIDGED_NAMES = tuple(BRIDGED)
STRENGTH = {False: 2.0, True: 1.4}
"""Of weights, over what keeps activations near 1; less through a bridge, where some MLPs have no gate."""


def random_hugging_face(name: str, *, seed: int = 0, **changes: Any) -> Any:
    """The Hugging Face model, its weights drawn large enough that every part has an effect."""
    import transformers

    prefix, settings = (CONFIGURATIONS | BRIDGED)[name]
    with quiet():
        config_class = getattr(
            transformers, f"{prefix}TextConfig" if prefix == "Gemma3" else f"{prefix}Config"
        )
        vocab = word_tokenizer(WORDS).get_vocab_size()
        config = config_class(**{"vocab_size": vocab, **SIZES, **settings, **changes})
        hf = getattr(transformers, "GPTNeoXForCausalLM" if prefix == "GPTNeoX" else f"{prefix}ForCausalLM")(
            config
        )
    generator = torch.Generator().manual_seed(seed)
    for parameter_name, parameter in hf.named_parameters():
        parameter.data = _drawn(parameter_name, parameter.detach(), generator, STRENGTH[name in BRIDGED])
    return hf.eval().requires_grad_(False)


def _drawn(name: str, parameter: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    noise = torch.randn(parameter.shape, generator=generator)
    if parameter.ndim == 1:
        # A norm's weight is near 1 (near 0 where it is stored as the difference from 1), a bias near 0.
        usual = 0.0 if name.endswith("bias") else float(parameter.mean().round())
        return usual + 0.3 * noise
    if "embed" in name:
        return noise
    # More than what keeps a stream of unit variance near unit variance: attention is far from even.
    return strength * noise * parameter.shape[-1] ** -0.5


@cache
def random_model(name: str) -> HookedModel:
    """The model of one of `NAMES` or `BRIDGED_NAMES`, around the weights of its Hugging Face model."""
    return hooked(random_hugging_face(name), name)


def hooked(hf: Any, name: str) -> HookedModel:
    """A model of the engine's around a Hugging Face model that was built in code."""
    parameters = dict(hf.named_parameters())
    return HookedModel(
        name=name,
        hash=name,
        quantisation="",
        dtype=str(next(iter(parameters.values())).dtype).removeprefix("torch."),
        device="cpu",
        anatomy=describe(hf),
        config=hf.config.to_dict(),
        weights={key: parameter.data for key, parameter in parameters.items()},
        text=word_tokenizer(WORDS),
    )


def token_ids(model: HookedModel, text: str = TEXT) -> Tensor:
    """The test text's tokens, "1 pos"."""
    return torch.tensor(model.token_ids([text]))
