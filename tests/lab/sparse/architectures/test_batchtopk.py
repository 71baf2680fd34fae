"""BatchTopK: what a batch keeps, and the threshold that follows the smallest of it."""

import pytest
import torch

from engine.lab.sparse.architectures import batchtopk

PRE = torch.tensor([[3.0, 2.5, 2.0, 1.0], [-4.0, -3.0, -2.0, 0.5]])


def test_a_row_may_keep_more_than_k():
    codes, smallest = batchtopk.select(PRE, 2)
    assert codes.dense().tolist() == [[3, 2.5, 2, 1], [0, 0, 0, 0]]
    assert smallest == 1.0


def test_lengths_weigh_in_the_choice_and_in_the_smallest():
    codes, smallest = batchtopk.select(PRE, 1, lengths=torch.tensor([1.0, 1, 1, 9]))
    assert codes.dense().tolist() == [[0, 0, 0, 1], [0, 0, 0, 0.5]]
    assert smallest == pytest.approx(4.5)


def test_nothing_positive_has_no_smallest():
    codes, smallest = batchtopk.select(-PRE.abs(), 2)
    assert not len(codes.values) and smallest is None


def test_the_threshold_starts_at_the_first_and_moves_a_part_of_the_way():
    assert batchtopk.moved(None, 2.0, 0.01) == 2.0
    assert batchtopk.moved(2.0, 3.0, 0.25) == 2.25


def test_at_inference_a_row_is_coded_by_itself():
    codes = batchtopk.infer(PRE, 2, 0.75)
    assert codes.dense().tolist() == [[3, 2.5, 2, 1], [0, 0, 0, 0]]


def test_saelens_has_it_as_a_jumprelu_of_one_threshold():
    config, tensors = batchtopk.save(2, 0.75, torch.zeros(3))
    assert config == {} and tensors["threshold"].tolist() == [0.75] * 3
