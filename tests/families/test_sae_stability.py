"""Seed stability: what identical, unrelated and partly dead dictionaries give, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from engine.errors import DataError, SpecError
from engine.evidence.result import Result
from engine.families import sae_stability
from engine.families.sae_stability import Params, run
from engine.lab.lab import Lab, Point, UsedRun
from engine.lab.sparse.matching import chance_median, random_directions
from engine.models.micro import micro_model
from engine.report.charts.draw import draw

N, D = 48, 24


@pytest.fixture(autouse=True)
def few_thresholds(monkeypatch):
    monkeypatch.setattr(sae_stability, "THRESHOLDS", [0.5, 0.9])


def trained(decoder: np.ndarray, encoder: np.ndarray | None = None, live: int | None = None) -> Result:
    rate = (np.arange(len(decoder)) < (len(decoder) if live is None else live)) * 0.1
    side = decoder if encoder is None else encoder
    return Result(arrays={"W_enc": side.T, "W_dec": decoder, "firing_rate": rate})


def stability(*saes: Result, **params) -> Result:
    points: dict[Point, UsedRun] = {(("seed", seed),): UsedRun(sae) for seed, sae in enumerate(saes)}
    return run(Lab(micro_model(), uses={"saes": points}), Params(**params)).validated()


@pytest.fixture(scope="module")
def base() -> np.ndarray:
    return random_directions(N, D, np.random.default_rng(1))


@pytest.fixture(scope="module")
def unrelated() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [random_directions(N, D, rng) for _ in range(5)]


def test_one_dictionary_in_several_orders_is_stable(base):
    rng = np.random.default_rng(0)
    orders = [rng.permutation(N) for _ in range(4)]
    found = stability(*(trained(base[order]) for order in orders)).measurements
    for name in ("median_best_match", "pw_mcc", "encoder_mean_one_to_one", "fraction_090", "shared_fraction"):
        assert found[name].value == pytest.approx(1, abs=1e-5), name
        assert found[f"live_{name}"].value == pytest.approx(1, abs=1e-5), name
        assert found[found[name].control].value < 0.7
    assert found["random_pairing_cosine"].value < 0.1


def test_unrelated_dictionaries_are_at_chance(unrelated):
    found = stability(*map(trained, unrelated)).measurements
    assert found["median_best_match"].value == pytest.approx(chance_median(N, D), abs=0.02)
    for name in ("median_best_match", "mean_best_match", "pw_mcc", "fraction_090", "shared_fraction"):
        number = found[name]
        assert number.value == pytest.approx(found[number.control].value, abs=0.03), name
    assert found["permuted_best_match"].value == pytest.approx(found["chance_best_match"].value, abs=0.06)


def test_pairs_are_resampled_by_seed(unrelated):
    found = stability(*map(trained, unrelated)).measurements
    number = found["mean_best_match"]
    assert (number.n, number.unit, found["n_seeds"].value) == (5, "seed", 5)
    assert number.low is None or (number.high is not None and number.low <= number.value <= number.high)
    assert found["chance_best_match"].unit == "draw"


def test_two_seeds_give_numbers_and_say_why_there_is_no_interval(unrelated):
    number = stability(*map(trained, unrelated[:2])).measurements["median_best_match"]
    assert number.low is None
    assert "Only 2 seeds" in number.note


def test_dead_latents_are_left_out_of_the_live_numbers(base, unrelated):
    mixed = [np.concatenate([base[:30], other[30:]]) for other in unrelated[:4]]
    found = stability(*(trained(decoder, live=30) for decoder in mixed)).measurements
    assert found["live_pw_mcc"].value == pytest.approx(1, abs=1e-5)
    assert found["pw_mcc"].value < 0.9
    assert found["frac_alive"].value == pytest.approx(30 / N)
    assert found["chance_live_best_match"].value < found["chance_best_match"].value


def test_seeds_may_have_unequal_numbers_of_live_latents(base):
    found = stability(*(trained(base, live=live) for live in (40, 42, 46, 48))).measurements
    assert found["live_pw_mcc"].value == pytest.approx(1, abs=1e-5)
    assert found["live_median_best_match"].value == pytest.approx(1, abs=1e-5)
    assert found["live_fraction_090"].value < 1


def test_a_feature_is_shared_only_where_encoders_agree(base, unrelated):
    apart = stability(*(trained(base, encoder=other) for other in unrelated[:4])).measurements
    assert apart["pw_mcc"].value == pytest.approx(1, abs=1e-5)
    assert apart["shared_fraction"].value == 0
    assert apart["encoder_mean_one_to_one"].value < 0.7


def test_wide_dictionaries_are_compared_by_best_match_only(unrelated):
    found = stability(*map(trained, unrelated), most_one_to_one=N - 1).measurements
    assert "median_best_match" in found
    assert "pw_mcc" not in found
    assert "shared_fraction" not in found


def test_tables_and_figures(unrelated):
    result = stability(*(trained(decoder, live=40) for decoder in unrelated))
    assert len(result.tables["per_pair"]) == 10
    assert result.tables["per_seed"]["live"].tolist() == [40] * 5
    at_half = result.tables["by_threshold"].query("threshold == 0.5")
    assert set(at_half["series"]) == {
        "all latents",
        "live latents",
        "random directions",
        "permuted coordinates",
    }
    assert result.arrays["best_match"].shape == (10, N)
    for figure in result.figures.values():
        draw(figure, result.tables[figure.table])


@pytest.mark.parametrize(
    ("points", "seen"),
    [
        ([(("seed", 0),)], "1 run, swept over nothing"),
        ([()], "1 run, swept over nothing"),
        ([(("k", 8), ("seed", 0)), (("k", 16), ("seed", 1))], "2 runs, swept over k, seed"),
    ],
)
def test_it_compares_seeds_and_nothing_else(points, seen, base):
    lab = Lab(micro_model(), uses={"saes": {point: UsedRun(trained(base)) for point in points}})
    with pytest.raises(SpecError, match=seen):
        run(lab, Params())


def test_what_is_no_trained_sae_is_refused(base):
    with pytest.raises(DataError, match="seed 1 is no trained SAE"):
        stability(trained(base), Result(arrays={"W_dec": base}))
    with pytest.raises(DataError, match="no latent of seed 1 is live"):
        stability(trained(base), trained(base, live=0))
    with pytest.raises(SpecError, match="saes"):
        run(Lab(micro_model()), Params())


def test_calibrations_pass(monkeypatch):
    assert [c.name for c in sae_stability.calibrate() if not c.passed] == []


def test_a_negative_seed_is_refused_before_anything_is_measured():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Params(seed=-1)


def test_checkpoints_give_the_curve_and_what_the_last_half_of_the_steps_added(base, unrelated):
    saes = []
    for seed, drawn in enumerate(unrelated):
        # Unrelated at first, the same directions at the end.
        sae = trained(base)
        kept = {"checkpoint_decoders": drawn[None].astype(np.float16), "checkpoint_steps": np.array([5])}
        table = pd.DataFrame(
            {
                "step": [5, 10],
                "tokens": [50, 100],
                "lr": [1e-3, 0.0],
                "explained_variance": [0.1, 0.6],
                "explained_variance_per_token": [0.1, 0.5 + seed / 100],
                "start_cosine": [0.9, 0.2],
            }
        )
        saes.append(Result(arrays={**sae.arrays, **kept}, tables={"checkpoints": table}))
    found = stability(*saes)
    curve = found.tables["by_step"]
    assert curve["step"].tolist() == [5, 10] and curve["start_cosine"].tolist() == pytest.approx([0.9, 0.2])
    assert curve["pw_mcc"].iloc[-1] == pytest.approx(1, abs=1e-5)
    assert curve["pw_mcc"].iloc[0] == pytest.approx(curve["chance"].iloc[0], abs=0.03)
    gain = found.measurements["pw_mcc_gain"].value
    assert gain == pytest.approx(curve["pw_mcc"].iloc[1] - curve["pw_mcc"].iloc[0])
    assert found.measurements["explained_variance_gain"].value == pytest.approx(0.42)
    assert not stability(*map(trained, unrelated)).tables.keys() & {"by_step"}
