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
    assert best == samples[:10].mean(axis=0).argmax()
    choice = choosing.choice("layer", best, "Best.")
    assert (choice.value, choice.n, choice.exact) == (best, 10, True)
    measured = ev.where(~first, chosen_on="the first ten").finding("effect", samples[:, best], "Effect.")
    assert (measured.n, measured.chosen_on) == (30, "the first ten")
    assert measured.value == pytest.approx(samples[10:, best].mean())
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
