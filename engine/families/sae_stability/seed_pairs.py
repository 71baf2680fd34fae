"""SAEs that differ in the random seed alone, compared two by two, with what chance gives beside.

Everything is compared four times: decoder rows and encoder columns, of all latents and of the live ones
(those of each SAE that fire on held-out tokens, against those of the other).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from jaxtyping import Bool

from engine.errors import DataError
from engine.evidence.result import Result
from engine.lab.sparse.matching import (
    Dictionary,
    Matching,
    OtherDictionary,
    match,
    permuted,
    random_directions,
    random_pairing,
    shared,
)
from engine.lab.sparse.run_arrays import require_arrays
from engine.spec.models import Scalar

SIDES = ("decoder", "encoder")
LATENTS = ("all", "live")
ARRAYS = ("W_enc", "W_dec", "firing_rate")
Aspect = tuple[str, str]
"""Which latents, and which side of the SAE: ("live", "decoder")."""


@dataclass(frozen=True)
class SeedDictionary:
    """One seed's features by side, "latent d" each, and which latents fire on held-out tokens."""

    seed: str
    features: dict[str, Dictionary]
    live: Bool[np.ndarray, " latent"]

    def of(self, kind: Aspect) -> Dictionary:
        """The features of one kind."""
        latents, side = kind
        return self.features[side][self.live] if latents == "live" else self.features[side]

    def size(self, latents: str) -> int:
        """How many latents there are, or live."""
        return int(self.live.sum()) if latents == "live" else len(self.live)


@dataclass(frozen=True)
class SeedComparison:
    """All pairs of seeds by kind, in the order of `pairs`; and by chance, in draws or in seeds.

    `random` holds pairs of dictionaries of random directions, by `all` and `live` (as many as are live on
    average); `permuted` two permuted copies of each seed's features; `paired` the cosine of decoder rows
    paired at random, by pair.
    """

    saes: list[SeedDictionary]
    pairs: list[tuple[str, str]]
    matched: dict[Aspect, list[Matching]]
    random: dict[str, list[Matching]]
    permuted: dict[Aspect, list[Matching]]
    paired: list[float]


def seed_dictionaries(by_seed: Mapping[Scalar, Result]) -> list[SeedDictionary]:
    """The dictionaries by seed; DataError where one is no trained SAE or has no live latent."""
    return [_dictionary(str(seed), result) for seed, result in by_seed.items()]


def _dictionary(seed: str, result: Result) -> SeedDictionary:
    require_arrays(result.arrays, ARRAYS, f"the run of seed {seed}")
    # Firing rates of held-out tokens, as the run measured them.
    live = np.asarray(result.arrays["firing_rate"]) > 0
    if not live.any():
        raise DataError(
            f"no latent of seed {seed} is live",
            expected="latents that fire on held-out tokens",
            seen=f"0 of {len(live)}",
            hint="train on more tokens, or with another lr or k",
        )
    return SeedDictionary(
        # Encoder columns as rows, so that both sides are "latent d".
        seed,
        {"decoder": result.arrays["W_dec"], "encoder": result.arrays["W_enc"].T},
        live,
    )


def compare_seeds(
    saes: list[SeedDictionary],
    generator: np.random.Generator,
    *,
    chance_draws: int = 5,
    one_to_one: bool = True,
    progress: Callable[..., None] = lambda fraction, message="": None,
) -> SeedComparison:
    """Every two seeds matched on both sides, for all and for live latents, and the levels of chance."""

    def compared(a: Dictionary, b: OtherDictionary) -> Matching:
        return match(a, b, one_to_one=one_to_one)

    def scrambled(features: Dictionary) -> Matching:
        # Two permutations of one dictionary: what they agree in cannot come from its features.
        return compared(permuted(features, generator), permuted(features, generator))

    pairs = list(combinations(saes, 2))
    matched = []
    for done, (a, b) in enumerate(pairs):
        progress(0.7 * done / len(pairs), f"seeds {a.seed} and {b.seed}")
        # `a=a, b=b` binds this pair: a plain closure would see the loop's last one.
        matched.append(_each_aspect((a, b), lambda kind, a=a, b=b: compared(a.of(kind), b.of(kind))))
    progress(0.7, "random directions")
    # The maximum over n random cosines grows with n: chance for live latents is drawn as wide as they are
    # many.
    sizes = {latents: round(np.mean([sae.size(latents) for sae in saes])) for latents in LATENTS}
    d = saes[0].features["decoder"].shape[1]
    # Drawn once for each size, in ascending order: all and live latents share the draw where all are live.
    drawn = {
        n: [
            compared(random_directions(n, d, generator), random_directions(n, d, generator))
            for _ in range(chance_draws)
        ]
        for n in sorted(set(sizes.values()))
    }
    progress(0.85, "permuted features")
    shuffled = [_each_aspect((sae,), lambda kind, sae=sae: scrambled(sae.of(kind))) for sae in saes]
    return SeedComparison(
        saes=saes,
        pairs=[(a.seed, b.seed) for a, b in pairs],
        matched=_by_aspect(matched),
        random={latents: drawn[n] for latents, n in sizes.items()},
        permuted=_by_aspect(shuffled),
        paired=[random_pairing(a.features["decoder"], b.features["decoder"]) for a, b in pairs],
    )


def shared_fractions(decoder: Iterable[Matching], encoder: Iterable[Matching]) -> list[float]:
    """Of each pair, the share of features shared on both sides; empty where no assignment was made."""
    both = [(d.assignment, e.assignment) for d, e in zip(decoder, encoder, strict=True)]
    # `match` makes no assignment for wide dictionaries.
    return [float(shared(d, e).mean()) for d, e in both if d is not None and e is not None]


def _each_aspect(
    saes: Sequence[SeedDictionary], compare: Callable[[Aspect], Matching]
) -> dict[Aspect, Matching]:
    """A comparison of every kind; where all latents live, the live ones are not compared again."""
    found = {("all", side): compare(("all", side)) for side in SIDES}
    # The assignment is cubic in the width: the most expensive comparison is not made twice.
    if all(sae.live.all() for sae in saes):
        return found | {("live", side): found["all", side] for side in SIDES}
    return found | {("live", side): compare(("live", side)) for side in SIDES}


def _by_aspect(found: Sequence[dict[Aspect, Matching]]) -> dict[Aspect, list[Matching]]:
    return {kind: [each[kind] for each in found] for kind in product(LATENTS, SIDES)}
