"""Models small enough to build in code: what tests and calibrations run on, with no network and no files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

from engine.models.anatomy import Anatomy
from engine.models.hooked import HookedModel
from engine.models.known import ModelShape

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTEXT_TOKENS = 128
MicroStyle = Literal["llama", "gpt2"]
"""The two that are built in code: with rotary and with learned positions."""

SENTENCES = """
Fact : The capital city of France Spain Italy Germany Japan is Paris Madrid Rome Berlin Tokyo .
People in the river tower speak a language , and one red cat sat on two green dogs
"""
WORDS = tuple(SENTENCES.split())


def micro_model(
    architecture: MicroStyle = "llama",
    *,
    n_layers: int = 2,
    n_heads: int = 4,
    n_key_value_heads: int = 2,
    d_model: int = 32,
    d_mlp: int | None = None,
    vocab_words: Sequence[str] = WORDS,
    seed: int = 0,
) -> HookedModel:
    """A random model of a real architecture with a one-token-per-word vocabulary, in well under a second.

    Words are separated by spaces; an unknown word becomes `<unk>`. gpt2 has as many key-value heads as heads.
    """
    text = word_tokenizer(vocab_words)
    kv_heads = n_heads if architecture == "gpt2" else n_key_value_heads
    sizes = (n_layers, n_heads, kv_heads, d_model, d_model // n_heads, d_mlp or 4 * d_model)
    anatomy = micro_anatomy(architecture, ModelShape(*sizes, vocab=text.get_vocab_size()))
    name = f"micro-{architecture}-{'x'.join(map(str, sizes))}-seed{seed}"
    weights = random_weights(anatomy, seed)
    return micro_from_weights(weights, anatomy, text, name=name)


def micro_from_weights(
    weights: Mapping[str, Tensor], anatomy: Anatomy, text: Tokenizer, *, name: str
) -> HookedModel:
    """A model around hand-made fp32 weights, named as Hugging Face names them; for planted circuits."""
    return HookedModel(
        name=name,
        hash=name,
        quantisation="",
        dtype="float32",
        device="cpu",
        anatomy=anatomy,
        config=_config(anatomy),
        weights=weights,
        text=text,
    )


def word_tokenizer(words: Sequence[str]) -> Tokenizer:
    """A tokenizer whose tokens are whole words, a word and the same word after a space being one token."""
    # `fromkeys` keeps the first of equal words and their order.
    vocab = {word: i for i, word in enumerate(dict.fromkeys(("<pad>", "<unk>", *words)))}
    text = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    text.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return text


def micro_anatomy(architecture: MicroStyle, shape: ModelShape) -> Anatomy:
    """The usual constants of an architecture for sizes of one's own."""
    pairs = range(0, shape.d_head, 2)
    # theta_j = 10000^(-2j / d_head), one for each pair of dimensions (Su et al. 2021).
    rotary = tuple(10_000.0 ** (-i / shape.d_head) for i in pairs) if architecture == "llama" else ()
    # 1 / sqrt(d_head), as attention is scaled (Vaswani et al. 2017).
    scales = (shape.d_head**-0.5,) * shape.n_layers
    activation = "silu" if architecture == "llama" else "gelu_tanh"
    return Anatomy(architecture, shape, CONTEXT_TOKENS, 1e-5, scales, rotary, activation=activation)


def random_weights(anatomy: Anatomy, seed: int) -> dict[str, Tensor]:
    """Normal weights of a size that keeps activations near 1, norms near 1, biases near 0."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, size: tuple[int, ...]) -> Tensor:
        noise = torch.randn(size, generator=generator)
        # Vectors are norms' weights and biases; matrices are everything else.
        if len(size) == 1:
            # Not exactly 1 and 0, so that a test notices a norm's weight or a bias that was left out.
            return 0.1 * noise + (0.0 if name.endswith("bias") else 1.0)
        embeds = any(part in name for part in ("embed_tokens", "wte", "wpe"))
        # Entries of variance 1 / d_model keep a stream of unit variance near unit variance.
        return noise if embeds else noise * anatomy.shape.d_model**-0.5

    sizes = _llama_sizes(anatomy) if anatomy.style == "llama" else _gpt2_sizes(anatomy)
    return {name: draw(name, size) for name, size in sizes}


def _llama_sizes(anatomy: Anatomy) -> Iterator[tuple[str, tuple[int, ...]]]:
    s = anatomy.shape
    heads = s.n_heads * s.d_head
    kv_heads = s.n_key_value_heads * s.d_head
    yield "model.embed_tokens.weight", (s.vocab, s.d_model)
    for at in (f"model.layers.{i}" for i in range(s.n_layers)):
        for part, rows in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            yield f"{at}.self_attn.{part}_proj.weight", (rows, s.d_model)
        yield f"{at}.self_attn.o_proj.weight", (s.d_model, heads)
        yield f"{at}.mlp.gate_proj.weight", (s.d_mlp, s.d_model)
        yield f"{at}.mlp.up_proj.weight", (s.d_mlp, s.d_model)
        yield f"{at}.mlp.down_proj.weight", (s.d_model, s.d_mlp)
        yield f"{at}.input_layernorm.weight", (s.d_model,)
        yield f"{at}.post_attention_layernorm.weight", (s.d_model,)
    yield "model.norm.weight", (s.d_model,)


def _gpt2_sizes(anatomy: Anatomy) -> Iterator[tuple[str, tuple[int, ...]]]:
    s = anatomy.shape
    yield "transformer.wte.weight", (s.vocab, s.d_model)
    yield "transformer.wpe.weight", (CONTEXT_TOKENS, s.d_model)
    for at in (f"transformer.h.{i}" for i in range(s.n_layers)):
        matrices = {
            # Transformers' Conv1D stores "in out", the other way round than a linear layer.
            "attn.c_attn": (s.d_model, 3 * s.d_model),
            "attn.c_proj": (s.d_model, s.d_model),
            "mlp.c_fc": (s.d_model, s.d_mlp),
            "mlp.c_proj": (s.d_mlp, s.d_model),
        }
        for name, size in matrices.items():
            yield f"{at}.{name}.weight", size
            yield f"{at}.{name}.bias", size[1:]
        for name in ("ln_1", "ln_2"):
            yield f"{at}.{name}.weight", (s.d_model,)
            yield f"{at}.{name}.bias", (s.d_model,)
    yield "transformer.ln_f.weight", (s.d_model,)
    yield "transformer.ln_f.bias", (s.d_model,)


def _config(anatomy: Anatomy) -> dict[str, Any]:
    """The Hugging Face configuration that says the same as the anatomy."""
    s = anatomy.shape
    common = {"vocab_size": s.vocab, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if anatomy.style == "gpt2":
        return common | {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "n_layer": s.n_layers,
            "n_head": s.n_heads,
            "n_embd": s.d_model,
            "n_inner": s.d_mlp,
            "n_positions": anatomy.context_tokens,
            "layer_norm_epsilon": anatomy.norm_epsilon,
        }
    return common | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": s.n_layers,
        "num_attention_heads": s.n_heads,
        "num_key_value_heads": s.n_key_value_heads,
        "hidden_size": s.d_model,
        "head_dim": s.d_head,
        "intermediate_size": s.d_mlp,
        "max_position_embeddings": anatomy.context_tokens,
        "rms_norm_eps": anatomy.norm_epsilon,
        # There is no lm_head among the weights: the embedding is read backwards.
        "tie_word_embeddings": True,
    }
