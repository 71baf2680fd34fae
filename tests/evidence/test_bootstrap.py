import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.stats

from engine.errors import ResultError
from engine.evidence import intervals
from engine.evidence.bootstrap import REPLICATES, count, difference, measure, rate
from engine.evidence.result import Measurement

RNG = np.random.default_rng(0)
IDS = [f"prompt-{i}" for i in range(60)]
LATE = RNG.normal(5, 3, size=60)
LATER = LATE + RNG.normal(0.3, 0.2, size=60)


def replicates(m: Measurement) -> np.ndarray:
    assert m.replicates is not None, m.note
    return m.replicates


def test_a_measurement_says_what_it_is() -> None:
    m = measure("rank", LATE, unit="prompt", ids=IDS, quantity="tokens", about="Rank.", control="chance")
    assert (m.name, m.n, m.unit, m.statistic, m.quantity, m.control) == (
        "rank", 60, "prompt", "mean", "tokens", "chance",
    )  # fmt: skip
    assert m.value == pytest.approx(LATE.mean())
    assert replicates(m).shape == (REPLICATES,)
    assert [m.low, m.high] == pytest.approx(np.quantile(replicates(m), [0.025, 0.975]))
    assert m.note == "" and not m.exact


@pytest.mark.parametrize("n", [6, 20, 200, 2000])
def test_a_symmetric_mean_is_spread_as_a_t_interval_and_wider_the_fewer_units_there_are(n: int) -> None:
    rows = np.linspace(-1, 1, n)
    m = measure("score", rows, unit="prompt")
    t = scipy.stats.t.interval(0.95, n - 1, scale=scipy.stats.sem(rows))
    upper, lower = intervals.widening(0.0, n)
    assert upper == lower
    assert [m.low, m.high] == pytest.approx([upper * t[0], lower * t[1]], rel=1e-4)
    assert upper == pytest.approx({6: 3.80, 20: 1.37, 200: 1.01, 2000: 1.0}[n], abs=0.01)


def test_measurements_over_the_same_units_are_paired() -> None:
    late, later = (measure(name, x, unit="prompt", ids=IDS) for name, x in (("a", LATE), ("b", LATER)))
    assert late.high is not None and later.low is not None and late.high > later.low  # apart, they overlap
    assert (replicates(later) > replicates(late)).mean() == 1
    again = measure("c", LATE, unit="prompt", ids=IDS)
    assert np.array_equal(replicates(late), replicates(again))


@pytest.mark.parametrize("statistic", ["mean", "median", "fraction"])
def test_the_order_of_the_units_does_not_matter(statistic: str) -> None:
    samples, order = LATE > 5 if statistic == "fraction" else LATE, RNG.permutation(60)
    one = measure("a", samples, statistic, unit="prompt", ids=IDS)
    other = measure("a", samples[order], statistic, unit="prompt", ids=[IDS[i] for i in order])
    assert np.allclose(replicates(one), replicates(other), rtol=1e-5)


def test_other_units_are_resampled_independently() -> None:
    other = [f"other-{i}" for i in range(60)]
    pairs = [(IDS, other, "prompt"), (None, None, "head"), (IDS, IDS[:59] + ["new"], "prompt")]
    for here, there, unit in pairs:
        one, two = measure("a", LATE, unit="prompt", ids=here), measure("a", LATE, unit=unit, ids=there)
        assert abs(np.corrcoef(replicates(one), replicates(two))[0, 1]) < 0.1


def test_units_without_ids_are_numbered() -> None:
    one, two = measure("a", LATE, unit="prompt"), measure("a", LATE, unit="prompt", ids=range(60))
    assert np.array_equal(replicates(one), replicates(two))


def test_another_process_resamples_alike() -> None:
    code = (
        "import numpy as np; from engine.evidence.bootstrap import measure\n"
        "m = measure('a', np.arange(9.0), unit='prompt', ids=list('abcdefghi')); print(m.low, m.high)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    here = measure("a", np.arange(9.0), unit="prompt", ids=list("abcdefghi"))
    assert [float(x) for x in told.split()] == pytest.approx([here.low, here.high])


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_the_difference_of_a_measurement_from_itself_is_exactly_nothing(statistic: str) -> None:
    one, two = (measure("a", LATE, statistic, unit="prompt", ids=IDS) for _ in range(2))
    assert np.ptp(replicates(one) - replicates(two)) == 0


def test_a_difference_is_narrower_than_its_sides() -> None:
    m = difference("gain", LATER, LATE, unit="prompt", ids=IDS)
    side = measure("late", LATE, unit="prompt", ids=IDS)
    assert m.low is not None and m.high is not None and side.low is not None and side.high is not None
    assert m.value == pytest.approx(np.mean(LATER - LATE))
    assert m.low > 0 and m.high - m.low < 0.2 * (side.high - side.low)
    medians = difference("gain", LATER, LATE, "median", unit="prompt", ids=IDS, bounds=(-1, 1))
    assert medians.statistic == "difference of medians"
    assert medians.value == pytest.approx(np.median(LATER) - np.median(LATE))
    assert np.ptp(replicates(medians)) > 0.1


def test_fractions_that_happen_to_agree_are_not_known_to_be_equal() -> None:
    hits = np.arange(200) < 190
    agree = difference("gain", hits, hits, unit="prompt")
    assert agree.value == 0 and 0.3 < (replicates(agree) > 0).mean() < 0.7


@pytest.mark.parametrize("base", [0.0, 0.5, 1.0])
def test_fractions_differ_once_about_as_many_units_tell_them_apart_as_a_sign_test_needs(base: float) -> None:
    def share(discordant: int) -> float:
        one = np.arange(200) < base * (200 - discordant)
        more = one | (np.arange(200) >= 200 - discordant)
        return float((replicates(difference("gain", more, one, unit="prompt")) > 0).mean())

    assert share(2) < 0.975 < share(6)  # a sign test needs six


@pytest.mark.parametrize("hits", [0, 20])
def test_a_fraction_of_all_or_none_still_has_a_width(hits: int) -> None:
    m = measure("known", np.arange(20) < hits, unit="prompt")
    exact = scipy.stats.binomtest(hits, 20).proportion_ci(method="exact")
    assert m.statistic == "fraction"
    assert [m.low, m.high] == pytest.approx(exact, abs=1e-3)


def test_a_ratio_is_of_means() -> None:
    total = RNG.gamma(4, size=80)
    explained = total * (0.7 + 0.1 * RNG.normal(size=80))
    m = rate("explained_variance", explained, total, unit="token", bounds=(0, 1))
    assert m.value == pytest.approx(explained.sum() / total.sum())
    assert m.low is not None and m.high is not None and m.low < 0.7 < m.high and m.high - m.low < 0.06


def test_a_ratio_whose_denominator_may_be_zero_has_no_interval() -> None:
    m = rate("recovered", LATE, RNG.normal(0.1, 1, size=60), unit="prompt")
    assert m.replicates is None and m.low is None and "denominator may be zero" in m.note
    with pytest.raises(ResultError, match="recovered divides by zero"):
        rate("recovered", [1.0, 2, 3], [1.0, 0, -1], unit="prompt")


def test_a_function_of_the_rows_sees_each_as_often_as_it_was_drawn() -> None:
    def average(rows: np.ndarray) -> float:
        return rows.mean()

    own, named = measure("a", LATE, average, unit="prompt"), measure("a", LATE, unit="prompt")
    assert own.statistic == "average"
    assert own.value == pytest.approx(named.value)
    # Of a function nothing is known, so that it has room for more skewness; the order is the same.
    assert (
        np.corrcoef(replicates(own).argsort().argsort(), replicates(named).argsort().argsort())[0, 1] > 0.999
    )
    assert own.low is not None and named.low is not None and own.low < named.low


def test_pairs_are_resampled_by_their_units() -> None:
    pairs = np.column_stack(np.triu_indices(12, 1))
    samples = RNG.normal(size=12)[pairs].sum(axis=1)
    m = measure("match", samples, unit="seed", clusters=pairs)
    naive = measure("match", samples, unit="pair")
    assert (m.n, m.unit) == (12, "seed")
    assert np.ptp(replicates(m)) > 1.5 * np.ptp(replicates(naive))


def test_bounds_clip_the_replicates() -> None:
    m = measure("cosine", [0.9, 0.99, 1, 0.7, 0.95, 1, 1, 0.2, 0.97, 1], unit="latent", bounds=(0, 1))
    assert m.high == 1


@pytest.mark.parametrize(
    ("samples", "statistic", "says"),
    [
        (np.arange(3.0), "mean", "Only 3 seeds: no 95 % interval"),
        (np.arange(5.0), "median", "Only 5 seeds: no 95 % interval"),
        ([*np.linspace(0, 0.1, 39), 5.0], "mean", "One or two of 40 seeds carry"),
        ([0.0] * 39 + [5.0], "mean", "All but 1 of 40 seeds gave the same value"),
        (np.column_stack([np.arange(9), np.arange(9)]), "spearman", "Perfect over these 9 seeds"),
        (
            np.arange(9) < 1,
            lambda rows: rows.mean() / rows.any() if rows.any() else np.nan,
            "does not exist on",
        ),
    ],
)
def test_an_interval_that_cannot_be_trusted_is_withheld_and_says_why(samples, statistic, says: str) -> None:
    m = measure("score", samples, statistic, unit="seed")
    assert (m.low, m.high, m.replicates) == (None, None, None)
    assert np.isfinite(m.value) and says in m.note


def test_a_wide_interval_says_why() -> None:
    assert "Only 5 seeds" in measure("score", [1.0, 2, 3, 4, 5], unit="seed").note
    assert "upper side" in measure("kl", RNG.lognormal(0, 1.2, size=40), unit="prompt").note
    assert "12 prompts cannot exclude skewed data" in measure("kl", RNG.normal(size=12), unit="prompt").note


def test_few_seeds_say_that_a_rare_odd_one_is_not_among_them() -> None:
    note = measure("score", [1.0, 2, 3, 4, 5], unit="seed").note
    assert "One odd seed in ten would be missed by 59 % of such samples." in note
    assert "odd seed" not in measure("score", np.arange(30.0), unit="seed").note


def test_equal_rows_of_a_mean_have_no_interval_and_those_of_a_fraction_an_exact_one() -> None:
    mean = measure("score", [2.0] * 20, unit="prompt")
    assert (mean.low, mean.high, mean.replicates) == (None, None, None)
    assert "All 20 prompts gave this same value" in mean.note and "up to 17 % of prompts" in mean.note
    none = measure("known", np.zeros(2048, dtype=bool), unit="prompt")
    assert (replicates(none) > 0).mean() == 0.5  # nothing was seen against 0
    assert (replicates(none) < 1 - 0.025 ** (1 / 2048)).mean() == pytest.approx(0.975, abs=5e-4)


def test_a_hundred_thousand_units_fit() -> None:
    sample = np.random.default_rng(4).exponential(size=100_000)
    m = measure("l0", sample, unit="token")
    assert m.low is not None and m.high is not None
    assert m.n == 100_000
    assert (m.high - m.low) / 2 == pytest.approx(1.96 * scipy.stats.sem(sample), rel=0.08)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"samples": [1.0, np.nan, 3.0]}, r"kl is NaN or infinite for 1 of 3 rows\s+seen: prompt two$"),
        ({"samples": [1.0, 2.0, np.inf]}, "prompt three"),
        ({"samples": []}, "kl has no samples"),
        ({"samples": ["a", "b", "c"]}, "not numbers"),
        ({"samples": [1.0, 2.0]}, "the ids do not fit"),
        ({"ids": ["one", "one", "two"]}, "several rows for one prompt"),
        ({"ids": None, "clusters": [[0, 1], [1, 1], [0, 2]]}, "pairs a prompt with itself"),
        ({"statistic": "medain"}, "nearest: median"),
        ({"statistic": "fraction"}, "expected: 0 or 1 in each row"),
        ({"statistic": "ratio"}, "expected: 2 columns"),
        ({"statistic": lambda rows: np.nan}, "does not exist for these samples"),
    ],
)  # fmt: skip
def test_what_is_not_evidence_is_refused_by_name(arguments: dict[str, Any], says: str) -> None:
    given = {"samples": [1.0, 2.0, 3.0], "unit": "prompt", "ids": ["one", "two", "three"], **arguments}
    with pytest.raises(ResultError, match=says):
        measure("kl", **given)


def test_a_count_is_exact() -> None:
    m = count("kept", 143, unit="prompt")
    assert (m.value, m.low, m.high, m.exact, m.n) == (143.0, None, None, True, 143)
    with pytest.raises(ResultError, match="kept is not a number"):
        count("kept", float("nan"), unit="prompt")


def test_medians_of_tied_values_do_not_fall_between_them() -> None:
    layers = np.repeat([10.0, 11, 12, 14], [5, 6, 7, 8])
    dealt = intervals.median_values(layers, intervals.Worth(len(layers)), REPLICATES)
    assert set(np.unique(dealt)) <= {10, 11, 12, 14}
