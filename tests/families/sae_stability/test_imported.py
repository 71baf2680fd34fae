"""Own seeds beside a dictionary that was trained elsewhere: both directions, chance, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.evidence.result import Result
from engine.families import sae_stability
from engine.families.sae_stability import Params, run
from engine.lab.lab import Lab, Point, UsedRun
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.matching import chance_median, random_directions
from engine.lab.sparse.saelens import write_saelens
from engine.models.micro import micro_model

N, THEIRS, D = 48, 96, 32
SITE = "blocks.1.hook_resid_post"
MODEL = micro_model()


@pytest.fixture(autouse=True)
def few_thresholds(monkeypatch):
    monkeypatch.setattr(sae_stability, "THRESHOLDS", [0.9])


@pytest.fixture(scope="module")
def directions() -> np.ndarray:
    return random_directions(THEIRS, D, np.random.default_rng(0))


def written(rows: np.ndarray, folder: Path, hook_name: str = SITE) -> str:
    W_dec = torch.from_numpy(np.asarray(rows, dtype=np.float32))
    latents, d = W_dec.shape
    coder = Coder(W_dec.T.contiguous(), torch.zeros(latents), W_dec, torch.zeros(d), "topk", 4)
    write_saelens(coder, folder, model_name=MODEL.name, hook_name=hook_name)
    return str(folder)


def stability(decoders: list[np.ndarray], live: int = N, **params) -> Result:
    points: dict[Point, UsedRun] = {}
    for seed, decoder in enumerate(decoders):
        rate = (np.arange(len(decoder)) < live) * 0.1
        arrays = {"W_enc": decoder.T, "W_dec": decoder, "firing_rate": rate}
        points[(("seed", seed),)] = UsedRun(Result(arrays=arrays), {"hook_site": SITE})
    return run(Lab(MODEL, uses={"saes": points}), Params(**params)).validated()


def test_both_directions_are_told_beside_chance(directions, tmp_path):
    # Every seed holds the first half of theirs, in an order of its own, so that half of theirs is in it.
    rng = np.random.default_rng(1)
    seeds = [directions[:N][rng.permutation(N)] for _ in range(3)]
    result = stability(seeds, coder=written(directions, tmp_path))
    found = result.measurements
    assert found["in_imported_best_match"].value == pytest.approx(1, abs=1e-5)
    assert found["in_imported_fraction_090"].value == 1
    assert found["of_imported_fraction_090"].value == 0.5
    assert found["encoder_in_imported_fraction_090"].value == 1
    assert found["imported_latents"].value == THEIRS
    assert (found["in_imported_best_match"].unit, found["in_imported_best_match"].n) == ("seed", 3)
    # A best match among more directions is larger by itself.
    for name, many in (("in_imported", THEIRS), ("of_imported", N)):
        control = found[f"{name}_best_match"].control
        assert control == f"chance_{name}_best_match"
        assert found[control].value == pytest.approx(chance_median(many, D), abs=0.03)
    assert result.tables["imported_per_seed"]["in_imported_best_match"].tolist() == pytest.approx([1, 1, 1])


def test_dead_latents_of_a_seed_and_rows_of_zeros_do_not_count(directions, tmp_path):
    rng = np.random.default_rng(2)
    seeds = [np.concatenate([directions[:24], random_directions(24, D, rng)]) for _ in range(2)]
    theirs = directions.copy()
    theirs[24:60] = 0
    found = stability(seeds, live=24, coder=written(theirs, tmp_path)).measurements
    assert found["imported_latents"].value == THEIRS - 36
    assert found["live_in_imported_fraction_090"].value == 1
    assert found["in_imported_fraction_090"].value == 0.5
    assert found["live_of_imported_fraction_090"].value == pytest.approx(24 / 60)


def test_all_other_numbers_are_the_same_with_it_and_without(directions, tmp_path):
    seeds = [random_directions(N, D, np.random.default_rng(seed)) for seed in range(3)]
    plain = stability(seeds).measurements
    beside = stability(seeds, coder=written(directions, tmp_path)).measurements
    for name, m in plain.items():
        assert (m.value, m.low, m.high) == (beside[name].value, beside[name].low, beside[name].high), name
    assert not any("imported" in name for name in plain)


def test_another_site_or_width_is_refused(directions, tmp_path):
    seeds = [directions[:N], directions[:N]]
    with pytest.raises(DataError, match="another hook site"):
        stability(seeds, coder=written(directions, tmp_path / "a", "blocks.0.hook_resid_pre"))
    with pytest.raises(DataError, match="expected: d_in: 32"):
        stability(seeds, coder=written(directions[:, :16], tmp_path / "b"))
