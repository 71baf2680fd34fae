"""Rows of massive norm: found by a multiple of the median of training, at one site or without a limit."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from engine.lab.activations import Activations
from engine.lab.harvest import harvest
from engine.lab.massive_activations import massive_rows, norm_limit, norms
from tests.lab.texts import made_up, with_bos

SITE = "blocks.1.hook_resid_pre"


@pytest.fixture(scope="module")
def acts() -> Activations:
    return harvest(with_bos(), made_up(), [SITE], folder=None, context_tokens=16)


def test_norms_are_those_of_the_rows_in_order(acts: Activations) -> None:
    expected = np.linalg.norm(acts.rows(SITE, range(acts.n_tokens)).double().numpy(), axis=1)
    assert norms(acts, SITE) == pytest.approx(expected, rel=1e-12)


def test_the_limit_is_a_multiple_of_the_median_that_massive_rows_do_not_move(acts: Activations) -> None:
    limit = norm_limit(acts, SITE, 1.2)
    assert limit == pytest.approx(1.2 * np.median(norms(acts, SITE)))
    rows = massive_rows(acts, SITE, limit)
    assert rows.tolist() == np.flatnonzero(norms(acts, SITE) > limit).tolist()
    assert 0 < len(rows) < acts.n_tokens
    assert norms(acts.without(rows), SITE).max() <= limit


def test_without_a_limit_nothing_is_massive(acts: Activations) -> None:
    assert norm_limit(acts, SITE, None) == inf
    assert len(massive_rows(acts, SITE, inf)) == 0
