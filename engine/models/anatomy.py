"""What a decoder is made of, beside its weights: recorded once, when the weights are converted.

With it the plain path needs no transformers import (seconds on every start); what it says is read off the
Hugging Face model itself, so rotary scaling and attention scale follow that model, not a formula of ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from engine.errors import ModelError
from engine.models.known import ModelShape
from engine.models.weight_layouts import LAYOUTS, DecoderStyle, WeightLayout, known_classes, style_of

ActivationName = Literal["silu", "gelu", "gelu_tanh"]
ACTIVATIONS: dict[str, ActivationName] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
"""By Hugging Face's names; two of them are one function each."""
BRIDGED_CONTEXT = 2048
"""Tokens that a model reads whose configuration does not say how many (Bloom, MPT: positions have no end)."""


@dataclass(frozen=True)
class Anatomy:
    """Style, sizes and the constants of a decoder.

    `attention_scales` has one factor per layer; `rotary_frequencies` one per pair of the dimensions of a head
    that are rotated, empty where positions are learned. `windows` has for each layer how many positions it
    reads, its own included, 0 where it reads all; empty where all do. Layers with a window rotate by
    `local_rotary_frequencies` where these are given. A cap of 0 is none.
    """

    style: DecoderStyle
    shape: ModelShape
    context_tokens: int
    norm_epsilon: float
    attention_scales: tuple[float, ...]
    rotary_frequencies: tuple[float, ...] = ()
    rotary_scaling: float = 1.0
    activation: ActivationName = "silu"
    windows: tuple[int, ...] = ()
    local_rotary_frequencies: tuple[float, ...] = ()
    local_rotary_scaling: float = 1.0
    attention_cap: float = 0.0
    logit_cap: float = 0.0
    embedding_scale: float = 1.0
    parallel: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Anatomy:
        # JSON has lists where the anatomy has tuples.
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
        }
        fields["shape"] = ModelShape(**record["shape"])
        # Records of the first two styles name no activation.
        fields.setdefault("activation", "gelu_tanh" if record["style"] == "gpt2" else "silu")
        return cls(**fields)


def describe(hf: Any) -> Anatomy:
    """The anatomy of a Hugging Face model; ModelError for one whose blocks the engine does not know."""
    kind = type(hf).__name__
    style = style_of(kind)
    if style is None:
        return _bridged(hf, kind)
    layout = LAYOUTS[style]
    config = hf.config
    blocks = hf.get_submodule(layout.blocks)
    attentions = [block.get_submodule(layout.attention) for block in blocks]
    embedding = hf.get_submodule(layout.embedding)
    _require_causal(config)
    everywhere, local = _rotary(hf)
    cap = getattr(config, "attn_logit_softcapping", None) if layout.caps_attention else None
    return Anatomy(
        style=style,
        shape=_shape(config, attentions[0]),
        context_tokens=_context_tokens(config),
        norm_epsilon=_epsilon(hf.get_submodule(layout.final_norm)),
        attention_scales=tuple(float(attention.scaling) for attention in attentions),
        rotary_frequencies=everywhere[0],
        rotary_scaling=everywhere[1],
        activation=_activation(config),
        windows=_windows(config, layout, kind),
        local_rotary_frequencies=local[0],
        local_rotary_scaling=local[1],
        attention_cap=float(cap or 0.0),
        logit_cap=float(getattr(config, "final_logit_softcapping", None) or 0.0),
        embedding_scale=float(getattr(embedding, "scalar_embed_scale", 1.0)),
        parallel=bool(getattr(config, "use_parallel_residual", False)),
    )


def _bridged(hf: Any, kind: str) -> Anatomy:
    """The sizes of a model whose blocks TransformerLens alone knows; ModelError where it does not either."""
    # Seconds, which only a model without an entry of its own costs.
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    if kind not in SUPPORTED_ARCHITECTURES:
        expected = f"{', '.join(known_classes())}, or one that TransformerLens's bridge boots"
        raise _unsupported("architecture", expected, kind)
    config = hf.config
    n_heads = config.num_attention_heads
    widths = (getattr(config, name, None) for name in ("intermediate_size", "ffn_dim", "n_inner"))
    shape = ModelShape(
        n_layers=config.num_hidden_layers,
        n_heads=n_heads,
        n_key_value_heads=getattr(config, "num_key_value_heads", None) or n_heads,
        d_model=config.hidden_size,
        d_head=getattr(config, "head_dim", None) or config.hidden_size // n_heads,
        d_mlp=next((width for width in widths if isinstance(width, int)), 4 * config.hidden_size),
        vocab=config.vocab_size,
    )
    context = getattr(config, "max_position_embeddings", None) or BRIDGED_CONTEXT
    return Anatomy("bridge", shape, context, norm_epsilon=0.0, attention_scales=())


def _shape(config: Any, attention: Any) -> ModelShape:
    n_heads = config.num_attention_heads
    # A GPT-2 configuration may leave its MLP's width out: it is four times d_model then.
    d_mlp = getattr(config, "intermediate_size", None) or config.n_inner or 4 * config.hidden_size
    return ModelShape(
        n_layers=config.num_hidden_layers,
        n_heads=n_heads,
        n_key_value_heads=getattr(config, "num_key_value_heads", None) or n_heads,
        d_model=config.hidden_size,
        d_head=attention.head_size if hasattr(attention, "head_size") else attention.head_dim,
        d_mlp=d_mlp,
        vocab=config.vocab_size,
    )


def _context_tokens(config: Any) -> int:
    """How long a text may be, as the plain path computes it."""
    rope = getattr(config, "rope_parameters", None) or {}
    # LongRoPE (Ding et al. 2024) has other frequencies for texts beyond the length of the first training: the
    # plain path has those of shorter ones, and refuses longer ones.
    if rope.get("rope_type") == "longrope":
        return rope["original_max_position_embeddings"]
    return config.max_position_embeddings


def _epsilon(norm: Any) -> float:
    # LayerNorm and Gemma's norm call it `eps`, the other RMSNorms `variance_epsilon`.
    return norm.eps if hasattr(norm, "eps") else norm.variance_epsilon


def _activation(config: Any) -> ActivationName:
    names = ("hidden_activation", "hidden_act", "activation_function")
    seen = next(getattr(config, name) for name in names if getattr(config, name, None) is not None)
    if seen not in ACTIVATIONS:
        raise _unsupported("activation", " or ".join(ACTIVATIONS), seen)
    return ACTIVATIONS[seen]


def _windows(config: Any, layout: WeightLayout, kind: str) -> tuple[int, ...]:
    """How many positions each layer reads; empty where no layer has a window."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or []
    if strange := sorted(set(kinds) - {"full_attention", "sliding_attention"}):
        raise _unsupported(
            "attention", "full attention or sliding windows in every layer", ", ".join(strange)
        )
    if layout.classes[kind] == "every layer":
        return (window,) * config.num_hidden_layers if window else ()
    # A configuration may name a window that no layer uses: where layers have their kinds, these decide.
    slides = [name == "sliding_attention" for name in kinds] if kinds else [window is not None]
    if not any(slides):
        return ()
    # Hugging Face would not look at the window, and the checkpoint was perhaps trained with it.
    if layout.classes[kind] == "never" or not window:
        raise _unsupported("attention", "full causal attention in every layer", "sliding windows")
    return tuple(window if slid else 0 for slid in slides)


Rotary = tuple[tuple[float, ...], float]
NO_ROTARY: Rotary = ((), 1.0)


def _rotary(hf: Any) -> tuple[Rotary, Rotary]:
    """Frequencies and scaling of all layers, and of those with a window where they have their own."""
    rotary = getattr(hf.base_model, "rotary_emb", None)
    if rotary is None:
        return NO_ROTARY, NO_ROTARY
    types = rotary.rope_type if isinstance(rotary.rope_type, dict) else {"": rotary.rope_type}
    for kind in types.values():
        # It changes the frequencies with the length of the text; the plain path takes them once.
        if kind == "dynamic":
            raise _unsupported("rotary embedding", "frequencies that do not change with length", kind)
    if "" in types:
        return _frequencies(rotary, ""), NO_ROTARY
    # Gemma 3 has two sets; a model all of whose layers are of one kind has one of them.
    full, sliding = ("full_attention_", "sliding_attention_")
    everywhere = _frequencies(rotary, full) if "full_attention" in types else NO_ROTARY
    local = _frequencies(rotary, sliding) if "sliding_attention" in types else NO_ROTARY
    return (everywhere, local) if everywhere[0] else (local, local)


def _frequencies(rotary: Any, prefix: str) -> Rotary:
    frequencies = getattr(rotary, f"{prefix}inv_freq").tolist()
    return tuple(frequencies), float(getattr(rotary, f"{prefix}attention_scaling"))


def _require_causal(config: Any) -> None:
    # Its blocks would have a part that the plain path does not compute.
    if getattr(config, "add_cross_attention", False):
        raise _unsupported("attention", "causal self-attention alone", "cross-attention")
    if getattr(config, "use_bidirectional_attention", False):
        raise _unsupported("attention", "causal self-attention alone", "bidirectional attention")


def _unsupported(what: str, expected: str, seen: str) -> ModelError:
    return ModelError(f"the engine does not know this model's {what}", expected=expected, seen=seen)
