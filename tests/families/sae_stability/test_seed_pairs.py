"""Seeds compared: which pairs, which latents, and that live ones are matched again only if they differ."""

import numpy as np
import pytest

from engine.evidence.result import Result
from engine.families.sae_stability.seed_pairs import (
    SeedComparison,
    compare_seeds,
    seed_dictionaries,
    shared_fractions,
)
from engine.lab.sparse.matching import random_directions
from engine.spec.models import Scalar


def compared(live: int, **options) -> SeedComparison:
    rng = np.random.default_rng(0)
    by_seed: dict[Scalar, Result] = {}
    for seed in (4, 2, 9):
        decoder = random_directions(20, 10, rng)
        rate = (np.arange(20) < live) / 20
        arrays = {"W_dec": decoder, "W_enc": decoder.T, "firing_rate": rate}
        by_seed[seed] = Result(arrays=arrays)
    return compare_seeds(seed_dictionaries(by_seed), rng, **options)


def test_every_pair_is_compared_in_the_order_of_the_sweep():
    found = compared(live=12)
    assert found.pairs == [("4", "2"), ("4", "9"), ("2", "9")]
    assert {kind: len(m) for kind, m in found.matched.items()} == {
        ("all", "decoder"): 3,
        ("all", "encoder"): 3,
        ("live", "decoder"): 3,
        ("live", "encoder"): 3,
    }
    assert len(found.matched["live", "decoder"][0].a_to_b) == 12
    assert len(found.permuted["all", "encoder"]) == 3
    assert [len(found.random[latents][0].a_to_b) for latents in ("all", "live")] == [20, 12]


def test_where_all_latents_live_nothing_is_matched_twice():
    found = compared(live=20)
    assert found.matched["live", "decoder"][0] is found.matched["all", "decoder"][0]
    assert found.random["live"] is found.random["all"]


def test_without_an_assignment_nothing_is_shared():
    found = compared(live=12, one_to_one=False, chance_draws=2)
    assert shared_fractions(found.matched["all", "decoder"], found.matched["all", "encoder"]) == []
    assert len(found.random["all"]) == 2
    encoder_is_decoder = compared(live=12)
    pairs = encoder_is_decoder.matched
    agreed = shared_fractions(pairs["all", "decoder"], pairs["all", "encoder"])
    strong = [float((m.assignment.cosines >= 0.7).mean()) for m in pairs["all", "decoder"] if m.assignment]
    assert agreed == pytest.approx(strong)
