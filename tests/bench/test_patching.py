"""The bench itself: on a micro model both programs patch the same cells to the same values."""

import numpy as np
import pytest

from engine.models.micro import micro_model
from tests.bench.patching import (
    TEXTS,
    Contest,
    attribution_in_forwards,
    edges_in_forwards,
    summary,
    sweep_tensors,
)


@pytest.mark.parametrize("name", TEXTS)
def test_both_patch_the_same_cells(name):
    model = micro_model(n_layers=2)
    contest = Contest.of(model, name)
    rows = [contest.round(site, 2, np.random.default_rng(0)) for site in ("resid_pre", "z")]
    assert all(row["difference"] <= 1e-5 for row in rows)
    table = summary(rows)
    assert table["site"].tolist() == ["resid_pre", "z"]
    assert table[["their_ms", "our_ms", "ratio", "gflops"]].to_numpy().min() > 0


def test_attribution_patching_is_compared_with_a_forward():
    assert attribution_in_forwards(micro_model(), rounds=1) > 0
    assert set(edges_in_forwards(micro_model(), rounds=1)) == {"eap", "relp"}


def test_what_a_sweep_holds_is_a_share_of_the_weights():
    assert 0 < sweep_tensors(micro_model()) < 10
