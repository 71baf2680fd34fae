"""Matching of dictionaries: known answers, fast against slow, and chance where theory says it is."""

from itertools import permutations

import numpy as np
import pytest

from engine.errors import DataError
from engine.lab.sparse import matching
from engine.lab.sparse.matching import (
    assign,
    chance_median,
    match,
    permuted,
    random_directions,
    random_pairing,
    shared,
    unit_rows,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_dictionary_in_another_order_matches_wholly(rng):
    a = random_directions(64, 32, rng)
    order = rng.permutation(64)
    found = match(a, a[order])
    assert found.assignment is not None
    assert np.array_equal(order[found.assignment.partners], np.arange(64))
    assert match(a, 3 * a[order]).one_to_one("mean") == pytest.approx(1, abs=1e-5)


def test_signs_count(rng):
    a = random_directions(1, 16, rng)
    assert match(a, -a).best("mean") == pytest.approx(-1, abs=1e-5)


def test_blocks_give_what_the_whole_matrix_gives(rng, monkeypatch):
    monkeypatch.setattr(matching, "BLOCK", 7)
    a, b = rng.normal(size=(40, 12)), rng.normal(size=(33, 12))
    cosines = np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])
    for found in (match(a, b), match(a, b, one_to_one=False)):
        assert found.a_to_b == pytest.approx(cosines.max(axis=1), abs=1e-5)
        assert found.b_to_a == pytest.approx(cosines.max(axis=0), abs=1e-5)


def test_the_assignment_is_the_best_of_all(rng):
    cosines = rng.uniform(-1, 1, size=(6, 6))
    best = max(sum(cosines[i, j] for i, j in enumerate(order)) for order in permutations(range(6)))
    found = assign(cosines)
    assert found.cosines.sum() == pytest.approx(best)
    assert sorted(found.partners) == list(range(6))


def test_best_match_is_not_symmetric_and_never_below_one_to_one(rng):
    a = random_directions(20, 8, rng)
    b = np.concatenate([a[:10], a[:10]])
    found = match(a, b)
    assert found.b_to_a == pytest.approx(np.ones(20), abs=1e-5)
    assert found.a_to_b[10:].max() < 0.999
    assert found.one_to_one("mean") <= found.best("mean")


@pytest.mark.parametrize(("n", "d"), [(128, 64), (512, 96)])
def test_random_directions_match_as_theory_says(n, d, rng):
    seen = [match(random_directions(n, d, rng), random_directions(n, d, rng)) for _ in range(6)]
    medians = [m.best("median") for m in seen]
    assert np.mean(medians) == pytest.approx(chance_median(n, d), abs=0.01)
    assert np.mean([m.one_to_one("median") for m in seen]) < chance_median(n, d)
    assert max(m.best("fraction") for m in seen) == 0


def test_permutation_keeps_the_common_offset_only(rng):
    offset = 3 * random_directions(1, 48, rng)
    one, other = (random_directions(96, 48, rng) + offset for _ in range(2))
    same = match(permuted(one, rng), permuted(one, rng)).best("median")
    assert same > 0.8
    assert same == pytest.approx(match(one, other).best("median"), abs=0.03)
    plain = random_directions(96, 48, rng)
    assert match(permuted(plain, rng), permuted(plain, rng)).best("median") == pytest.approx(
        chance_median(96, 48), abs=0.04
    )
    assert np.sort(permuted(plain, rng), axis=0) == pytest.approx(np.sort(plain, axis=0), abs=1e-6)


def test_pairing_at_random_is_the_mean_of_all_cosines(rng):
    a, b = rng.normal(size=(9, 5)) + 1, rng.normal(size=(7, 5)) + 1
    assert random_pairing(a, b) == pytest.approx((unit_rows(a) @ unit_rows(b).T).mean(), abs=1e-6)


def test_shared_needs_both_sides_and_the_same_counterpart():
    decoder = assign(np.array([[0.9, 0, 0, 0], [0, 0.9, 0, 0], [0, 0, 0.9, 0.1], [0, 0, 0.1, 0.9]]))
    encoder = assign(np.array([[0.8, 0, 0, 0], [0, 0.6, 0, 0], [0, 0, 0.1, 0.9], [0, 0, 0.9, 0.1]]))
    assert shared(decoder, encoder).tolist() == [True, False, False, False]
    assert shared(decoder, encoder, at=0.5).tolist() == [True, True, False, False]


def test_shared_where_one_side_leaves_out_other_rows():
    decoder = assign(np.array([[0.9, 0.0], [0.0, 0.9], [0.1, 0.1]]))
    encoder = assign(np.array([[0.9, 0.0], [0.0, 0.1], [0.1, 0.9]]))
    assert decoder.rows.tolist() == [0, 1]
    assert encoder.rows.tolist() == [0, 2]
    assert shared(decoder, encoder).tolist() == [True, False]


def test_what_cannot_be_matched_is_refused(rng, unchecked_shapes):
    a = random_directions(4, 8, rng)
    with pytest.raises(DataError, match="without features"):
        match(a[:0], a)
    with pytest.raises(DataError, match="different dimensions"):
        match(a, a[:, :5])


def test_a_row_of_zeros_matches_nothing(rng):
    a = np.concatenate([random_directions(3, 8, rng), np.zeros((1, 8), np.float32)])
    assert match(a, a).a_to_b[3] == 0
