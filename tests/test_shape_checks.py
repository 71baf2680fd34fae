"""The annotations of the numerical rooms are held to while tests run: a wrong shape does not pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from engine.data.pairs import PromptPairs
from engine.lab.lens import read_lens
from engine.lab.sparse.coder import unit_rows
from engine.models.micro import micro_model

ROOT = Path(__file__).parents[1]


def test_an_axis_too_many_is_caught():
    with pytest.raises(TypeCheckError, match="row d"):
        unit_rows(torch.ones(2, 3, 4))


def test_whole_numbers_in_the_place_of_floats_are_caught():
    with pytest.raises(TypeCheckError, match="Float"):
        unit_rows(torch.ones(2, 3, dtype=torch.long))


def test_one_axis_has_one_size_in_all_that_a_call_takes():
    model = micro_model()
    ids = torch.tensor(model.token_ids(["the capital city of France is Paris"]))
    with pytest.raises(TypeCheckError, match="last"):
        read_lens(model, ids, torch.tensor([1, 2]), torch.tensor([[3]]))


def test_fields_of_a_dataclass_are_held_to_one_another():
    fields = dict.fromkeys(("clean", "corrupted", "mask"), torch.ones(2, 5, dtype=torch.long))
    answers = dict.fromkeys(("last", "answer", "wrong_answer"), torch.ones(3, dtype=torch.long))
    with pytest.raises(TypeCheckError, match="prompt"):
        PromptPairs(table=None, dropped=None, **fields, **answers)  # pyright: ignore


def test_the_checks_can_be_left_out():
    program = "import tests.conftest, torch\nfrom engine.lab.sparse.coder import unit_rows\n"
    program += "unit_rows(torch.ones(2, 3, 4))"
    for value, code in (("1", 0), ("0", 1)):
        variables = os.environ | {"JAXTYPING_DISABLE": value, "PYTHONPATH": str(ROOT)}
        run = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, check=False)
        assert run.returncode == code
