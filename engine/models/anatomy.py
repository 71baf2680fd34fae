"""What a decoder is made of, beside its weights: recorded once, when the weights are converted.

With it the plain path needs no transformers import (seconds on every start); what it says is read off the
Hugging Face model itself, so rotary scaling and attention scale follow that model, not a formula of ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from engine.errors import ModelError
from engine.models.known import ModelShape

DecoderStyle = Literal["llama", "gpt2"]
"""How blocks are put together; several architectures share a style."""
LLAMA_STYLE = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
GPT2_STYLE = ("GPT2LMHeadModel",)
ACTIVATIONS = {"llama": ("silu", "swish"), "gpt2": ("gelu_new", "gelu_pytorch_tanh")}


@dataclass(frozen=True)
class Anatomy:
    """Style, sizes and the constants of a decoder.

    `attention_scales` has one factor per layer; `rotary_frequencies` one per pair of a head's dimensions,
    empty where positions are learned.
    """

    style: DecoderStyle
    shape: ModelShape
    context_tokens: int
    norm_epsilon: float
    attention_scales: tuple[float, ...]
    rotary_frequencies: tuple[float, ...] = ()
    rotary_scaling: float = 1.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Anatomy:
        # JSON has lists where the anatomy has tuples.
        rest = {
            "shape": ModelShape(**record["shape"]),
            "attention_scales": tuple(record["attention_scales"]),
            "rotary_frequencies": tuple(record["rotary_frequencies"]),
        }
        return cls(**record | rest)


def describe(hf: Any) -> Anatomy:
    """The anatomy of a Hugging Face model; ModelError for one whose blocks the engine does not know."""
    kind = type(hf).__name__
    if kind in LLAMA_STYLE:
        return _llama(hf)
    if kind in GPT2_STYLE:
        return _gpt2(hf)
    raise _unsupported("architecture", ", ".join(LLAMA_STYLE + GPT2_STYLE), kind)


def _llama(hf: Any) -> Anatomy:
    config = hf.config
    core = hf.model
    _require_activation(config.hidden_act, "llama")
    # The plain path attends to all earlier positions: beyond the window its numbers would be others.
    if _slides(config):
        raise _unsupported("attention", "full causal attention in every layer", "sliding windows")
    rotary = core.rotary_emb
    # They change the frequencies with the length of the text; the plain path takes them once.
    if rotary.rope_type in ("dynamic", "longrope"):
        raise _unsupported("rotary embedding", "frequencies that do not change with length", rotary.rope_type)
    return Anatomy(
        style="llama",
        shape=_shape(config, core.layers[0].self_attn.head_dim, config.intermediate_size),
        context_tokens=config.max_position_embeddings,
        norm_epsilon=core.norm.variance_epsilon,
        attention_scales=tuple(float(layer.self_attn.scaling) for layer in core.layers),
        rotary_frequencies=tuple(rotary.inv_freq.tolist()),
        rotary_scaling=float(rotary.attention_scaling),
    )


def _gpt2(hf: Any) -> Anatomy:
    config = hf.config
    core = hf.transformer
    _require_activation(config.activation_function, "gpt2")
    # Its blocks would have a part that the plain path does not compute.
    if config.add_cross_attention:
        raise _unsupported("attention", "causal self-attention alone", "cross-attention")
    return Anatomy(
        style="gpt2",
        # A GPT-2 configuration may leave its MLP's width out: it is four times d_model then.
        shape=_shape(config, core.h[0].attn.head_dim, config.n_inner or 4 * config.n_embd),
        context_tokens=config.max_position_embeddings,
        norm_epsilon=core.ln_f.eps,
        attention_scales=tuple(float(layer.attn.scaling) for layer in core.h),
    )


def _shape(config: Any, d_head: int, d_mlp: int) -> ModelShape:
    n_heads = config.num_attention_heads
    return ModelShape(
        n_layers=config.num_hidden_layers,
        n_heads=n_heads,
        n_key_value_heads=getattr(config, "num_key_value_heads", None) or n_heads,
        d_model=config.hidden_size,
        d_head=d_head,
        d_mlp=d_mlp,
        vocab=config.vocab_size,
    )


def _slides(config: Any) -> bool:
    """Whether any layer sees only a window of the past."""
    # A configuration may name a window that no layer uses: where layers have their kinds, these decide.
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return any(kind != "full_attention" for kind in kinds)
    return getattr(config, "sliding_window", None) is not None


def _require_activation(seen: str, style: str) -> None:
    if seen not in ACTIVATIONS[style]:
        raise _unsupported("activation", " or ".join(ACTIVATIONS[style]), seen)


def _unsupported(what: str, expected: str, seen: str) -> ModelError:
    return ModelError(f"the engine does not know this model's {what}", expected=expected, seen=seen)
