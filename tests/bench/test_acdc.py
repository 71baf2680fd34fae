"""The bench itself: on a micro model TransformerLens cuts the same edge to the same metric."""

import numpy as np

from engine.models.micro import micro_model
from tests.bench.acdc import one_round, report


def test_both_cut_an_edge_to_the_same_metric():
    words = ("Fact:", "The", "capital", "city", "of", "is", "the", "France", "Italy", "Spain", "Japan")
    model = micro_model(n_layers=2, vocab_words=(*words, "Paris", "Rome", "Madrid", "Tokyo"))
    row = one_round(model, np.random.default_rng(0))
    assert row["difference"] <= 1e-5
    assert 0 < row["tried"] <= row["edges"]
    assert row["our_edges_per_second"] > 0
    told = report({"model": "micro", "threads": 1, "rounds": [row]})
    assert "through TransformerLens hooks" in told
