"""Splitting between dictionaries of three widths on a micro model, and what it refuses."""

import pytest
from pydantic import ValidationError

from engine.errors import DataError, SpecError
from engine.families import polysemanticity_sae
from engine.families.feature_splitting import Params, run
from engine.lab.harvest import handed_over
from engine.lab.lab import UsedRun
from tests.families.sparse_lab import sparse_lab

WIDTHS = (24, 48, 96)
SAME = {"context_tokens": 16, "held_out": 0.2}


@pytest.fixture(scope="module")
def saes():
    small = polysemanticity_sae.Params(k=4, batch_size=128, lr=1e-2, epochs=4, shown_latents=2, **SAME)
    found = {}
    for width in WIDTHS:
        params = small.model_copy(update={"n_features": width})
        result = polysemanticity_sae.run(sparse_lab(), params)
        found[("n_features", width),] = UsedRun(result, {"parameters": params.model_dump()})
    return found


def test_parents_children_and_chance(saes):
    result = run(sparse_lab(uses={"saes": saes}), Params()).validated("made up")
    found = result.measurements
    assert (found["n_features_narrow"].value, found["n_features_wide"].value) == (24, 96)
    assert 0 <= found["permuted_frac_split"].value <= 1
    assert found["children_per_parent"].value > found["permuted_children_per_parent"].value
    assert found["children_per_parent"].value > found["random_children_per_parent"].value
    assert not result.failed_checks
    tables = result.tables
    assert tables["by_pair"]["narrower"].tolist() == [24, 48]
    assert len(tables["per_parent"]) == found["frac_split"].n
    children = tables["per_parent"]["children"].to_numpy()
    assert children.mean() == pytest.approx(found["children_per_parent"].value)
    assert tables["per_parent"]["covered"].between(0, 1).to_numpy().all()
    quality = tables["by_width"]
    assert quality["n_features"].tolist() == list(WIDTHS)
    of_narrow = saes[("n_features", 24),].result.measurements["explained_variance_per_token"].value
    assert quality["explained_variance_per_token"].iloc[0] == pytest.approx(of_narrow)


def test_text_and_split_are_those_that_the_dictionaries_were_trained_with(saes):
    read = handed_over(sparse_lab(uses={"saes": saes}), "saes")
    assert (read.context_tokens, read.held_out, read.tokens) == (16, 0.2, None)


def test_dictionaries_of_one_width_are_refused(saes):
    one = {point: saes[point] for point in list(saes)[:1]}
    with pytest.raises(SpecError, match="n_features alone"):
        run(sparse_lab(uses={"saes": one}), Params())
    other = {(("seed", i),): result for i, result in enumerate(saes.values())}
    with pytest.raises(SpecError, match="swept over seed"):
        run(sparse_lab(uses={"saes": other}), Params())


def test_a_run_that_is_no_dictionary_is_named(saes):
    from dataclasses import replace

    broken = dict(saes)
    broken[("n_features", 48),] = UsedRun(replace(saes[("n_features", 48),].result, arrays={}))
    with pytest.raises(DataError, match="no trained SAE"):
        run(sparse_lab(uses={"saes": broken}), Params())


def test_a_negative_seed_is_refused_before_anything_is_measured():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Params(seed=-1)
