"""How far two computations of one forward may lie apart by rounding alone: what the numerical checks allow.

Padding, another attention kernel or another order of summation changes no number, only how it is rounded. The
model of that rounding, with the unit roundoff u = eps / 2 of a dtype:

1. A matrix product of width d sums d terms, in float32 whatever the dtype, in 16 lanes at a time; its
   relative error grows as u_32 sqrt(d / 16) (Higham & Mary 2019: rounding errors are independent enough to
   add up as a random walk). The result is then stored, which costs another u of the model's own dtype.
2. Every block adds two such results to the residual stream, so that 2 L of them have been added at the end.
   Independent of each other, they leave it with a relative error of (u + u_32 sqrt(d / 16)) sqrt(2 L).
3. A logit is the product of the normed stream with a row of the unembedding: its absolute error is the
   stream's relative one, times the size that logits have. The largest logit stands for it.

Blocks also pass on and stretch what earlier ones rounded, and the largest of 50,000 logits lies in the tail.
Both are in `FACTOR`, which is measured: `python -m tests.bench.receipt_limits` prints how far sound prompts
and planted faults are from the limit. Of SmolLM2's prompts the worst are at 0.24 of it in float32 and 0.42 in
bfloat16. Faults are thousands of times beyond it in float32, and from 1.8 times on in bfloat16, but for one
that only moves the first token one position away from the others: that is less than rounding there.
"""

from __future__ import annotations

import math

import torch

from engine.models.known import ModelShape

LANES = 16
"""How many partial sums a matrix product keeps: a vector register of AVX-512; a GPU keeps more."""
FACTOR = 4.0
"""The limit over the model of rounding above."""


def relative_rounding(dtype: str, shape: ModelShape) -> float:
    """The relative error of the last residual stream (steps 1 and 2)."""
    # `getattr` by name: dtypes are words wherever they are not torch's.
    stored = torch.finfo(getattr(torch, dtype)).eps / 2
    summed = torch.finfo(torch.float32).eps / 2 * math.sqrt(shape.d_model / LANES)
    return (stored + summed) * math.sqrt(2 * shape.n_layers)


def rounding_limit(dtype: str, shape: ModelShape, largest_logit: float) -> float:
    """The largest difference between logits of one forward, computed twice, that rounding explains."""
    return FACTOR * relative_rounding(dtype, shape) * largest_logit
