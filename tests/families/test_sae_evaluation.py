"""A dictionary that is brought along: measured as one trained here, matched with another, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import DataError, SpecError
from engine.families import polysemanticity_sae, sae_evaluation
from engine.families.sae_evaluation import Params, run
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.run_arrays import coder_of
from engine.lab.sparse.saelens import write_saelens
from engine.lab.sparse.saelens_config import CONFIG, WEIGHTS
from tests.families.sparse_lab import SITE, sparse_lab

HARVEST = {"context_tokens": 16, "held_out": 0.2, "shown_latents": 5}
SMALL = polysemanticity_sae.Params(n_features=96, k=6, batch_size=128, lr=1e-2, epochs=4, **HARVEST)
OWN = ("start_cosine", "tokens_trained")
"""What only a training has."""


@pytest.fixture(scope="module", params=["topk", "batchtopk"])
def trained(request, tmp_path_factory):
    """A run that trained a dictionary, and the folder that it was written to."""
    result = polysemanticity_sae.run(sparse_lab(), SMALL.model_copy(update={"kind": request.param}))
    return result, written(result, tmp_path_factory.mktemp("sae"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    result = polysemanticity_sae.run(sparse_lab(), SMALL.model_copy(update={"epochs": 1, "seed": 3}))
    return written(result, tmp_path_factory.mktemp("other"))


def written(result, folder: Path) -> Path:
    model = sparse_lab().model.name
    write_saelens(coder_of(result.arrays, "it"), folder, model_name=model, hook_name=SITE, k=SMALL.k)
    return folder


def given(folder: Path, **more) -> Params:
    return Params(coder=str(folder), **HARVEST, **more)


def test_a_dictionary_that_came_back_has_the_numbers_of_its_training(trained):
    result, folder = trained
    again = run(sparse_lab(), given(folder)).validated("made up")
    assert not again.failed_checks
    both = result.measurements.keys() - set(OWN)
    assert both <= again.measurements.keys()
    for name in both:
        one = result.measurements[name]
        other = again.measurements[name]
        assert other.value == pytest.approx(one.value, abs=1e-6), name
        assert (other.role, other.control, other.unit) == (one.role, one.control, one.unit), name
        assert (other.low is None) == (one.low is None), name
        if one.low is not None:
            assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=1e-6), name
    assert again.tables["per_latent"]["firing_rate"].equals(result.tables["per_latent"]["firing_rate"])
    assert again.measurements["control_k"].value == SMALL.k


def test_thresholds_of_their_own_are_measured_and_controls_have_the_mean_l0(trained, tmp_path):
    result, _ = trained
    coder = coder_of(result.arrays, "it")
    threshold = torch.linspace(0.0, 0.2, coder.n_features) * coder.b_dec.norm()
    jumprelu = Coder(coder.W_enc, coder.b_enc, coder.W_dec, coder.b_dec, "jumprelu", 0, threshold)
    write_saelens(jumprelu, tmp_path, model_name="", hook_name="blocks.2.hook_resid_pre")
    found = run(sparse_lab(), given(tmp_path)).validated("made up").measurements
    assert found["control_k"].value == pytest.approx(found["l0"].value, rel=0.3)
    assert found["explained_variance"].control == "random_explained_variance"
    chosen = run(sparse_lab(), given(tmp_path, control_k=2)).measurements
    assert chosen["control_k"].value == 2
    assert chosen["pca_explained_variance"].value < found["pca_explained_variance"].value
    assert chosen["explained_variance"].value == found["explained_variance"].value


def test_its_latents_are_matched_with_those_of_another(trained, folder, tmp_path):
    _, own = trained
    itself = run(sparse_lab(), given(own, other=str(own))).measurements
    assert itself["best_match"].value == pytest.approx(1, abs=1e-5)
    assert itself["other_fraction_090"].value == itself["fraction_090"].value == 1
    other = run(sparse_lab(), given(own, other=str(folder)))
    found = other.measurements
    assert found["chance_best_match"].value < found["best_match"].value < 1
    assert found["best_match"].control == "chance_best_match"
    assert found["best_match"].n == round(found["frac_alive"].value * 96)
    assert found["best_match"].low is not None and found["best_match"].unit == "latent"
    assert set(other.tables["best_match"]["series"]) > {"latents of this dictionary"}
    back = run(sparse_lab(), given(folder, other=str(own))).measurements
    assert back["other_best_match"].value == pytest.approx(found["best_match"].value)


def test_the_massive_rule_holds_here_too(trained):
    _, folder = trained
    few = run(sparse_lab(), given(folder, max_norm=1.2)).measurements
    every = run(sparse_lab(), given(folder, max_norm=None)).measurements
    assert few["massive_tokens_held_out"].value > 0 == every["massive_tokens_held_out"].value
    assert few["explained_variance"].value != every["explained_variance"].value


def changed(folder: Path, to: Path, metadata: dict | None = None, **fields) -> Path:
    """A copy of the folder that says something else."""
    to.mkdir(exist_ok=True)
    (to / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    config = json.loads((folder / CONFIG).read_text()) | fields
    config["metadata"] |= metadata or {}
    (to / CONFIG).write_text(json.dumps(config))
    return to


def test_what_does_not_fit_is_refused_before_the_corpus_is_read(folder, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the corpus was read")

    monkeypatch.setattr(sae_evaluation, "harvested", never)

    def refusal(place: Path, **more) -> str:
        with pytest.raises(DataError) as told:
            run(sparse_lab(), given(place, **more))
        return str(told.value)

    assert "another model" in refusal(changed(folder, tmp_path / "a", {"model_name": "gpt2"}))
    elsewhere = changed(folder, tmp_path / "b", {"hook_name": "blocks.0.hook_resid_post"})
    assert "another hook site" in refusal(elsewhere)
    assert "another hook site" in refusal(folder, other=str(elsewhere))
    assert "no such folder" in refusal(tmp_path / "nowhere")
    weights = load_file(folder / WEIGHTS)
    narrow = changed(folder, tmp_path / "c", d_in=31)
    sliced = {
        "W_enc": weights["W_enc"][:31],
        "W_dec": weights["W_dec"][:, :31],
        "b_dec": weights["b_dec"][:31],
    }
    save_file({k: v.contiguous() for k, v in (weights | sliced).items()}, narrow / WEIGHTS)
    assert "expected: d_in: 32" in refusal(narrow)
    broken = changed(folder, tmp_path / "d")
    save_file(weights | {"b_enc": weights["b_enc"] / 0}, broken / WEIGHTS)
    assert "b_enc holds numbers that are not finite" in refusal(broken)
    with pytest.raises(SpecError, match="hook site"):
        run(sparse_lab(site=None), given(folder))
