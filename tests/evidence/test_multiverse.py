"""A claim across specifications: what is counted, what is missing, by how much it holds, what flips it."""

import itertools

import numpy as np
import pytest

from engine.evidence.multiverse import (
    flips,
    margin_of,
    margin_scale,
    over_specifications,
    tallies,
)
from engine.evidence.result import Measurement
from engine.evidence.verdicts import Margin, SpecifiedVerdict, Verdict

S, C, U, N = "supported", "contradicted", "undetermined", "unmeasured"
SHARES = {S: 0.99, C: 0.01, U: 0.6, N: None}


def under(*verdicts, ps=None):
    ps = ps or [0.02] * len(verdicts)
    return [
        SpecifiedVerdict({"a.k": i}, Verdict("c", verdict, SHARES[verdict], p=None if verdict == N else p))
        for i, (verdict, p) in enumerate(zip(verdicts, ps, strict=True))
    ]


@pytest.mark.parametrize(
    ("verdicts", "share", "verdict"),
    [
        ([S, S, S, S], 1.0, S),
        ([C, C, C, C], 1.0, C),
        ([S, S, S, U], 1.0, U),
        ([S, S, S, U], 0.75, S),
        ([C, C, C, U], 0.75, C),
        ([S, S, S, C], 0.75, U),  # contradicted under one: not supported, however many support it
        ([C, C, C, S], 0.75, U),
        ([S, S, S, N], 1.0, N),  # the missing one decides
        ([S, S, S, N], 0.75, S),  # it does not
        ([S, S, N, N], 0.75, N),
        ([S, U, N, N], 0.75, N),
        ([S, U, U, N], 0.75, U),  # whatever it is, too few support the claim
        ([S, C, N, N], 0.5, U),
        ([N, N, N, N], 1.0, N),
        ([U, U, U, U], 1.0, U),
        ([S], 1.0, S),
    ],
)
def test_a_claim_is_decided_by_how_many_specifications_agree(verdicts, share, verdict):
    assert over_specifications("c", under(*verdicts), share).verdict == verdict


def test_the_dual_of_every_count_is_the_dual_verdict():
    swapped = {S: C, C: S}
    for verdicts in itertools.product((S, C, U, N), repeat=4):
        for share in (0.5, 0.75, 1.0):
            one = over_specifications("c", under(*verdicts), share).verdict
            other = over_specifications("c", under(*(swapped.get(v, v) for v in verdicts)), share).verdict
            assert other == swapped.get(one, one)


def test_measuring_what_was_missing_never_turns_a_verdict_round():
    for verdicts in itertools.product((S, C, U, N), repeat=4):
        before = over_specifications("c", under(*verdicts), 0.75).verdict
        filled = [[v] if v != N else [S, C, U] for v in verdicts]
        after = {over_specifications("c", under(*each), 0.75).verdict for each in itertools.product(*filled)}
        assert not (before == S and C in after) and not (before == C and S in after)
        assert before != U or after == {U}
        assert (before == N) <= bool(after & {S, C})


def test_it_says_how_many_were_measured_and_what_came_out():
    missing = SpecifiedVerdict({"a.k": 4}, Verdict("c", N, None, "a[k=4]: over the budget", source=""))
    found = over_specifications("c", [*under(S, S, C, U), missing], 1.0)
    assert found.reason == (
        "it holds in 2 of 5 specifications, fails in 1, is undetermined in 1, is unmeasured in 1; "
        "a[k=4]: over the budget"
    )
    assert found.share is None and len(found.specifications) == 5
    assert found.source == "measured"


def test_the_p_of_all_is_the_largest_and_that_of_most_a_partial_conjunction():
    found = under(S, S, S, U, ps=[0.001, 0.01, 0.02, 0.9])
    assert over_specifications("c", found, 1.0).p == 0.9
    assert over_specifications("c", found, 0.75).p == pytest.approx(2 * 0.02)
    assert over_specifications("c", under(S, C, ps=[0.001, 0.001]), 1.0).p == 1.0
    assert over_specifications("c", under(N, N), 1.0).p is None


def measurement(value, **more):
    rng = np.random.default_rng(0)
    drawn = value + rng.normal(size=1000)
    return Measurement("m", value, value - 2, value + 2, 20, "prompt", replicates=drawn, **more)


NUMBERS = {
    "a.x": measurement(3.0),
    "a.y": measurement(1.0),
    "a.n": Measurement("n", 4, None, None, 1, "u", exact=True),
}


def margin(claim: str, numbers=NUMBERS) -> Margin:
    found = margin_of(claim, numbers.get, "these")
    assert found is not None
    return found


def test_a_margin_is_what_is_compared_paired_replicate_by_replicate():
    paired = margin("a.x > a.y")
    assert (paired.value, paired.low, paired.high) == pytest.approx((2.0, 2.0, 2.0))
    alone = margin("a.x < 2 / 3")
    assert (alone.value, alone.low, alone.high) == pytest.approx((3.0, 1.0, 5.0), abs=0.2)
    assert margin("a.n > 1") == Margin(4, None, None)


@pytest.mark.parametrize(
    ("claim", "words", "turns_at"),
    [("a.x > 2 / 4", "a.x", 0.5), ("a.x > a.y", "a.x - a.y", 0.0), ("0.5 < a.x", "0.5 - a.x", 0.0)],
)
def test_a_margin_is_drawn_from_where_the_comparison_turns(claim, words, turns_at):
    scale = margin_scale(claim)
    assert scale is not None
    assert (scale.words, scale.turns_at) == (words, turns_at)


@pytest.mark.parametrize("claim", ["0 < a.x < 1", "a.x > 1 and a.y > 1", "not a.x > 1"])
def test_what_is_no_single_comparison_has_no_margin(claim):
    assert margin_scale(claim) is None
    assert margin_of(claim, NUMBERS.get, "these") is None


def test_without_a_number_or_its_interval_there_is_no_margin_or_none_around_it():
    assert margin_of("a.x > a.z", NUMBERS.get, "these") is None
    assert margin_of("a.x / (a.n - 4) > 1", NUMBERS.get, "these") is None
    withheld = NUMBERS | {"a.y": Measurement("y", 1.0, None, None, 3, "seed")}
    assert margin("a.x > a.y", withheld) == Margin(2.0, None, None)


def grid(verdict_at):
    choices = [{"p.metric": m, "p.ablation": a} for m in ("one", "two") for a in ("x", "y", "z")]
    return [
        SpecifiedVerdict(each, Verdict("c", verdict_at(**{k[2:]: v for k, v in each.items()}), 1.0))
        for each in choices
    ]


def test_a_choice_flips_a_claim_where_it_alone_changes_the_verdict():
    found = grid(lambda metric, ablation: U if ablation == "z" else S)
    assert flips(found) == {"p.metric": 0, "p.ablation": 4}
    assert tallies(found, "p.ablation") == {"x": (2, 2), "y": (2, 2), "z": (0, 2)}
    assert tallies(found, "p.metric") == {"one": (2, 3), "two": (2, 3)}


def test_what_was_not_measured_flips_nothing():
    found = grid(lambda metric, ablation: N if ablation == "z" else S)
    assert flips(found) == {"p.metric": 0, "p.ablation": 0}
    assert "z" not in tallies(found, "p.ablation")
