"""Parts of the prompts: what is learned and chosen on some is measured on others.

Prompts of one cluster share what makes a layer or a head look best on them. Were a cluster on both sides, the
part that measures would repeat the choice's luck instead of testing it. `selection_half` makes two halves,
one of which chooses; `split_clusters` makes three parts: one trains, one selects, one is held out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from engine.errors import DataError

PARTS = ("train", "select", "held_out")
SHARES: Mapping[str, float] = {"train": 3 / 7, "select": 1 / 7, "held_out": 3 / 7}
"""Of 28 topics: 12, 4 and 12."""
Labels = Sequence[str] | np.ndarray


def hash_order(ids: Labels) -> np.ndarray:
    """Positions of `ids` in the order of their hashes, an order that nobody chose."""
    # Python's own `hash` of a string changes from process to process.
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in ids]
    return np.argsort(np.array(digests, dtype=str), kind="stable")


def selection_half(ids: Labels, clusters: Labels) -> np.ndarray:
    """True for the prompts that layers, heads and thresholds may be chosen on; the rest measures.

    Whole clusters go to one half or the other, so that nothing that a cluster's prompts share is both chosen
    on and measured. From the largest cluster to the smallest, those of one size in the order of their labels'
    hashes, each goes to the half that has fewer prompts: the halves are about equally large, and the
    measuring half is never the smaller. With a single cluster there is nothing to hold out whole: every
    second prompt chooses, in the order of the ids' hashes. Shape "prompt", bool.
    """
    labels, member_of, sizes = np.unique(
        np.asarray(clusters, dtype=str), return_inverse=True, return_counts=True
    )
    if len(labels) < 2:
        return _every_second(ids)
    order = hash_order(labels)
    # Stable: clusters of one size stay in the order of their hashes.
    order = order[np.argsort(-sizes[order], kind="stable")]
    in_second = np.zeros(len(labels), dtype=bool)
    prompts = [0, 0]
    for cluster in order:
        second = prompts[1] < prompts[0]
        in_second[cluster] = second
        prompts[second] += int(sizes[cluster])
    # The larger half measures: its intervals are what is reported.
    chooses = in_second if prompts[1] <= prompts[0] else ~in_second
    return chooses[member_of]


def split_in_words(clusters: Labels, selecting: Bool[np.ndarray, " prompt"], column: str) -> str:
    """How `selection_half` divided the prompts, for a reader: which part chose, and what was kept whole."""
    labels = np.asarray(clusters, dtype=str)
    both = len(np.unique(labels))
    prompts = f"{int(selecting.sum())} of {len(labels)} prompts"
    if both < 2 or not column:
        return f"{prompts}, every second by hash of its id; the others measure"
    chose = len(np.unique(labels[selecting]))
    return f"{prompts}: those of {chose} of {both} clusters (column {column}); the other clusters measure"


def _every_second(ids: Labels) -> np.ndarray:
    chooses = np.zeros(len(ids), dtype=bool)
    # From the second on: of an odd number of prompts the measuring half gets the one more.
    chooses[hash_order(ids)[1::2]] = True
    return chooses


def first_per_stratum(ids: Labels, strata: Labels, limit: int) -> np.ndarray:
    """True for at most `limit` prompts of each stratum, the first by hash. Shape "prompt", bool."""
    members = _by_stratum(ids, strata)
    labels = np.asarray(strata, dtype=str)
    _, starts, sizes = np.unique(labels[members], return_index=True, return_counts=True)
    # Each member's turn within its stratum: its place less that of the stratum's first.
    turn = np.arange(len(members)) - np.repeat(starts, sizes)
    kept = np.zeros(len(members), dtype=bool)
    kept[members[turn < limit]] = True
    return kept


def _by_stratum(ids: Labels, strata: Labels) -> np.ndarray:
    """Positions sorted by stratum, within each by hash."""
    order = hash_order(ids)
    # A stable sort by stratum keeps the order of the hashes within each.
    return order[np.argsort(np.asarray(strata, dtype=str)[order], kind="stable")]


@dataclass(frozen=True)
class Split:
    """Which prompts train, which select and which are held out; no cluster is in two parts.

    `part` has one of PARTS for each prompt. `column` is what a cluster is ("topic"), empty where each prompt
    is one.
    """

    part: np.ndarray
    clusters: np.ndarray
    labels: np.ndarray
    column: str = ""

    def rows(self, part: str) -> Bool[np.ndarray, " prompt"]:
        """True for the prompts of a part."""
        return self.part == part

    @property
    def train(self) -> Bool[np.ndarray, " prompt"]:
        return self.rows("train")

    @property
    def select(self) -> Bool[np.ndarray, " prompt"]:
        return self.rows("select")

    @property
    def held_out(self) -> Bool[np.ndarray, " prompt"]:
        return self.rows("held_out")

    def counts(self, part: str) -> dict[str, int]:
        """How many prompts of each label a part has."""
        found = Counter(self.labels[self.rows(part)].tolist())
        return {label: found[label] for label in sorted(set(self.labels.tolist()))}

    @property
    def in_words(self) -> str:
        """What each part has, for a reader; a part whose labels are not balanced shows it."""
        parts = []
        for part in PARTS:
            rows = self.rows(part)
            n_clusters = len(set(self.clusters[rows].tolist()))
            counted = ", ".join(f"{n} {label}" for label, n in self.counts(part).items())
            kept = f" of {n_clusters} clusters" if self.column else ""
            parts.append(f"{part.replace('_', ' ')}: {counted}{kept}")
        whole = f", whole clusters (column {self.column})" if self.column else ", by prompt"
        return "; ".join(parts) + whole


def split_clusters(
    clusters: Labels,
    labels: Labels,
    shares: Mapping[str, float] = SHARES,
    *,
    column: str = "",
) -> Split:
    """Three parts of whole clusters, each about its share of the prompts, the same in every run.

    Clusters come in the order of their names' hashes, and each goes to the part that is furthest behind its
    share. Those that hold other labels are dealt by themselves, so that labels stay balanced where each
    prompt is a cluster of its own. DataError where a part would lack a label.
    """
    clusters = np.asarray(clusters, dtype=str)
    labels = np.asarray(labels, dtype=str)
    if set(shares) != set(PARTS) or not all(share > 0 for share in shares.values()):
        raise DataError(
            "a split has three parts",
            expected=f"a share above 0 of each of {', '.join(PARTS)}",
            seen=str(shares),
        )
    part = np.empty(len(clusters), dtype="<U8")
    for members in _alike(clusters, labels):
        prompts = dict.fromkeys(PARTS, 0)
        names = np.unique(clusters[members])
        for cluster in names[hash_order(names)]:
            rows = members[clusters[members] == cluster]
            dealt = sum(prompts.values()) + len(rows)
            total = sum(shares.values())
            # How many prompts the part would lack of its share of all that are dealt so far; ties go to the
            # first of PARTS.
            behind = {name: shares[name] / total * dealt - prompts[name] for name in PARTS}
            taker = max(PARTS, key=lambda name: behind[name])
            part[rows] = taker
            prompts[taker] += len(rows)
    return _checked(Split(part, clusters, labels, column))


def given_split(parts: Labels, clusters: Labels, labels: Labels, *, column: str = "") -> Split:
    """The split that a person wrote into a column of the prompts.

    DataError for a part of another name, for a cluster in two parts, and where a part lacks a label.
    """
    part = np.array([str(name).replace("-", "_").replace(" ", "_") for name in parts])
    unknown = sorted(set(part.tolist()) - set(PARTS))
    if unknown:
        raise DataError("a split has no such part", expected=", ".join(PARTS), seen=", ".join(unknown))
    return _checked(Split(part, np.asarray(clusters, dtype=str), np.asarray(labels, dtype=str), column))


def _alike(clusters: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """The prompts of clusters that have the same labels in them, as positions."""
    has = {cluster: tuple(np.unique(labels[clusters == cluster])) for cluster in np.unique(clusters)}
    kinds = np.array([" ".join(has[cluster]) for cluster in clusters])
    return [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


def _checked(split: Split) -> Split:
    """The split itself; DataError where a cluster is in two parts or a part lacks a label."""
    parts_of = {c: set(split.part[split.clusters == c].tolist()) for c in np.unique(split.clusters)}
    overlap = [cluster for cluster, parts in parts_of.items() if len(parts) > 1]
    if overlap:
        raise DataError(
            "the parts of a split overlap: what is chosen would be measured on prompts like those that chose",
            expected="each cluster in one part",
            seen=", ".join(f"{c} in {' and '.join(sorted(parts_of[c]))}" for c in overlap[:5]),
        )
    for part in PARTS:
        counts = split.counts(part)
        missing = [label for label, n in counts.items() if n == 0]
        if missing or not counts:
            n_clusters = len(parts_of)
            raise DataError(
                f"the part {part!r} of a split has no prompt of a label",
                expected="prompts of every label in each part, of clusters of its own",
                seen=f"none that is {', '.join(missing) or 'labelled'}; {n_clusters} clusters in all",
                hint="more prompts, in three clusters or more, each with both labels",
            )
    return split
