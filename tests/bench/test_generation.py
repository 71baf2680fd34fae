"""The bench itself: on micro models both programs write the same texts."""

import pytest

from engine.models.micro import micro_model
from tests.bench.generation import measured, report


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_both_write_the_same(architecture):
    found = measured(micro_model(architecture, n_layers=4), rounds=1, tokens=6)
    assert [(row["batch"], row["equal"]) for row in found["generation"]] == [(1, 1), (16, 16)]
    assert "bar: ratio 1" in report(found)
