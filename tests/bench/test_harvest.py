"""The bench itself: on micro models both programs compute the same activations."""

import pytest

from engine.models.micro import micro_model
from tests.bench.harvest import measured, report


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_both_compute_the_same(architecture):
    found = measured(micro_model(architecture, n_layers=4), rounds=1, tokens=300)
    assert [row["site"] for row in found["harvest"]] == [f"blocks.{i}.hook_resid_pre" for i in (1, 2, 3)]
    assert all(row["difference"] <= 1e-5 for row in found["harvest"])
    assert "bar: ratio 1.15" in report(found)
