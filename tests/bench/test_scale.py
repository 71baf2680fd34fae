"""What the large study costs, on numbers whose answer is known; and the page says what its numbers say."""

import json
from dataclasses import replace

import pytest

from tests.bench import scale
from tests.bench.scale import Harvested, Machine, Study, StudyModel, TrainedAt, costs, filled, read, write

SECONDS, PER_SIZE = 1e-5, 2e-12  # of the made-up machine, for each token of a training


def training(d: int, n_features: int) -> TrainedAt:
    seconds = SECONDS + PER_SIZE * d * n_features
    return TrainedAt(d, n_features, 32, 1024, 1 / seconds, scale._tensors(d, n_features, 1024) + 1e9)


MACHINE = Machine(
    "made up",
    "2026-01-31",
    (Harvested("small", 50e6, 2000.0, 3e9), Harvested("large", 500e6, 100.0, 5e9)),
    tuple(training(576, width) for width in (1024, 2048, 4096)),
)
STUDY = Study((StudyModel("medium", 100e6, 1000),), layers=2, widths=(1000, 3000), seeds=3, tokens=1e6)


def test_the_cost_of_a_study_that_can_be_worked_out_by_hand():
    (cost,) = costs(MACHINE, STUDY)
    assert cost.saes == 2 * 2 * 3
    assert cost.harvest_hours == pytest.approx(1e6 * 2 / 2000 / 3600)  # twice the size of the nearer model
    one = [SECONDS + PER_SIZE * 1000 * width for width in (1000, 3000)]
    assert cost.training_hours == pytest.approx(1e6 * 2 * 3 * sum(one) / 3600)
    assert cost.activation_bytes == 1e6 * 2 * 1000 * 2
    assert cost.sae_bytes == 4 * 2 * 3 * ((2000 * 1000 + 2000) + (2000 * 3000 + 4000))
    assert cost.memory_bytes == 3e9 + 4 * 50e6  # more than a training takes
    assert MACHINE.training_bytes(1000, 3000, 4096) == pytest.approx(scale._tensors(1000, 3000, 4096) + 1e9)


def test_a_fit_never_says_less_than_nothing():
    odd = replace(
        MACHINE, trainings=(training(576, 1024), replace(training(576, 4096), tokens_per_second=1e9))
    )
    assert odd.training_seconds_per_token(10_000, 100_000) >= 0


def test_the_numbers_read_back_and_the_tables_fill_the_page(tmp_path):
    numbers, page = tmp_path / "scale.json", tmp_path / "scale.md"
    page.write_text(scale.PAGE.read_text())
    write([MACHINE], numbers, page)
    assert read(numbers) == [MACHINE]
    text = page.read_text()
    assert "Not measured yet" not in text
    assert "| gpt2 | 400 |" in text
    assert "1,200 SAEs" in text
    assert filled(text, [MACHINE]) == text
    hours = sum(row["hours"] for row in json.loads(numbers.read_text())["machines"][0]["study"])
    assert f"In all {scale.hours(hours)}" in text


def test_the_page_says_what_its_numbers_say():
    page = scale.PAGE.read_text()
    assert filled(page, read()) == page
