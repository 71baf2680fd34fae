"""The two halves: whole clusters, about equally large, and independent of the file's order."""

import numpy as np
import pytest

from engine.lab.split import first_per_stratum, selection_half, split_in_words

IDS = [f"prompt-{i}" for i in range(45)]
RELATIONS = ["capital"] * 19 + ["language"] * 23 + ["alone", "lonely", "single"]


def test_no_cluster_is_in_both_halves_and_prompts_are_balanced():
    selecting = selection_half(IDS, RELATIONS)
    clusters = np.array(RELATIONS)
    assert not set(clusters[selecting]) & set(clusters[~selecting])
    # 19 + 3 against 23: no other division is closer.
    assert selecting.sum() == 22


@pytest.mark.parametrize("seed", range(20))
def test_halves_of_many_clusters_differ_by_no_more_than_the_smallest(seed):
    sizes = np.random.default_rng(seed).integers(3, 25, size=24)
    clusters = np.repeat([f"cluster {i}" for i in range(24)], sizes)
    selecting = selection_half([f"p{i}" for i in range(len(clusters))], clusters)
    assert 0 <= (~selecting).sum() - selecting.sum() <= sizes.min()
    assert len(set(clusters[selecting])) in (11, 12, 13)


def test_one_cluster_is_halved_by_prompt():
    one = selection_half(IDS, ["capital"] * len(IDS))
    assert one.sum() == 22
    # As where each prompt is a cluster of its own.
    assert (one == selection_half(IDS, IDS)).all()


def test_the_words_say_what_was_kept_whole():
    whole = split_in_words(RELATIONS, selection_half(IDS, RELATIONS), "relation")
    assert whole == (
        "22 of 45 prompts: those of 4 of 5 clusters (column relation); the other clusters measure"
    )
    one = ["capital"] * len(IDS)
    single = split_in_words(one, selection_half(IDS, one), "relation")
    assert single == "22 of 45 prompts, every second by hash of its id; the others measure"


def test_the_order_of_the_file_does_not_matter():
    order = np.random.default_rng(0).permutation(len(IDS))
    ids, relations = [IDS[i] for i in order], [RELATIONS[i] for i in order]
    assert (selection_half(ids, relations) == selection_half(IDS, RELATIONS)[order]).all()
    assert (first_per_stratum(ids, relations, 4) == first_per_stratum(IDS, RELATIONS, 4)[order]).all()


def test_a_larger_limit_keeps_what_a_smaller_one_kept():
    five, nine = (first_per_stratum(IDS, RELATIONS, limit) for limit in (5, 9))
    assert (five.sum(), nine.sum()) == (13, 21)
    assert (nine | ~five).all()
