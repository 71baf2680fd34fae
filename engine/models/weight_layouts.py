"""How each architecture keeps its weights: one entry of a table each, from which blocks are put together.

A new one whose blocks are made of parts that `blocks.py` has is a new entry here and a word in
`DecoderStyle`. Read `LLAMA` first: it is all defaults, and the others say where they differ. Names are
Hugging Face's, those of a block's parts without `model.layers.N.`; an empty name is a part that the
architecture does not have. What a checkpoint's configuration decides (sizes, scales, windows, soft caps) is
in no entry: `anatomy.py` reads it off the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

DecoderStyle = Literal["llama", "gpt2", "gpt_neox", "qwen3", "gemma2", "gemma3", "phi3", "olmo2", "bridge"]
"""How blocks are put together; several classes of Hugging Face share a style. "bridge" is none of ours: the
blocks of such a model are TransformerLens's (`bridged.py`)."""
Windows = Literal["never", "every layer", "by layer"]
"""Which layers read a sliding window of the past, where the configuration has one."""
Joint = Literal["apart", "side by side", "head by head"]
"""How queries, keys and values lie: three matrices, W_Q W_K W_V in one, or one with q k v of head 0 first."""
NormKind = Literal["layer", "rms", "wide rms", "rms around 1"]
"""LayerNorm; RMSNorm; RMSNorm whose weight is applied before rounding to the model's dtype (OLMo 2); the same
with a weight that is stored as its difference from 1 (Gemma)."""


@dataclass(frozen=True)
class WeightLayout:
    """Names of weights and how they lie. `classes` are Hugging Face's, with the layers that see windows.

    `transposed`: matrices are stored "in out". `caps_attention`: scores are capped where the configuration
    has a cap. `wide_rotary`: queries and keys are rotated in fp32 whatever the dtype.
    """

    classes: Mapping[str, Windows]
    embedding: str = "model.embed_tokens"
    positions: str = ""
    blocks: str = "model.layers"
    final_norm: str = "model.norm"
    norm: NormKind = "rms"
    attention_norm: str = "input_layernorm"
    attention_post_norm: str = ""
    attention: str = "self_attn"
    projections: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    joint: Joint = "apart"
    query_norm: str = ""
    key_norm: str = ""
    attention_output: str = "self_attn.o_proj"
    mlp_norm: str = "post_attention_layernorm"
    mlp_post_norm: str = ""
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    gate_up: str = ""
    down: str = "mlp.down_proj"
    transposed: bool = False
    caps_attention: bool = False
    wide_rotary: bool = False


LLAMA = WeightLayout(
    classes={"LlamaForCausalLM": "never", "MistralForCausalLM": "every layer", "Qwen2ForCausalLM": "by layer"}
)
QWEN3 = replace(
    LLAMA,
    classes={"Qwen3ForCausalLM": "by layer"},
    query_norm="self_attn.q_norm",
    key_norm="self_attn.k_norm",
)
PHI3 = replace(
    LLAMA,
    classes={"Phi3ForCausalLM": "every layer"},
    projections=("self_attn.qkv_proj",),
    joint="side by side",
    gate="",
    up="",
    gate_up="mlp.gate_up_proj",
)
# No norm before attention and MLP: what they write is normed, and they read the stream as it is.
OLMO2 = replace(
    QWEN3,
    classes={"Olmo2ForCausalLM": "never"},
    norm="wide rms",
    attention_norm="",
    attention_post_norm="post_attention_layernorm",
    mlp_norm="",
    mlp_post_norm="post_feedforward_layernorm",
    wide_rotary=True,  # queries and keys are rotated in fp32
)
GEMMA2 = replace(
    LLAMA,
    classes={"Gemma2ForCausalLM": "by layer"},
    norm="rms around 1",
    attention_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    caps_attention=True,
)
# Its attention takes no cap, whatever the configuration says: Hugging Face's does not either.
GEMMA3 = replace(
    GEMMA2,
    classes={"Gemma3ForCausalLM": "by layer"},
    query_norm="self_attn.q_norm",
    key_norm="self_attn.k_norm",
    caps_attention=False,
)
GPT_NEOX = WeightLayout(
    classes={"GPTNeoXForCausalLM": "never"},
    embedding="gpt_neox.embed_in",
    blocks="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    norm="layer",
    attention="attention",
    projections=("attention.query_key_value",),
    joint="head by head",
    attention_output="attention.dense",
    gate="",
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
)
GPT2 = WeightLayout(
    classes={"GPT2LMHeadModel": "never"},
    embedding="transformer.wte",
    positions="transformer.wpe",
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    norm="layer",
    attention_norm="ln_1",
    attention="attn",
    projections=("attn.c_attn",),
    joint="side by side",
    attention_output="attn.c_proj",
    mlp_norm="ln_2",
    gate="",
    up="mlp.c_fc",
    down="mlp.c_proj",
    transposed=True,  # stored "in out"
)
LAYOUTS: Mapping[DecoderStyle, WeightLayout] = MappingProxyType(
    {
        "llama": LLAMA,
        "gpt2": GPT2,
        "gpt_neox": GPT_NEOX,
        "qwen3": QWEN3,
        "gemma2": GEMMA2,
        "gemma3": GEMMA3,
        "phi3": PHI3,
        "olmo2": OLMO2,
    }
)


def style_of(class_name: str) -> DecoderStyle | None:
    """The style of one of Hugging Face's classes; None for one that has no entry."""
    for style, layout in LAYOUTS.items():
        if class_name in layout.classes:
            return style
    return None


def known_classes() -> list[str]:
    """Hugging Face's classes that the plain path computes, in the table's order."""
    return [name for layout in LAYOUTS.values() for name in layout.classes]
