"""Sparse probing on models whose embedding holds the label: in one coordinate, or a bit in each."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from engine.errors import DataError, SpecError
from engine.evidence.result import Result
from engine.families import sparse_probing
from engine.families.sparse_probing import Params, basis_of, planted_lab
from engine.lab.lab import Lab
from engine.lab.sparse.coder import random_coder
from engine.lab.sparse.run_arrays import arrays_of
from engine.lab.sparse.saelens import write_saelens
from engine.lab.used_run import UsedRun

SITE = "blocks.0.hook_resid_pre"
QUICK: dict[str, Any] = {"site": SITE, "max_k": 4, "control_draws": 1}


@pytest.fixture(scope="module")
def neuron() -> Result:
    return sparse_probing.run(planted_lab("neuron"), Params(**QUICK))


@pytest.fixture(scope="module")
def with_sae() -> Result:
    return sparse_probing.run(used_sae(planted_lab("neuron")), Params(**QUICK))


def used_sae(lab: Lab, site: str = SITE) -> Lab:
    """The lab with a dictionary of two latents more than coordinates: latent 2 is the planted neuron."""
    d = lab.model.shape.d_model
    coder = random_coder(d, d + 2, d, seed=0)
    coder.W_enc[:, 2] = 0.0
    coder.W_enc[5, 2] = 1.0
    run = UsedRun(Result(arrays=arrays_of(coder, np.ones(d + 2))), {"hook_site": site})
    return replace(lab, uses={"sae": {(): run}})


def without(lab: Lab, rows: np.ndarray | slice, **columns: Any) -> Lab:
    """The lab with some of its texts, and some columns written anew."""
    assert lab.prompts
    table = lab.prompts.table.loc[rows].reset_index(drop=True).assign(**columns)
    return replace(lab, prompts=replace(lab.prompts, table=table))


def values(result: Result) -> dict[str, float]:
    return {name: m.value for name, m in result.measurements.items()}


def test_a_planted_neuron_is_all_that_a_probe_needs(neuron: Result) -> None:
    found = values(neuron)
    assert found["k1_auc"] == pytest.approx(1.0)
    assert found["dense_auc"] > 0.85
    assert abs(found["random_k1_auc"] - 0.5) < 0.2
    assert neuron.tables["chosen"]["coordinate"].iloc[0] == 5
    assert neuron.tables["chosen"]["auc_held_out"].iloc[0] == pytest.approx(1.0)


def test_a_concept_spread_over_all_needs_the_dense_probe() -> None:
    found = values(sparse_probing.run(planted_lab("spread"), Params(**QUICK)))
    assert found["dense_auc"] > 0.9
    assert found["mean_difference_auc"] > 0.9
    assert found["k1_auc"] < 0.8
    assert found["dense_over_k1"] == pytest.approx(found["dense_auc"] - found["k1_auc"], abs=1e-12)


def test_numbers_are_of_held_out_clusters_and_the_halves_share_none(neuron: Result) -> None:
    found = neuron.measurements
    assert found["texts_training"].value + found["texts_held_out"].value == found["texts_used"].value == 240
    assert found["clusters_training"].value + found["clusters_held_out"].value == 12
    assert found["k1_auc"].n == 120 and found["k1_auc"].n_clusters == 6
    assert found["k1_auc"].cluster_unit == "topic"
    assert "column topic" in found["k1_auc"].chosen_on


def test_an_auc_is_that_of_the_scores_that_the_table_holds() -> None:
    result = sparse_probing.run(planted_lab("spread"), Params(**QUICK))
    scores = result.tables["scores"]
    assert len(scores) == 120
    expected = roc_auc_score(scores["label"] == "yes", scores["score"])
    assert values(result)["dense_auc"] == pytest.approx(expected, abs=1e-12)


def test_labels_and_texts_that_are_held_out_change_nothing_that_is_chosen() -> None:
    lab = planted_lab("spread")
    before = sparse_probing.run(lab, Params(**QUICK))
    assert lab.prompts
    held_out = lab.prompts.table["id"].isin(before.tables["scores"]["id"])
    flipped = np.where(lab.prompts.table["label"] == "yes", "no", "yes")
    mislabelled = without(lab, slice(None), label=lab.prompts.table["label"].where(~held_out, flipped))
    after = sparse_probing.run(mislabelled, Params(**QUICK))
    columns = ["coordinate", "auc_training"]
    assert before.tables["chosen"][columns].equals(after.tables["chosen"][columns])
    assert before.tables["scores"]["score"].equals(after.tables["scores"]["score"])
    assert values(after)["dense_auc"] == pytest.approx(1 - values(before)["dense_auc"])


def test_every_finding_of_an_auc_has_its_control(with_sae: Result) -> None:
    for m in with_sae.findings:
        if m.name.endswith("_auc"):
            assert m.control.startswith(("random_", "shuffled_")), m.name
    assert with_sae.measurements["k2_auc"].control == "random_k2_auc"
    assert with_sae.measurements["latent_k2_auc"].control == "random_latent_k2_auc"
    assert not with_sae.failed_checks


def test_latents_of_the_run_used_are_probed_beside_coordinates(with_sae: Result, neuron: Result) -> None:
    found = values(with_sae)
    assert found["latents"] == 66 and found["coordinates"] == 64
    assert found["latent_k1_auc"] == pytest.approx(1.0)
    assert found["latent_k1_over_dense"] == pytest.approx(found["latent_k1_auc"] - found["dense_auc"])
    assert found["latent_k1_over_coordinates"] == pytest.approx(0.0, abs=1e-12)
    chosen = with_sae.tables["chosen"]
    assert chosen.loc[chosen["basis"] == "SAE latents", "coordinate"].tolist()[0] == 2
    # What is measured without a dictionary does not depend on whether there is one.
    assert {name: found[name] for name in values(neuron)} == values(neuron)


def test_a_folder_of_saelens_is_probed_too(tmp_path) -> None:
    lab = planted_lab("neuron")
    coder = random_coder(64, 80, 8, seed=1)
    write_saelens(coder, tmp_path / "sae", model_name=lab.model.name, hook_name=SITE)
    found = values(sparse_probing.run(lab, Params(coder=str(tmp_path / "sae"), **QUICK)))
    assert found["latents"] == 80 and 0 <= found["latent_dense_auc"] <= 1


def test_a_dictionary_of_another_site_and_two_of_them_are_refused() -> None:
    with pytest.raises(SpecError, match=r"(?s)trained at another hook site.*blocks\.0\.hook_mlp_out"):
        sparse_probing.run(used_sae(planted_lab("neuron"), "blocks.0.hook_mlp_out"), Params(**QUICK))
    with pytest.raises(SpecError, match="two dictionaries"):
        sparse_probing.run(used_sae(planted_lab("neuron")), Params(coder="somewhere", **QUICK))


def test_more_than_two_labels_and_a_label_that_is_not_there_are_refused() -> None:
    lab = planted_lab("neuron")
    three = without(lab, slice(None), label=["a", "b", "c"] * 80)
    with pytest.raises(DataError, match=r"(?s)two labels apart.*have 3.*a, b, c"):
        sparse_probing.run(three, Params(**QUICK))
    with pytest.raises(DataError, match=r"(?s)no text has the label 'yess'.*yes"):
        sparse_probing.run(lab, Params(positive="yess", **QUICK))


def test_every_number_of_the_page_on_probing_is_measured(with_sae: Result) -> None:
    page = (Path(__file__).parents[2] / "site/guide/probing.md").read_text(encoding="utf-8")
    table = page[page.index("| number |") : page.index("`select_by: auc`")]
    named = {re.sub(r"k\d+", "k1", name) for name in re.findall(r"`(\w+)`", table)} - {"control_draws"}
    assert len(named) > 10
    assert named <= set(with_sae.measurements)


def test_which_label_is_positive_changes_no_auc(neuron: Result) -> None:
    found = values(sparse_probing.run(planted_lab("neuron"), Params(positive="no", **QUICK)))
    assert found["k1_auc"] == pytest.approx(values(neuron)["k1_auc"])
    assert found["dense_auc"] == pytest.approx(values(neuron)["dense_auc"], abs=1e-6)


def test_a_training_half_without_texts_of_a_label_is_refused() -> None:
    lab = planted_lab("neuron", n_texts=40)
    assert lab.prompts
    one_kind = ["yes" if topic != "topic0" else "no" for topic in lab.prompts.table["topic"]]
    with pytest.raises(DataError, match="two kinds"):
        sparse_probing.run(without(lab, slice(None), label=one_kind), Params(**QUICK))


def test_neurons_are_probed_at_hook_post_and_texts_without_clusters_too() -> None:
    lab = planted_lab("neuron", n_texts=60)
    assert lab.prompts
    alone = replace(lab, prompts=replace(lab.prompts, cluster_column=""))
    params = Params(**{**QUICK, "site": "blocks.0.mlp.hook_post"}, pooling="mean", select_by="auc")
    result = sparse_probing.run(alone, params)
    assert values(result)["coordinates"] == alone.model.shape.d_mlp == 256
    assert result.measurements["k1_auc"].n_clusters == 0
    assert set(result.tables["auc_by_k"]["basis"]) == {"MLP neurons"}


def test_the_dense_probe_that_others_are_compared_with_can_be_the_difference_of_means() -> None:
    found = values(sparse_probing.run(planted_lab("spread"), Params(dense="mean_difference", **QUICK)))
    assert found["dense_auc"] == found["mean_difference_auc"]


def test_sizes_are_powers_of_two_up_to_the_number_of_coordinates(neuron: Result) -> None:
    assert sorted(neuron.tables["auc_by_k"]["k"].unique()) == [1, 2, 4]
    wide = sparse_probing.run(planted_lab("neuron", n_texts=48, d=16), Params(site=SITE, control_draws=1))
    assert max(wide.tables["auc_by_k"]["k"].tolist()) == 16
    assert pd.api.types.is_float_dtype(wide.tables["auc_by_k"]["low"])


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ("blocks.1.hook_resid_pre", "residual coordinates"),
        ("blocks.50%.mlp.hook_post", "MLP neurons"),
        ("blocks.1.attn.hook_z", "coordinates of z"),
    ],
)
def test_a_basis_is_called_by_what_it_is(site: str, said: str) -> None:
    assert basis_of(site) == said


def test_ids_are_told_as_they_are() -> None:
    odd = [f"«{i}» {{{{ x }}}} 🦊" for i in range(40)]
    lab = without(planted_lab("neuron", n_texts=40), slice(None), id=odd)
    told = sparse_probing.run(lab, Params(**QUICK)).tables["scores"]["id"].tolist()
    assert len(told) == 20 and set(told) < set(odd)


def test_calibrations_pass() -> None:
    assert [c.name for c in sparse_probing.calibrate() if not c.low <= c.seen <= c.high] == []


def test_weights_are_drawn_from_the_seed_alone(neuron: Result) -> None:
    again = sparse_probing.run(planted_lab("neuron"), Params(**QUICK))
    assert values(again) == values(neuron)
    other = values(sparse_probing.run(planted_lab("neuron"), Params(seed=1, **QUICK)))
    assert other["k2_auc"] == values(neuron)["k2_auc"]
    assert other["random_k2_auc"] != values(neuron)["random_k2_auc"]
    assert torch.is_grad_enabled()
