"""Evidence as a family gathers it."""

import numpy as np
import pandas as pd
import pytest

from engine.errors import ResultError
from engine.evidence.bootstrap import measure
from engine.evidence.builder import Evidence
from engine.evidence.result import Check

IDS = [f"p{i}" for i in range(40)]


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 3)) + np.arange(3)


def test_a_number_is_what_measure_makes_of_it(samples):
    ev = Evidence("prompt", IDS)
    chance = ev.control("chance", samples[:, 0], "By chance.")
    found = ev.finding("depth", samples[:, 1], "Depth.", "layers", control=chance)
    plain = measure("depth", samples[:, 1], unit="prompt", ids=IDS)
    assert (found.value, found.low, found.high, found.n) == (plain.value, plain.low, plain.high, 40)
    assert (found.control, found.quantity, found.about) == ("chance", "layers", "Depth.")
    result = ev.result().validated()
    assert {name: m.role for name, m in result.measurements.items()} == {
        "depth": "finding",
        "chance": "control",
    }


def test_a_ratio_is_of_means(samples):
    ev = Evidence("prompt", IDS)
    share = ev.finding("share", samples[:, 1], "Share.", over=samples[:, 2])
    assert share.statistic == "ratio"
    assert share.value == pytest.approx(samples[:, 1].mean() / samples[:, 2].mean())


def test_a_control_of_another_run_dangles_and_is_refused(samples):
    stranger = Evidence("prompt", IDS).control("chance", samples[:, 0], "By chance.")
    with pytest.raises(ResultError, match="no control of this run"):
        Evidence("prompt", IDS).finding("depth", samples[:, 1], "Depth.", control=stranger)


def test_a_name_stands_for_one_number(samples):
    ev = Evidence("prompt", IDS)
    ev.control("depth", samples[:, 0], "By chance.")
    with pytest.raises(ResultError, match="two measurements are called 'depth'"):
        ev.finding("depth", samples[:, 1], "Depth.")


def test_what_one_half_chose_the_other_measures(samples):
    ev = Evidence("prompt", IDS)
    first = np.arange(40) < 10
    choosing = ev.where(first, chosen_on="the first ten")
    best = choosing.best(samples)
    assert best.place == samples[:10].mean(axis=0).argmax()
    choice = choosing.choice("layer", best, "Best.")
    assert (choice.value, choice.n, choice.exact) == (best.place, 10, False)
    measured = ev.where(~first, chosen_on="the first ten").finding(
        "effect", samples[:, best.place], "Effect."
    )
    assert (measured.n, measured.chosen_on) == (30, "the first ten")
    assert measured.value == pytest.approx(samples[10:, best.place].mean())
    assert set(ev.result().measurements) == {"layer", "effect"}


def test_units_of_another_kind_are_gathered_together():
    ev = Evidence("context", ["c0", "c1", "c2", "c3"])
    pairs = [(a, b) for a in range(6) for b in range(a)]
    m = ev.over("seed", clusters=pairs).finding("agreement", np.linspace(0, 1, len(pairs)), "Agreement.")
    assert (m.unit, m.n) == ("seed", 6)
    assert list(ev.result().measurements) == ["agreement"]


def test_by_layer_has_a_row_and_an_interval_for_each_layer(samples):
    ev = Evidence("prompt", IDS).where(np.arange(40) < 30)
    table = ev.by_layer(samples, "effect", site="z")
    assert table["layer"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(table["effect"], samples[:30].mean(axis=0))
    assert np.all(np.diff(table[["low", "effect", "high"]].to_numpy(), axis=1) > 0)
    assert set(table["site"]) == {"z"}


def test_a_figure_names_columns_and_their_titles():
    ev = Evidence("prompt", IDS)
    frame = pd.DataFrame({"layer": [0, 1], "rank": [2.0, 1.0], "low": [1.0, 0.5], "high": [3.0, 2.0]})
    ev.table("ranks", frame).line("rank", "layer: blocks read", "rank", band=True, title="Rank", rule=0.5)
    figure = ev.result().figures["rank"]
    assert (figure.kind, figure.table, figure.title) == ("line", "ranks", "Rank")
    assert figure.columns == {"x": "layer", "y": "rank", "low": "low", "high": "high"}
    assert figure.options == {"x_title": "blocks read", "rule": 0.5}


def test_checks_and_arrays_go_along():
    ev = Evidence("prompt", IDS)
    ev.check(Check("sum", 0.0, 1e-5, "Adds up."))
    ev.array("rank", np.arange(3))
    result = ev.result()
    assert [check.name for check in result.checks] == ["sum"]
    assert result.arrays["rank"].tolist() == [0, 1, 2]


def test_a_choice_says_how_often_resamples_of_those_who_chose_choose_it_again():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3)) * 3
    values[:, 1:] += 10
    ev = Evidence("prompt", IDS)
    best = ev.best(values)
    choice = ev.choice("layer", best, "Best.")
    # By another way: means of the rows that each resample draws.
    draws = rng.integers(40, size=(4000, 40))
    slow = values[draws].mean(axis=1).argmax(axis=1)
    assert choice.frequency == pytest.approx((slow == best.place).mean(), abs=0.03)
    assert choice.replicates is not None and set(choice.replicates) == {1, 2}
    assert choice.frequency == (choice.replicates == best.place).mean()
    assert (choice.low, choice.statistic, choice.exact) == (None, "choice", False)


def test_parts_of_a_choice_move_together():
    values = np.random.default_rng(0).normal(size=(40, 6))
    ev = Evidence("prompt", IDS)
    best = ev.best(values)
    layer = ev.choice("layer", best.named(lambda place: place // 2), "Layer.")
    head = ev.choice("head", best.named(lambda place: place % 2), "Head.")
    assert layer.value * 2 + head.value == best.place
    assert layer.replicates is not None and head.replicates is not None
    assert (layer.replicates * 2 + head.replicates == best.by_unit).all()


def interval_width(low: float | None, high: float | None) -> float:
    assert low is not None and high is not None
    return high - low


def grouped(rows: int = 40, n: int = 8, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Values that are alike within a group, and the group of each."""
    rng = np.random.default_rng(0)
    groups = np.arange(rows) % n
    return spread * rng.normal(size=n)[groups] + rng.normal(size=rows), np.array([f"g{g}" for g in groups])


def test_units_that_are_alike_by_group_are_measured_for_two_populations():
    values, groups = grouped()
    ev = Evidence("prompt", IDS, groups=groups, group_unit="relation")
    m = ev.finding("depth", values, "Depth.")
    by_prompt = measure("depth", values, unit="prompt", ids=IDS)
    by_group = measure("depth", values, unit="relation", clusters=groups)
    assert (m.n, m.unit, m.n_clusters, m.cluster_unit) == (40, "prompt", 8, "relation")
    assert (m.replicates == by_prompt.replicates).all()
    assert (m.cluster_replicates == by_group.replicates).all()
    # What is printed is the wider one.
    assert (m.low, m.high) == (by_group.low, by_group.high)
    assert (m.these_low, m.these_high) == (by_prompt.low, by_prompt.high)
    assert interval_width(m.low, m.high) > 1.3 * interval_width(m.these_low, m.these_high)


def test_groups_that_differ_less_than_luck_do_not_narrow_what_is_printed():
    values, _ = grouped(spread=0.0)
    order = np.argsort(values)
    # Every group of two gets one from each end: its mean is nearly that of all.
    even = np.empty(40, dtype=object)
    even[order] = [f"g{min(place, 39 - place)}" for place in range(40)]
    m = Evidence("prompt", IDS, groups=even.astype(str), group_unit="relation").control(
        "depth", values, "Depth."
    )
    assert (m.low, m.high) == (m.these_low, m.these_high)


def test_too_few_groups_leave_the_interval_of_these_alone_and_say_so():
    values, groups = grouped(n=3)
    ev = Evidence("prompt", IDS, groups=groups, group_unit="relation")
    m = ev.finding("depth", values, "Depth.")
    assert m.low == m.these_low is not None
    assert m.cluster_replicates is None
    assert (
        m.note == "For relations like these: Only 3 relations: no 95 % interval over so few can be trusted."
    )
    choice = ev.choice("layer", ev.best(np.column_stack([values, values + 1])), "Best.")
    assert choice.cluster_replicates is None
    assert choice.cluster_note == "only 3 relations chose"


def test_a_part_of_the_units_keeps_its_groups():
    values, groups = grouped()
    half = Evidence("prompt", IDS, groups=groups, group_unit="relation").where(np.arange(40) % 8 < 4)
    assert half.finding("depth", values, "Depth.").n_clusters == 4


def test_units_that_are_picked_keep_their_names_and_groups():
    values, groups = grouped()
    ev = Evidence("prompt", IDS, groups=groups, group_unit="relation")
    index = np.array([30, 2, 11, 25, 8])
    picked = ev.of(index).control("depth", values[index], "Depth.")
    rows = np.isin(np.arange(40), index)
    same = Evidence("prompt", IDS, groups=groups, group_unit="relation").where(rows)
    where = same.control("depth", values, "Depth.")
    assert (picked.n, picked.n_clusters) == (5, len(set(groups[index])))
    assert (picked.low, picked.high) == (where.low, where.high)


def test_a_change_of_a_share_is_what_was_gained_less_what_was_lost():
    before = np.arange(40) < 30
    after = np.arange(40) >= 25
    groups = np.repeat([f"topic {i}" for i in range(10)], 4)
    ev = Evidence("prompt", IDS, groups=groups, group_unit="topic")
    found = ev.finding("change", after & ~before, "Change.", less=before & ~after, bounds=(-1.0, 1.0))
    assert found.value == pytest.approx(after.mean() - before.mean())
    assert found.low is not None and found.high is not None
    assert found.low < found.value < found.high
    assert found.cluster_replicates is not None
    # All lost: differences of the units are -1 throughout, of which no interval could be made.
    everything = np.ones(40, dtype=bool)
    all_lost = ev.finding("all", ~everything, "All lost.", less=everything, bounds=(-1.0, 1.0))
    assert (all_lost.value, all_lost.low) == (-1, -1)
    assert all_lost.high is not None and -1 < all_lost.high < 0


def test_the_ends_of_intervals_are_numbers_where_all_are_withheld():
    ev = Evidence("prompt")
    ev.table("withheld", pd.DataFrame({"layer": [0, 1], "low": [None, None], "high": [None, None]}))
    ev.table("one", pd.DataFrame([{"low": 0.25, "high": 1.0}, {"low": None, "high": None}]))
    ev.table("plain", pd.DataFrame({"layer": [0, 1], "word": ["a", None]}))
    tables = ev.result().tables
    assert [str(kind) for kind in tables["withheld"].dtypes] == ["int64", "float64", "float64"]
    assert tables["one"]["low"].tolist()[0] == 0.25 and np.isnan(tables["one"]["high"].iloc[1])
    assert list(tables["plain"]) == ["layer", "word"] and tables["plain"]["layer"].dtype == "int64"
