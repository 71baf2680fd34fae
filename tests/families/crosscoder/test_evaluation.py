"""The nulls of a crosscoder, and one that is dead."""

from dataclasses import replace

import pytest
import torch

from engine.errors import DataError
from engine.families.crosscoder.evaluation import evaluate, random_crosscoder
from engine.families.crosscoder.planted_sources import planted_sources
from engine.families.crosscoder.source_data import SourceData
from engine.lab.sparse.crosscoder import train

WIDTHS = (12, 20)
PLANTED = planted_sources(6, 3, widths=WIDTHS, rate=0.1)


def training():
    return (PLANTED.draw(200, seed) for seed in range(60))


def held():
    return iter([(PLANTED.draw(300, 5), torch.arange(300) // 50)])


DATA = SourceData(training, held, 60, 6, ["first", "second"], WIDTHS, one_basis=False)


def test_random_directions_have_their_best_scale():
    coder = random_crosscoder(PLANTED.draw(500, 0), WIDTHS, 24, 2, seed=0)
    found = evaluate(coder, DATA).held
    kept = 1 - found.residual.sum(dim=0) / found.total.sum(dim=0)
    assert (kept > 0).all()
    twice = replace(coder, dec=2 * coder.dec, threshold=2 * coder.threshold)
    worse = evaluate(twice, DATA).held
    assert (worse.residual.sum(dim=0) > found.residual.sum(dim=0)).all()


def test_norms_and_rates_are_those_of_live_latents():
    coder = train(training(), WIDTHS, 24, 2, n_steps=60, lr=1e-2).coder
    found = evaluate(coder, DATA)
    assert found.norms.shape == (found.live.sum(), 2)
    assert found.relative.max(axis=1) == pytest.approx(1)
    assert ((found.last_share() >= 0) & (found.last_share() <= 1)).all()
    assert (found.firing_rate > 0).tolist() == found.live.tolist()


def test_a_dead_crosscoder_is_refused():
    coder = random_crosscoder(PLANTED.draw(500, 0), WIDTHS, 24, 2, seed=0)
    with pytest.raises(DataError, match="dead"):
        evaluate(replace(coder, threshold=1e9), DATA)
