"""The architectures by name, and what each file of one has.

`TRAINABLE` ones select latents in training (`select`); every one does at inference (`infer`) and says what a
SAELens folder holds of it beyond the four weights (`save`). Those of `SAELENS` are read from such a folder
too (`load`), under the names that SAELens gives them. A new architecture is a file and its entries below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from engine.lab.sparse.architectures import batchtopk, jumprelu, relu, topk
from engine.lab.sparse.codes import Codes

ArchitectureName = Literal["topk", "batchtopk", "jumprelu", "relu"]


class Architecture(Protocol):
    """The functions of an architecture's file; `threshold` is a number, or "latent" for jumprelu."""

    SAELENS: str

    def infer(self, pre: Float[Tensor, "row latent"], k: int, threshold: float | Tensor | None) -> Codes: ...

    def save(
        self, k: int, threshold: float | Tensor | None, b_enc: Float[Tensor, " latent"]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]: ...


class TrainableArchitecture(Architecture, Protocol):
    def select(
        self, pre: Float[Tensor, "row latent"], k: int, lengths: Float[Tensor, " latent"] | None = None
    ) -> tuple[Codes, float | None]: ...


class ReadableArchitecture(Architecture, Protocol):
    def load(
        self, weights: Mapping[str, Tensor], config: Mapping[str, Any], where: str
    ) -> dict[str, Any]: ...


ARCHITECTURES: dict[str, Architecture] = {
    "topk": topk,
    "batchtopk": batchtopk,
    "jumprelu": jumprelu,
    "relu": relu,
}
# JumpReLU and ReLU need losses of their own, which gradients.py does not have.
TRAINABLE: dict[str, TrainableArchitecture] = {"topk": topk, "batchtopk": batchtopk}
SAELENS: dict[str, tuple[ArchitectureName, ReadableArchitecture]] = {
    # A BatchTopK that SAELens wrote is a `jumprelu` there, and is read as one.
    topk.SAELENS: ("topk", topk),
    jumprelu.SAELENS: ("jumprelu", jumprelu),
    relu.SAELENS: ("relu", relu),
}
