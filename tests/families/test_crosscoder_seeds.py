"""Crosscoders of several seeds: the seed is the unit, and each number keeps its control."""

import pytest

from engine.errors import DataError, SpecError
from engine.evidence.result import Result
from engine.families.crosscoder_seeds import Params, bounds_of, calibrate, made_up, run
from engine.lab.lab import Lab, Point, UsedRun
from engine.models.micro import micro_model


def over_seeds(points: dict[Point, UsedRun]) -> Result:
    return run(Lab(micro_model(), uses={"crosscoders": points}), Params()).validated()


def test_the_seed_is_the_unit_and_every_number_keeps_its_control():
    found = over_seeds(made_up([0.5, 0.6, 0.7, 0.6, 0.6])).measurements
    shared = found["shared_fraction"]
    assert (shared.unit, shared.n) == ("seed", 5)
    assert shared.value == pytest.approx(0.6)
    assert shared.control == "shuffled_shared_fraction"
    assert found["shuffled_shared_fraction"].role == "control"
    assert found["shuffled_shared_fraction"].value == pytest.approx(0.3)
    assert found["n_seeds"].value == 5
    assert "tokens_held_out" not in found  # a count is no estimate


def test_a_table_has_every_seed():
    table = over_seeds(made_up([0.5, 0.7])).tables["per_seed"]
    assert table["seed"].tolist() == ["0", "1"]
    assert table["shared_fraction"].tolist() == pytest.approx([0.5, 0.7])


def test_a_number_that_one_seed_lacks_is_left_out():
    points = made_up([0.5, 0.7])
    points[(("seed", 2),)] = UsedRun(Result())
    with pytest.raises(DataError, match="no measured crosscoders"):
        over_seeds(points)


def test_one_seed_is_refused():
    with pytest.raises(SpecError, match="differ in seed alone"):
        over_seeds(made_up([0.5]))


def test_known_answers():
    assert all(c.passed for c in calibrate())


def test_no_interval_reaches_beyond_what_a_number_can_be():
    found = over_seeds(made_up([0.9, 1.0, 1.0, 0.97])).measurements
    shared = found["shared_fraction"]
    assert shared.low is not None and shared.low < 0.9 and shared.high == 1.0


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("shuffled_shared_fraction", (0, 1)),
        ("frac_alive", (0, 1)),
        ("last_share", (0, 1)),
        ("decoder_cosine", (-1, 1)),
        ("pca_explained_variance_0", (-float("inf"), 1)),
        ("random_explained_variance_per_token", (-float("inf"), 1)),
        ("l0", None),
    ],
)
def test_what_a_number_cannot_exceed_follows_from_what_it_is(name, bounds):
    assert bounds_of(name) == bounds
