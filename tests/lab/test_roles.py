"""Positions by their part in a fact."""

from dataclasses import replace

import numpy as np

from engine.data.pairs import PromptPairs
from engine.lab.planted import planted_lab
from engine.lab.roles import ROLES, over_positions, role_positions


def planted_pairs() -> PromptPairs:
    prompts = planted_lab().tokenized()
    assert isinstance(prompts, PromptPairs)
    return prompts


def test_every_position_from_the_subject_on_has_one_role():
    prompts = planted_pairs()  # "Fact France is in": the subject is one token, at 1
    masks = {role: role_positions(prompts, role)[0].tolist() for role in ROLES}
    assert masks["subject"] == [False] * 4
    assert masks["subject last"] == [False, True, False, False]
    assert masks["between"] == [False, False, True, False]
    assert masks["last"] == [False, False, False, True]
    assert role_positions(prompts, "subject last", "last")[0].tolist() == [False, True, False, True]


def test_without_named_subjects_it_is_what_differs():
    prompts = planted_pairs()
    unnamed = replace(prompts, subject_first=None, subject_last=None)
    for role in ROLES:
        assert (role_positions(unnamed, role) == role_positions(prompts, role)).all()


def test_a_role_is_the_mean_of_its_positions_and_nan_where_it_has_none():
    values = np.array([[[1.0, 2.0, np.nan], [3.0, 5.0, np.nan]]] * 2)
    asked = np.array([[True, True, False], [False, False, False]])
    mean = over_positions(values, asked)
    assert mean[0].tolist() == [1.5, 4.0]
    assert np.isnan(mean[1]).all()
