"""How the next token is chosen from logits: the most likely one, or one drawn at random.

A text that is sampled has a generator of its own, seeded by the seed, its prompt's tokens and how many equal
prompts stand before it: what it becomes does not depend on which other texts are continued beside it. Each
draw is a race of exponential clocks, one for every token of the vocabulary (`torch.multinomial`): rounding,
which differs between sizes of batch, turns a draw only where two clocks ring at almost the same time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import SpecError

Logits = Float[Tensor, "batch vocab"]


@dataclass(frozen=True)
class Greedy:
    """Always the most likely token."""

    def choose(self, logits: Logits, generators: Sequence[torch.Generator | None]) -> Int[Tensor, " batch"]:
        """The most likely token of each row; nothing is random."""
        return logits.argmax(-1)

    def generator(self, prompt: Sequence[int], copy: int) -> None:
        """None is needed."""


GREEDY = Greedy()


@dataclass(frozen=True)
class Sampling:
    """A token drawn from softmax(logits / temperature), cut to its nucleus (Holtzman et al. 2020).

    The nucleus is the smallest set of most likely tokens whose probabilities reach `top_p`; 1 cuts nothing.
    SpecError for a temperature that is not above 0, and for a `top_p` outside of (0, 1].
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        # `not >`, so that NaN is refused as well.
        if not 0 < self.temperature < math.inf:
            raise SpecError(
                "a temperature that gives no distribution",
                expected="a number above 0",
                seen=str(self.temperature),
                hint="GREEDY takes the most likely token, which is the limit at 0",
            )
        if not 0 < self.top_p <= 1:
            raise SpecError(
                "top_p is a share of the probability",
                expected="above 0 and at most 1",
                seen=str(self.top_p),
            )
        if not isinstance(self.seed, int):
            raise SpecError("a seed is a whole number", expected="an int", seen=repr(self.seed))

    def choose(self, logits: Logits, generators: Sequence[torch.Generator | None]) -> Int[Tensor, " batch"]:
        """One token of each row, drawn with that row's generator."""
        # On the CPU, whose generators give the same numbers whatever device the model is on.
        probabilities = self.probabilities(logits.float().cpu())
        drawn = [
            torch.multinomial(row, 1, generator=generator)
            for row, generator in zip(probabilities, generators, strict=True)
        ]
        return torch.cat(drawn).to(logits.device)

    def generator(self, prompt: Sequence[int], copy: int) -> torch.Generator:
        """Of the text that continues `prompt`, before which `copy` equal prompts stand."""
        told = ",".join(map(str, (self.seed, copy, *prompt)))
        digest = hashlib.blake2b(told.encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big", signed=True))

    def probabilities(self, logits: Logits) -> Float[Tensor, "batch vocab"]:
        """From what a token is drawn: zero outside of the nucleus, and not scaled up again within."""
        probabilities = (logits / self.temperature).softmax(-1)
        if self.top_p == 1:
            return probabilities
        ranked, tokens = probabilities.sort(-1, descending=True)
        # A token is in the nucleus when those before it have not reached top_p: the first one always is.
        before = ranked.cumsum(-1) - ranked
        return torch.zeros_like(ranked).scatter(-1, tokens, ranked.where(before < self.top_p, 0.0))
