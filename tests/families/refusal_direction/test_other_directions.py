"""Directions that should do nothing: as long as the one found, and pointing where it points."""

import numpy as np
import pandas as pd
import torch

from engine.families.refusal_direction.candidates import Candidate, CandidateScores, SelectedCandidate
from engine.families.refusal_direction.other_directions import as_long_as, other_directions
from engine.families.refusal_direction.recipe import Learned
from engine.lab.directions import mean_difference, projection

POSITIVE = np.arange(60) < 30


def learned():
    streams = torch.randn(60, 2, 2, 64, generator=torch.Generator().manual_seed(0))
    streams[:30, 1, 0, 0] += 8.0
    difference = mean_difference(streams[:30, 1, 0], streams[30:, 1, 0])
    chosen = SelectedCandidate(
        Candidate(1, -2, difference), CandidateScores(0.0, 0.0, 0.0), pd.DataFrame(), keeps_limits=True
    )
    return Learned(chosen, np.arange(60), streams, True), difference


def test_they_are_as_long_and_point_to_the_harmful_side():
    found, difference = learned()
    others = other_directions(found, POSITIVE, n_random=5, n_shuffled=3, seed=0)
    assert [len(others[kind]) for kind in ("random", "shuffled")] == [5, 3]
    for direction in (*others["random"], *others["shuffled"]):
        assert abs(float(direction.norm() - difference.norm())) < 1e-4
        assert float(projection(difference, direction)) >= 0


def test_shuffled_labels_know_little_of_the_difference():
    found, difference = learned()
    others = other_directions(found, POSITIVE, n_random=1, n_shuffled=8, seed=0)
    along = [float(projection(difference, each) / difference.norm()) for each in others["shuffled"]]
    assert np.mean(along) < 0.5
    again = other_directions(found, POSITIVE, n_random=1, n_shuffled=8, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(others["shuffled"], again["shuffled"], strict=True))


def test_another_direction_is_taken_at_the_length_of_the_one_found():
    assert torch.allclose(
        as_long_as(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])), torch.tensor([0.0, 5.0])
    )
