"""The crosscoder family on planted sources and on a micro model's own layers, and what it refuses."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from engine.errors import DataError, SpecError
from engine.families import crosscoder
from engine.families.crosscoder import Params, run, study
from engine.families.crosscoder.planted_sources import planted_sources
from engine.families.crosscoder.source_data import SourceData
from engine.lab.lab import Lab
from engine.lab.second_model import ExchangeLab
from engine.models.micro import micro_model
from engine.report.charts.draw import draw
from tests.families.sparse_lab import sparse_lab

SITES = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
PLANTED = planted_sources(8, 4, widths=(16, 16), rate=0.08)
PARAMS = Params(sites=SITES, n_features=16, k=2, lr=1e-2, batch_size=64, epochs=4, held_out=0.2)


def planted(n_rows: int = 4000) -> SourceData:
    """Activations of planted sources; 50 rows to a context, a fifth of them held out, four passes."""
    rows = PLANTED.draw(n_rows, 0)
    held, kept = rows[: n_rows // 5], rows[n_rows // 5 :]
    context = torch.arange(len(held)) // 50

    def train():
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            order = torch.randperm(len(kept), generator=generator)
            yield from (kept[part] for part in order.split(PARAMS.batch_size))

    n_steps = 4 * len(kept) // PARAMS.batch_size
    return SourceData(train, lambda: iter([(held, context)]), n_steps, len(held) // 50, SITES, (16, 16))


@pytest.fixture(scope="module")
def result():
    return study(planted(), PARAMS, Lab(micro_model())).validated()


@pytest.fixture(scope="module")
def of_a_model():
    """A crosscoder of the micro model's own activations over made-up text."""
    return run(sparse_lab(None), PARAMS).validated()


def test_a_spec_cannot_ask_for_more_active_latents_than_there_are():
    with pytest.raises(ValidationError, match="k = 17 is more than n_features = 16"):
        Params(n_features=16, k=17)


def test_planted_sources_are_found(result):
    found = result.measurements
    assert found["shared_fraction"].value == pytest.approx(0.5, abs=0.15)
    assert found["real_exclusive_fraction"].value == pytest.approx(0.5, abs=0.15)
    assert found["shuffled_shared_fraction"].value < 0.2
    assert found["explained_variance_0"].value > found["random_explained_variance_0"].value + 0.2
    assert found["frac_alive"].value > 0.9
    assert abs(found["decoder_cosine"].value) < 0.4


def test_contexts_and_latents_are_the_units(result):
    found = result.measurements
    assert (found["explained_variance"].n, found["explained_variance"].unit) == (16, "context")
    assert found["shared_fraction"].unit == "latent"
    for m in result.findings:
        assert not m.control or m.control in found
    assert result.failed_checks == []


def test_tables_figures_and_arrays(result):
    assert len(result.tables["by_site"]) == 4
    assert set(result.tables["per_latent"]["largest_at"]) <= set(SITES)
    assert result.arrays["directions"].shape == (16, 32)
    assert result.arrays["widths"].tolist() == [16, 16]
    for figure in result.figures.values():
        draw(figure, result.tables[figure.table])


def test_a_models_own_layers(of_a_model):
    found = of_a_model.measurements
    assert found["explained_variance"].value > found["random_explained_variance"].value
    assert {check.name for check in of_a_model.checks} == {"alive"}
    assert of_a_model.failed_checks == []
    assert of_a_model.tables["by_site"]["site"].unique().tolist() == SITES


def test_relative_depths_are_the_layers_they_name(of_a_model):
    sites = ["blocks.0%.hook_resid_post", "blocks.100%.hook_resid_post"]
    found = run(sparse_lab(None), PARAMS.model_copy(update={"sites": sites}))
    assert np.array_equal(found.arrays["directions"], of_a_model.arrays["directions"])


def test_impossible_sites_are_refused():
    lab = sparse_lab(None)
    with pytest.raises(SpecError, match="given twice"):
        run(lab, PARAMS.model_copy(update={"sites": [SITES[0], "blocks.0%.hook_resid_post"]}))
    with pytest.raises(SpecError, match="no layer 7"):
        run(lab, PARAMS.model_copy(update={"sites": [SITES[0], "blocks.7.hook_resid_post"]}))


@pytest.fixture(scope="module")
def of_two_models():
    """The micro model beside a wider and deeper one with the same tokens, half way up both."""
    own, wide = sparse_lab(None), micro_model(d_model=48, n_layers=4, seed=1)
    models = {own.model.name: own.model, "wide": wide}
    lab = ExchangeLab(own.model, corpus=own.corpus, load=models.__getitem__)
    given = PARAMS.model_dump(exclude={"sites"}) | {"against": "wide"}
    return run(lab, Params.model_validate(given)).validated()


def test_two_models_of_different_widths(of_two_models):
    found = of_two_models.measurements
    sites = of_two_models.tables["by_site"]["site"].unique().tolist()
    assert [site.split()[1] for site in sites] == ["blocks.1.hook_resid_post", "blocks.2.hook_resid_post"]
    assert of_two_models.arrays["directions"].shape == (16, 32 + 48)
    assert of_two_models.arrays["widths"].tolist() == [32, 48]
    assert {check.name for check in of_two_models.checks} == {"alive"}
    assert of_two_models.failed_checks == []
    assert found["explained_variance_1"].value > found["random_explained_variance_1"].value
    assert {"error_ratio", "reconstruction_ratio"} <= set(of_two_models.tables["per_latent"])


def test_directions_of_two_models_are_not_compared(of_two_models):
    assert "decoder_cosine" not in of_two_models.measurements
    assert "decoder_cosine" not in of_two_models.tables["per_latent"]
    for figure in of_two_models.figures.values():
        draw(figure, of_two_models.tables[figure.table])


def test_there_are_two_sources_at_least():
    assert Params(against="wide").sites == ["blocks.50%.hook_resid_post"]
    assert Params(against="wide", sites=SITES).sites == SITES
    with pytest.raises(ValueError, match="a second model as `against`"):
        Params(sites=SITES[:1])
    with pytest.raises(ValueError, match="against"):
        Params(against="  ")


def test_too_little_text_is_refused():
    with pytest.raises(DataError, match="shorter than one batch"):
        run(sparse_lab(None), PARAMS.model_copy(update={"batch_size": 10**6}))


def test_calibrations_pass():
    assert [c.name for c in crosscoder.calibrate() if not c.passed] == []


def test_a_negative_seed_is_refused_before_anything_is_measured():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Params(seed=-1)


def test_the_stricter_reading_of_shared_asks_for_the_direction_too(of_a_model):
    found = of_a_model.measurements
    assert found["aligned_fraction"].value <= found["shared_fraction"].value
    assert found["aligned_fraction"].control == "shuffled_aligned_fraction"
    every = run(sparse_lab(None), PARAMS.model_copy(update={"aligned_from": -1.0})).measurements
    assert every["aligned_fraction"].value == pytest.approx(every["shared_fraction"].value)


def test_explained_variance_per_token_stands_beside_principal_components(of_a_model):
    found = of_a_model.measurements
    own = found["explained_variance_per_token"]
    assert own.control == "pca_explained_variance_per_token"
    assert own.value > found["random_explained_variance_per_token"].value
    assert 0 < found["pca_explained_variance"].value < 1


def test_massive_tokens_are_left_out_at_every_site_and_counted():
    few = run(sparse_lab(None), PARAMS.model_copy(update={"max_norm": 1.2})).measurements
    every = run(sparse_lab(None), PARAMS.model_copy(update={"max_norm": None})).measurements
    assert every["massive_tokens_training"].value == every["massive_tokens_held_out"].value == 0
    assert few["massive_tokens_training"].value > 0
    left_out = few["massive_tokens_held_out"].value
    assert few["tokens_held_out"].value == every["tokens_held_out"].value - left_out
