"""The map of each pair on the planted model, and of a pair that has no scale."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from engine.data.prompts import PromptSet
from engine.errors import DataError
from engine.families.patching_grid import Params, position_in, run
from engine.lab.facts import with_corrupted
from engine.lab.lab import Lab
from engine.lab.patch_grid import patch_grid
from engine.lab.patch_pairs import PatchPairs
from engine.lab.planted import HEAD, LAYER, N_HEADS, N_LAYERS, planted_lab
from engine.models.micro import micro_model

LENGTH = 4  # tokens of a planted prompt
ROW = {"id": "typed", "relation": "typed", "answer": " Paris", "wrong_answer": " Rome"}


def lab_of(*rows: dict[str, str], model=None) -> Lab:
    """A lab with these pairs alone, on a random model."""
    table = pd.DataFrame([{**ROW, "id": f"pair-{i}", **row} for i, row in enumerate(rows)])
    return Lab(model or micro_model(n_layers=3), PromptSet("rows", table, "rows", "in the test"))


FRANCE = {"clean": "the capital city of France is", "corrupted": "the capital city of Italy is"}


@pytest.fixture(scope="module")
def planted():
    return run(planted_lab(), Params(site="z", layer=LAYER, head=HEAD)).validated()


def test_the_planted_head_restores_all_at_the_last_token_and_nothing_elsewhere(planted):
    found = planted.measurements
    assert found["cell_effect"].value == pytest.approx(1.0, abs=1e-5)
    assert found["any_cell_effect"].value == pytest.approx(1 / (N_LAYERS * LENGTH), abs=1e-5)
    assert found["clean_logit_diff"].value > 0 > found["corrupted_logit_diff"].value
    assert found["cell_logit_diff"].value == pytest.approx(found["clean_logit_diff"].value, abs=1e-4)


def test_every_pair_has_every_cell_and_the_first_ones_are_drawn(planted):
    cells = planted.tables["cells"]
    assert len(cells) == 32 * N_LAYERS * LENGTH
    assert len(planted.tables["map"]) == N_LAYERS * LENGTH
    assert len(planted.tables["heads"]) == 32 * N_LAYERS * N_HEADS
    assert set(planted.figures) == {"map", "heads_map"}
    best = planted.tables["heads_map"].nlargest(1, "effect").iloc[0]
    assert best["name"] == f"L{LAYER}H{HEAD}"


def test_the_next_token_is_the_answer_after_the_patch(planted):
    said = planted.tables["next_tokens"]
    first = said[(said["rank"] == 1) & (said["id"] == said["id"].iloc[0])].set_index("run")["token"]
    assert first["after the patch"] == first["patched from"] != first["patched into"]


def test_noising_destroys_what_denoising_restores():
    found = run(planted_lab(), Params(site="attn_out", direction="noising", layer=LAYER)).validated()
    assert found.measurements["cell_effect"].value == pytest.approx(1.0, abs=1e-5)
    assert found.measurements["cell_logit_diff"].value < 0 < found.measurements["clean_logit_diff"].value
    assert "heads" not in found.tables


def test_one_pair_is_enough_and_its_interval_is_withheld():
    lab = lab_of(FRANCE)
    found = run(lab, Params(site="mlp_out", layer=1, position=4)).validated()
    assert not found.failed_checks
    cell = found.measurements["cell_effect"]
    assert (cell.n, cell.low) == (1, None)
    pairs = with_corrupted(lab.tokenized())
    pair = PatchPairs(pairs.corrupted, pairs.clean, pairs.last, pairs.answer, pairs.wrong_answer)
    grid = patch_grid(lab.model, pair, "mlp_out")
    assert cell.value == pytest.approx(grid.effects[1, 4], abs=1e-5)
    np.testing.assert_allclose(found.tables["cells"]["effect"], grid.effects.ravel(), atol=1e-5)
    assert found.tables["map"]["tokens"].iloc[4] == "France into Italy"


def test_pairs_of_other_lengths_have_the_cell_counted_from_the_end():
    cat = {"clean": "cat sat on Spain", "corrupted": "dog sat on Spain"}
    found = run(lab_of(FRANCE, cat), Params(site="attn_out", layer=2, position=-1)).validated()
    assert found.measurements["cell_effect"].n == 2
    with pytest.raises(DataError, match="no position 5"):
        run(lab_of(FRANCE, cat), Params(position=5))


def test_a_pair_without_a_scale_is_left_out_and_alone_is_refused():
    model = micro_model(n_layers=3)
    # A model that reads its input as one word whatever is said there cannot tell these two apart.
    flat = {name: weight * 0 if "embed" in name else weight for name, weight in model.weights.items()}
    same = dataclasses.replace(model, weights=flat)
    with pytest.raises(DataError, match="the same logit difference"):
        run(lab_of(FRANCE, model=same), Params())


def test_a_check_fails_where_the_map_and_a_whole_forward_differ(monkeypatch):
    from engine.families import patching_grid

    def shifted(*arguments):
        grid = patch_grid(*arguments)
        return dataclasses.replace(grid, patched=grid.patched + 0.5)

    monkeypatch.setattr(patching_grid, "patch_grid", shifted)
    failed = run(lab_of(FRANCE), Params(site="mlp_out")).failed_checks
    assert [check.name for check in failed] == ["cell_by_itself"]


@pytest.mark.parametrize(
    "params", [{"layer": 3}, {"position": 6}, {"position": -7}, {"site": "z", "head": 4}]
)
def test_a_cell_that_is_not_there_is_refused_with_what_is(params):
    with pytest.raises(DataError, match=r"from 0 to|0 to 5"):
        run(lab_of(FRANCE), Params.model_validate(params))


def test_positions_count_from_both_ends():
    assert [position_in(6, p, "x") for p in (0, 5, -1, -6)] == [0, 5, 5, 0]
