"""What a gradient does where a model is not linear: the rules of relevance propagation, beside the plain one.

A rule changes no activation, only what a backward multiplies by. With all of them, a gradient times an
activation is the relevance that layer-wise relevance propagation gives it:

    frozen_norms        LN-rule: the scale of a norm is a constant (Ali et al. 2022)
    linear_activations  identity rule: f(x) is x times the constant f(x) / x (Jafari et al. 2024)
    halved_products     half rule: of a product of gate and input each factor gets half (Arras et al. 2019)
    frozen_attention    AH-rule: the attention pattern is a constant (Ali et al. 2022)

Linear layers keep their gradient, which is the 0-rule (Montavon et al. 2019). RelP (Jafari, Eberle, Khakzar &
Nanda 2025) is used by its authors with the first three: their code has the AH-rule as well, and leaves it out
where it is introduced. `RELP` is these three; with the fourth, no relevance reaches what queries and keys
read, and every edge into them would score exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Propagation:
    """Which rules a backward follows; none of them is the gradient itself."""

    frozen_norms: bool = False
    linear_activations: bool = False
    halved_products: bool = False
    frozen_attention: bool = False


GRADIENT = Propagation()
RELP = Propagation(frozen_norms=True, linear_activations=True, halved_products=True)


def linearised(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f(x), whose derivative is f(x) / x; for functions through 0 with f'(0) = 1/2 (GELU, SiLU)."""
    value = function(x).detach()
    slope = torch.where(x == 0, 0.5, value / x).detach()
    # The value is f(x) to the last digit: x * slope may differ in it.
    return value + slope * (x - x.detach())


def halved(product: Tensor) -> Tensor:
    """A product of two factors, half of whose gradient goes to each."""
    return (product + product.detach()) / 2
