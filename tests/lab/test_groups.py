"""Prompts of one length together."""

import torch

from engine.lab.groups import equal_length_groups


def test_every_prompt_is_in_one_group_with_others_of_its_length_alone():
    last = torch.tensor([4, 2, 4, 9, 2, 4])
    groups = list(equal_length_groups(last, 2))
    assert groups == [[1, 4], [0, 2], [5], [3]]


def test_a_size_larger_than_any_group_divides_none():
    assert list(equal_length_groups(torch.tensor([3, 3, 1]), 100)) == [[2], [0, 1]]


def test_no_prompts_are_no_groups():
    assert list(equal_length_groups(torch.zeros(0, dtype=torch.long), 4)) == []
