"""The crosscoder family on planted sources, through a made-up harvest, and what it refuses."""

import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch

from engine.errors import DataError, SpecError
from engine.families import crosscoder
from engine.families.crosscoder import Params, run, study
from engine.lab.lab import Lab
from engine.lab.sparse.measured_crosscoder import SourceData, misaligned
from engine.lab.sparse.planted_sources import planted_sources
from engine.models.micro import micro_model
from engine.report.charts import draw

SITES = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
PLANTED = planted_sources(8, 4, d=16, rate=0.08)
PARAMS = Params(sites=SITES, n_features=16, k=2, lr=1e-2, batch_size=64, epochs=4, held_out=0.2)


@dataclass
class MadeUp:
    """Activations of planted sources: rows "row source d", 50 to a context."""

    kept: torch.Tensor

    @property
    def n_tokens(self) -> int:
        return len(self.kept)

    @property
    def n_contexts(self) -> int:
        return len(self.kept) // 50

    @property
    def context(self) -> np.ndarray:
        return np.arange(len(self.kept), dtype=np.int32) // 50

    def rows(self, site: str, index: torch.Tensor) -> torch.Tensor:
        return self.kept[index, SITES.index(site)]

    def batches(self, sites, batch_size, seed, epochs):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(len(self.kept), generator=generator)
            yield from (self.kept[part] for part in order.split(batch_size))

    def split(self, fraction: float):
        n_held = round(fraction * self.n_contexts) * 50
        return MadeUp(self.kept[n_held:]), MadeUp(self.kept[:n_held])


class LabOfText(Lab):
    folder = None

    def text(self) -> str:
        return "planted"


@pytest.fixture
def harvested(monkeypatch) -> dict:
    """Stands in for the harvest; holds what it was asked for."""
    asked: dict = {"n_rows": 5000}
    module = ModuleType("engine.lab.harvest")

    def harvest(model, corpus, sites, **options):
        asked.update(corpus=corpus, sites=sites, **options)
        return MadeUp(PLANTED.draw(asked["n_rows"], 0))

    module.harvest = harvest  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "engine.lab.harvest", module)
    return asked


@pytest.fixture
def result(harvested):
    return run(LabOfText(micro_model()), PARAMS).validated()


def test_planted_sources_are_found(result, harvested):
    found = result.measurements
    assert found["shared_fraction"].value == pytest.approx(0.5, abs=0.15)
    assert found["real_exclusive_fraction"].value == pytest.approx(0.5, abs=0.15)
    assert found["shuffled_shared_fraction"].value < 0.2
    assert found["explained_variance_0"].value > found["random_explained_variance_0"].value + 0.2
    assert found["frac_alive"].value > 0.9
    assert abs(found["decoder_cosine"].value) < 0.4
    assert harvested["corpus"] == "planted"
    assert (harvested["sites"], harvested["context_tokens"]) == (SITES, 128)


def test_contexts_and_latents_are_the_units(result):
    found = result.measurements
    assert (found["explained_variance"].n, found["explained_variance"].unit) == (20, "context")
    assert found["shared_fraction"].unit == "latent"
    for m in result.findings:
        assert not m.control or m.control in found
    assert result.failed_checks == []


def test_tables_figures_and_arrays(result):
    assert len(result.tables["by_site"]) == 4
    assert set(result.tables["per_latent"]["largest_at"]) <= set(SITES)
    assert result.arrays["directions"].shape == (16, 2, 16)
    for figure in result.figures.values():
        draw(figure, result.tables[figure.table])


def test_relative_depths_are_resolved(harvested):
    sites = ["blocks.0%.hook_resid_post", "blocks.100%.hook_resid_post"]
    run(LabOfText(micro_model()), PARAMS.model_copy(update={"sites": sites, "epochs": 1}))
    assert harvested["sites"] == SITES


def test_misaligned_sources_keep_their_rows_and_lose_their_partners():
    rows = torch.arange(60, dtype=torch.float32).reshape(20, 3, 1)
    (shuffled,) = misaligned(iter([rows]), seed=0)
    assert torch.equal(shuffled[:, 0], rows[:, 0])
    for source in (1, 2):
        assert torch.equal(shuffled[:, source].sort(dim=0).values, rows[:, source])
        assert not torch.equal(shuffled[:, source], rows[:, source])
    assert not torch.equal(shuffled[:, 1] - rows[:, 1], shuffled[:, 2] - rows[:, 2])


def test_impossible_sites_are_refused(harvested):
    lab = LabOfText(micro_model())
    with pytest.raises(SpecError, match="given twice"):
        run(lab, PARAMS.model_copy(update={"sites": [SITES[0], "blocks.0%.hook_resid_post"]}))
    with pytest.raises(SpecError, match="no layer 7"):
        run(lab, PARAMS.model_copy(update={"sites": [SITES[0], "blocks.7.hook_resid_post"]}))


def test_too_little_text_is_refused(harvested):
    harvested["n_rows"] = 70
    with pytest.raises(DataError, match="shorter than one batch"):
        study(SourceData(lambda: iter([]), lambda: iter([]), 0, 1, SITES), PARAMS, Lab(micro_model()))


def test_calibrations_pass():
    assert [c.name for c in crosscoder.calibrate() if not c.passed] == []
