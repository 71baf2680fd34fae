"""The two halves: balanced over relations, and independent of the file's order."""

import numpy as np

from engine.lab.split import first_per_stratum, selection_half

IDS = [f"prompt-{i}" for i in range(45)]
RELATIONS = ["capital"] * 19 + ["language"] * 23 + ["alone", "lonely", "single"]


def test_every_relation_and_the_whole_are_halved():
    selecting = selection_half(IDS, RELATIONS)
    assert selecting.sum() == 22
    assert selecting[:19].sum() in (9, 10)
    assert selecting[19:42].sum() in (11, 12)


def test_the_order_of_the_file_does_not_matter():
    order = np.random.default_rng(0).permutation(len(IDS))
    ids, relations = [IDS[i] for i in order], [RELATIONS[i] for i in order]
    assert (selection_half(ids, relations) == selection_half(IDS, RELATIONS)[order]).all()
    assert (first_per_stratum(ids, relations, 4) == first_per_stratum(IDS, RELATIONS, 4)[order]).all()


def test_a_larger_limit_keeps_what_a_smaller_one_kept():
    five, nine = (first_per_stratum(IDS, RELATIONS, limit) for limit in (5, 9))
    assert (five.sum(), nine.sum()) == (13, 21)
    assert (nine | ~five).all()
