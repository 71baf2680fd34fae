"""Data of known directions: as sparse, as strong and as split as they say."""

import pytest
import torch

from engine.lab.sparse.synthetic import (
    known_dictionary,
    recovered,
    sparse_batches,
    split_features,
    tied_coder,
)


def test_a_dictionary_is_its_seed_and_its_rows_are_of_length_one():
    one, same, other = (known_dictionary(8, 20, seed) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.allclose(one, other)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(20))


def test_rows_are_sums_of_as_many_features_as_are_said_of_strength_about_one():
    features = torch.eye(16)  # so that a row's entries are its strengths
    rows = torch.cat(list(sparse_batches(features, active=2, batch_size=500, n_batches=8, seed=0, noise=0.0)))
    present = rows != 0
    assert present.sum(dim=1).float().mean().item() == pytest.approx(2, abs=0.1)
    strengths = rows[present]
    assert strengths.min() >= 0.5 and strengths.max() <= 1.5
    assert strengths.mean().item() == pytest.approx(1, abs=0.02)


def test_noise_is_of_the_size_that_is_said_and_batches_are_their_seed():
    (quiet,) = sparse_batches(torch.eye(4), active=1, batch_size=900, n_batches=1, seed=3, noise=0.0)
    (noisy,) = sparse_batches(torch.eye(4), active=1, batch_size=900, n_batches=1, seed=3, noise=0.2)
    assert (noisy - quiet).std().item() == pytest.approx(0.2, rel=0.05)
    two = list(sparse_batches(torch.eye(4), active=1, batch_size=9, n_batches=2, seed=3))
    assert not torch.equal(*two)


def test_recovery_is_the_cosine_with_the_nearest_direction_whatever_lengths_and_order():
    features = torch.eye(3)
    decoder = torch.tensor([[0.0, 0, 5], [3, 4, 0]])
    assert recovered(decoder, features).tolist() == pytest.approx([0.6, 0.8, 1.0])


def test_a_tied_coder_reads_what_it_writes():
    coder = tied_coder(3 * torch.eye(4), 2)
    x = torch.tensor([[5.0, 0, 2, 1]])
    assert coder.encode(x).tolist() == [[5, 0, 2, 0]]
    assert coder.reconstruct(x).tolist() == [[5, 0, 2, 0]]


def test_children_lie_at_their_cosine_from_the_parent_and_the_others_stay():
    parents = 2 * known_dictionary(24, 6, seed=0)
    split = split_features(parents, 2, 3, 0.9, seed=1)
    assert len(split) == 2 * 3 + 4
    torch.testing.assert_close(split.norm(dim=1), torch.ones(10))
    directions = parents / 2
    for parent in range(2):
        children = split[3 * parent : 3 * parent + 3]
        torch.testing.assert_close(children @ directions[parent], torch.full((3,), 0.9))
        aside = children - 0.9 * directions[parent]
        assert (aside @ directions[parent]).abs().max() < 1e-5
        assert (children @ children.T - torch.eye(3)).max() < 0.999  # no two are one
    torch.testing.assert_close(split[6:], directions[2:])
