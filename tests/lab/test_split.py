"""Halves and three parts: whole clusters, of their shares, and independent of the file's order."""

import numpy as np
import pytest

from engine.errors import DataError
from engine.lab.split import (
    PARTS,
    first_per_stratum,
    given_split,
    selection_half,
    split_clusters,
    split_in_words,
)

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


TOPICS = np.repeat([f"topic {i}" for i in range(28)], 20)
LABELS = np.tile(["harmful", "harmless"], 280)


def test_three_parts_of_whole_clusters_have_their_shares():
    split = split_clusters(TOPICS, LABELS, column="topic")
    assert split.counts("train") == {"harmful": 120, "harmless": 120}
    assert split.counts("select") == {"harmful": 40, "harmless": 40}
    assert split.counts("held_out") == {"harmful": 120, "harmless": 120}
    named = [set(TOPICS[split.rows(part)]) for part in PARTS]
    assert [len(topics) for topics in named] == [12, 4, 12]
    assert not named[0] & named[1] and not named[0] & named[2] and not named[1] & named[2]
    assert split.in_words == (
        "train: 120 harmful, 120 harmless of 12 clusters; select: 40 harmful, 40 harmless of 4 clusters; "
        "held out: 120 harmful, 120 harmless of 12 clusters, whole clusters (column topic)"
    )


def test_three_parts_do_not_depend_on_the_order_of_the_file():
    order = np.random.default_rng(0).permutation(len(TOPICS))
    part = split_clusters(TOPICS[order], LABELS[order]).part
    assert (part == split_clusters(TOPICS, LABELS).part[order]).all()


def test_shares_are_of_the_prompts_where_clusters_are_of_unequal_size():
    clusters = np.repeat([f"c{i}" for i in range(40)], np.random.default_rng(1).integers(2, 9, 40))
    labels = np.tile(["a", "b"], len(clusters))[: len(clusters)]
    shares = {"train": 0.5, "select": 0.25, "held_out": 0.25}
    split = split_clusters(clusters, labels, shares)
    for part, share in shares.items():
        assert split.rows(part).mean() == pytest.approx(share, abs=0.05)


def test_prompts_that_are_clusters_of_their_own_keep_their_labels_balanced():
    ids = [f"p{i}" for i in range(70)]
    labels = ["harmful"] * 35 + ["harmless"] * 35
    split = split_clusters(ids, labels)
    assert split.counts("train") == {"harmful": 15, "harmless": 15}
    assert "by prompt" in split.in_words


def test_a_part_without_a_label_is_an_error():
    with pytest.raises(DataError, match="no prompt of a label"):
        split_clusters(["a", "a", "b", "b"], ["x", "y", "x", "y"])


def test_unbalanced_labels_are_named():
    clusters = np.repeat([f"c{i}" for i in range(9)], 3)
    labels = np.tile(["x", "x", "y"], 9)
    assert "train: 8 x, 4 y of 4 clusters" in split_clusters(clusters, labels, column="topic").in_words


def test_a_split_that_a_person_wrote_may_not_divide_a_cluster():
    clusters = ["a", "a", "b", "b", "c", "c"]
    labels = ["x", "y"] * 3
    good = given_split(["train", "train", "select", "select", "held-out", "held out"], clusters, labels)
    assert good.held_out.tolist() == [False] * 4 + [True] * 2
    with pytest.raises(DataError, match="overlap") as error:
        given_split(["train", "select", "select", "select", "held-out", "held-out"], clusters, labels)
    assert "a in select and train" in str(error.value)
    with pytest.raises(DataError, match="no such part"):
        given_split(["train", "train", "dev", "dev", "held-out", "held-out"], clusters, labels)


@pytest.mark.parametrize("shares", [{"train": 1.0}, {"train": 1.0, "select": 0.0, "held_out": 1.0}])
def test_shares_are_of_three_parts(shares):
    with pytest.raises(DataError, match="three parts"):
        split_clusters(TOPICS, LABELS, shares)
