"""Planted sources: shared and exclusive features stand where they say, as often as they say."""

import pytest
import torch

from engine.families.crosscoder.planted_sources import NOISE, planted_sources


def test_shared_features_are_in_all_sources_and_exclusive_ones_in_one():
    planted = planted_sources(3, 2, widths=(4, 5, 6))
    assert planted.present.tolist() == [
        *[[True, True, True]] * 3,
        *[[True, False, False]] * 2,
        *[[False, True, False]] * 2,
        *[[False, False, True]] * 2,
    ]
    norms = torch.stack([part.norm(dim=1) for part in planted.directions.split((4, 5, 6), dim=1)], dim=1)
    torch.testing.assert_close(norms, planted.present.float())


@pytest.mark.parametrize(("shared", "exclusive"), [(4, 0), (0, 2)])
def test_there_may_be_none_of_a_kind(shared, exclusive):
    present = planted_sources(shared, exclusive, widths=(4, 4)).present
    assert present.all(dim=1).sum() == shared
    assert len(present) == shared + 2 * exclusive


def test_a_feature_is_active_as_often_as_its_rate_says_and_from_once_to_twice_its_length():
    planted = planted_sources(1, 0, widths=(32, 32), rate=0.2)
    rows = planted.draw(4000, seed=0)
    strength = rows @ planted.directions[0] / 2  # its squared length is 2, one for each source
    active = strength > 0.5
    assert active.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert strength[active].min() > 1 - 5 * NOISE and strength[active].max() < 2 + 5 * NOISE
    assert strength[active].mean().item() == pytest.approx(1.5, abs=0.05)
    assert rows[~active].std().item() == pytest.approx(NOISE, rel=0.05)


def test_rows_and_directions_are_their_seeds():
    one, same, other = (planted_sources(3, 1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.directions, same.directions)
    assert not torch.equal(one.directions, other.directions)
    assert torch.equal(one.draw(5, 2), same.draw(5, 2))
    assert not torch.equal(one.draw(5, 2), one.draw(5, 3))
