"""What a pair's patches look like as tables: cells, heads and next tokens."""

import numpy as np
import pytest
import torch

from engine.evidence.builder import Evidence
from engine.lab.patch_grid import PatchGrid, PatchOutcome, patch_grid
from engine.lab.patch_tables import (
    RUNS,
    draw_heads,
    draw_map,
    heads_table,
    map_table,
    next_tokens,
    pair_tokens,
    visible_token,
)

GRID = PatchGrid(np.array([[1.0, 2.0], [3.0, 5.0]]), base=1.0, source=5.0)


def test_spaces_and_line_ends_are_seen():
    assert [visible_token(t) for t in (" a", "\n", "\t", "")] == ["␣a", "⏎", "⇥", "∅"]


def test_a_cell_has_its_place_both_tokens_and_its_effect(model, pairs):
    pair = pairs.rows([0])
    base, source = pair_tokens(model, pair)
    assert (base[4], source[4]) == ("Spain", "France")
    cells = map_table(model, pair, patch_grid(model, pair, "resid_pre"))
    assert len(cells) == model.n_layers * len(base)
    first = cells.query("layer == 0 and position == 4").to_dict("records")[0]
    assert first["place"] == "4 Spain"
    assert first["tokens"] == "France into Spain"
    assert first["effect"] == pytest.approx(1.0, abs=1e-5)
    # "the" stands twice, and is two columns of the map.
    assert len(set(cells["place"])) == len(base)


def test_heads_are_on_the_maps_scale():
    table = heads_table(GRID, np.array([[1.0, 3.0], [5.0, 1.0]]))
    assert table["name"].tolist() == ["L0H0", "L0H1", "L1H0", "L1H1"]
    assert table["effect"].tolist() == [0.0, 0.5, 1.0, 0.0]


def test_next_tokens_are_those_of_each_run_the_likeliest_first(model):
    vocab = model.shape.vocab
    said = [torch.full((vocab,), -20.0) for _ in RUNS]
    for run, log_p in enumerate(said):
        log_p[5 + run] = -0.1
        log_p[9] = -3.0
    table = next_tokens(model, PatchOutcome(*said, logit_diffs=(0.0, 0.0, 0.0)), top=2)
    assert table["run"].tolist() == [run for run in RUNS for _ in range(2)]
    assert table["rank"].tolist() == [1, 2] * 3
    assert table.loc[table["rank"] == 1, "token"].tolist() == model.token_strings([5, 6, 7])
    assert table["probability"].iloc[0] == pytest.approx(np.exp(-0.1))


def test_figures_are_declared_over_their_tables(model, pairs):
    pair = pairs.rows([0])
    ev = Evidence("prompt", ["typed"])
    draw_map(ev, map_table(model, pair, patch_grid(model, pair, "z", 1)), "z", "noising", 1)
    draw_heads(ev, heads_table(GRID, np.zeros((2, 2))), "noising")
    figures = ev.result().figures
    assert figures["map"].title == "Patching z of head 1 at each layer and position"
    assert "Corrupted activations are put into the clean run" in figures["map"].caption
    assert set(figures) == {"map", "heads_map"}
