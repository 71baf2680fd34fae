"""The patching map of single pairs: one site patched at every layer and position, and one cell named before.

1. Take every pair that fits the tokenizer, whether or not the model knows its answers; leave out pairs whose
   clean and corrupted run have the same logit difference (answer minus wrong answer), which have no scale.
2. Denoising puts one activation of the clean run into the corrupted run, noising one of the corrupted run
   into the clean run: one site at every layer and position; of z, one head.
3. The effect of a patch is the logit difference after it, on a scale where 0 is the run patched into and 1
   the run patched from.
4. Measure the cell that the parameters name, and what the model says next before and after that patch.
5. Of z, patch every head at the cell's position too.

Source: Meng et al. 2022 (the map by layer and position), Wang et al. 2023 (single heads), Zhang & Nanda 2024.
Unit of sampling: the prompt. Control: the mean over all cells of the map, which is what a cell that nobody
chose gives. `circuit_patching` is the family for findings over many prompts; this one shows a pair as it is.

Pitfalls:

- The largest of some hundred cells is large by chance as well: a cell that was chosen on a pair has to be
  measured on others (Kriegeskorte et al. 2009, "Circular analysis in systems neuroscience").
- A part that is knocked out may be made up for by later ones, so that a small effect does not say that the
  part does nothing (McGrath et al. 2023, "The Hydra Effect").
- Denoising finds what suffices and noising what is needed (Heimersheim and Nanda 2024, "How to Use and
  Interpret Activation Patching").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
import torch
from pydantic import Field

from engine.data.pairs import PromptPairs
from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Check, Result
from engine.lab.facts import with_corrupted
from engine.lab.lab import Lab
from engine.lab.patch_grid import LEAST_GAP, PatchGrid, heads_grid, patch_grid, patch_outcome
from engine.lab.patch_pairs import PatchPairs
from engine.lab.patch_tables import draw_heads, draw_map, heads_table, map_table, next_tokens
from engine.lab.planted import HEAD, LAYER, planted_lab
from engine.lab.profiles import known_answer
from engine.lab.receipts import receipts_of_some
from engine.models.hooked import HookedModel
from engine.models.rounding import rounding_limit
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import PAIRS, Inputs

inputs = Inputs(prompts=PAIRS)


class Params(FamilyParams):
    site: Literal["resid_pre", "attn_out", "mlp_out", "z"] = "resid_pre"
    """What is patched: the residual stream before a block, what its attention or its MLP writes, or
    one head's z."""
    direction: Literal["denoising", "noising"] = "denoising"
    """Denoising puts clean activations into the corrupted run, noising corrupted ones into the clean run."""
    layer: Annotated[int, Field(ge=0)] = 0
    """The layer of the cell that is measured."""
    position: int = -1
    """The position of the cell that is measured, from 0; negative ones count from the end, -1 is the last
    token."""
    head: Annotated[int, Field(ge=0)] = 0
    """Which head is patched where the site is z; of no meaning otherwise."""


@dataclass(frozen=True)
class MappedPair:
    """One pair with its map; `position` is the named cell's, from 0."""

    pair: PatchPairs
    grid: PatchGrid
    position: int


def run(lab: Lab, params: Params) -> Result:
    """The map of every pair, and the named cell's effect beside the mean over all cells."""
    model = lab.model
    # 1. Take every pair that fits the tokenizer.
    pairs = with_corrupted(lab.tokenized())
    require_layer(model, params.layer)
    head = params.head if params.site == "z" else None

    # 2. Patch the site at every layer and position.
    with lab.stage(0.9, f"patching {len(pairs)} pairs") as progress:
        maps = []
        for row in range(len(pairs)):
            pair = directed(pairs, params.direction).rows([row])
            position = position_in(int(pair.last[0]) + 1, params.position, str(pairs.ids[row]))
            grid = patch_grid(model, pair, params.site, head)
            maps.append(MappedPair(pair, grid, position))
            progress((row + 1) / len(pairs))
    pairs, maps = with_a_scale(pairs, maps)
    column = pairs.cluster_column
    groups = pairs.clusters if column else None
    ev = Evidence("prompt", pairs.ids, groups=groups, group_unit=column)
    ev.count("prompts_used", len(pairs), "Pairs that were patched.")
    ev.count("prompts_dropped", len(pairs.dropped), "Pairs that do not fit the tokenizer or have no scale.")
    ev.table("dropped", pairs.dropped)
    # The two ends of the scale, by the names of the prompts and not of the direction.
    ends = {"base": [m.grid.base for m in maps], "source": [m.grid.source for m in maps]}
    clean, corrupted = ("source", "base") if params.direction == "denoising" else ("base", "source")
    ev.finding("clean_logit_diff", ends[clean], "Logit difference, clean run.", "logits")
    ev.finding("corrupted_logit_diff", ends[corrupted], "Logit difference, corrupted run.", "logits")

    # 3. The effect of each patch, 0 for the run patched into and 1 for the run patched from.
    cells = [map_table(model, m.pair, m.grid) for m in maps]
    ev.table("cells", of_pairs(cells, pairs))
    draw_map(ev, cells[0], params.site, params.direction, head)
    about = "Effect of a patch of any layer and position: mean over all cells of the map."
    chance = ev.control("any_cell_effect", [float(m.grid.effects.mean()) for m in maps], about)

    # 4. The named cell, and what the model says next before and after that patch.
    layer = params.layer
    where = f"{params.site} of layer {layer} at position {params.position}"
    where += f", head {head}" if head is not None else ""
    after = [float(m.grid.patched[layer, m.position]) for m in maps]
    ev.finding("cell_logit_diff", after, f"Logit difference after patching {where}.", "logits")
    effects = [float(m.grid.effects[layer, m.position]) for m in maps]
    ev.finding("cell_effect", effects, f"Effect of patching {where}.", control=chance)
    outcomes = [patch_outcome(model, m.pair, params.site, layer, m.position, head) for m in maps]
    ev.table("next_tokens", of_pairs([next_tokens(model, outcome) for outcome in outcomes], pairs))

    # 5. Of z, every head at the cell's position.
    if head is not None:
        by_head = [heads_table(m.grid, heads_grid(model, m.pair, m.position)) for m in maps]
        ev.table("heads", of_pairs(by_head, pairs))
        draw_heads(ev, by_head[0], params.direction)

    ev.check(*receipts_of_some(model, pairs.ids, pairs.clean, pairs.last))
    # Two ways to the same number: what follows a patch alone, and a whole forward with the patch as an edit.
    gap = max(abs(o.logit_diffs[2] - value) for o, value in zip(outcomes, after, strict=True))
    largest = max(abs(value) for o in outcomes for value in o.logit_diffs)
    # A difference of two logits, each of which may be off by what rounding explains.
    limit = 2 * rounding_limit(model.dtype, model.shape, max(largest, 1.0))
    about = "Largest difference of the cell's logit difference from that of a whole forward."
    ev.check(Check("cell_by_itself", gap, limit, about))
    return ev.result()


def of_pairs(tables: list[pd.DataFrame], pairs: PromptPairs) -> pd.DataFrame:
    """The tables of all pairs in one, each row with its pair's id."""
    named = [table.assign(id=id) for table, id in zip(tables, pairs.ids, strict=True)]
    return pd.concat(named, ignore_index=True)


def require_layer(model: HookedModel, layer: int) -> None:
    """DataError for a layer that the model has not."""
    if not 0 <= layer < model.n_layers:
        expected = f"a layer from 0 to {model.n_layers - 1}"
        raise DataError(f"{model.name} has no layer {layer}", expected=expected, seen=str(layer))


def position_in(length: int, position: int, id: str) -> int:
    """The position from 0; DataError where a prompt of that length has none."""
    if not -length <= position < length:
        raise DataError(
            f"the prompt {id!r} has no position {position}",
            expected=f"0 to {length - 1}, or -{length} to -1 from the end",
            seen=str(position),
        )
    return position % length


def directed(pairs: PromptPairs, direction: str) -> PatchPairs:
    """Which prompt is patched into, and which from."""
    denoising = PatchPairs(pairs.corrupted, pairs.clean, pairs.last, pairs.answer, pairs.wrong_answer)
    return denoising if direction == "denoising" else denoising.reversed()


def with_a_scale(pairs: PromptPairs, maps: list[MappedPair]) -> tuple[PromptPairs, list[MappedPair]]:
    """The pairs whose two runs differ in what is measured; DataError where none do."""
    scaled = [m.grid.has_scale for m in maps]
    if not any(scaled):
        raise DataError(
            "the clean and the corrupted run have the same logit difference in every pair",
            expected=f"a pair whose two runs are {LEAST_GAP} logits apart, or more",
            seen=f"{max(abs(m.grid.gap) for m in maps):.2g} logits",
        )
    kept = pairs.keep(torch.tensor(scaled), "both runs have the same logit difference")
    return kept, [m for m in maps if m.grid.has_scale]


def calibrate() -> list[Calibration]:
    """A planted head that alone moves the answer: its cell has the whole effect, and all others none."""
    lab = planted_lab()

    def measured(site: str, layer: int, position: int, head: int = 0) -> dict[str, float]:
        params = Params.model_validate({"site": site, "layer": layer, "position": position, "head": head})
        return {name: m.value for name, m in run(lab, params).measurements.items()}

    planted = measured("z", LAYER, -1, HEAD)
    # The first token is common to both prompts; the second is the subject, which every later layer ignores.
    elsewhere = [measured("z", LAYER, -1, HEAD + 1), measured("mlp_out", LAYER, -1)]
    wrong = max(abs(found["cell_effect"]) for found in elsewhere)
    subject = [measured("resid_pre", layer, 1)["cell_effect"] for layer in (LAYER, LAYER + 1)]
    # One head of one layer at one of the four positions: the mean over the map of that head.
    chance = planted["any_cell_effect"]
    n_cells = lab.model.n_layers * 4
    alone = f"Layer {LAYER}, head {HEAD} at the last token alone moves the answer."
    return [
        known_answer("planted head restores all", alone, planted["cell_effect"], 1, 1e-5),
        known_answer("mean over the map of that head", alone, chance, 1 / n_cells, 1e-5),
        known_answer("other places restore nothing", "Another head, an MLP.", wrong, 0, 1e-5),
        known_answer("subject before the head reads it", "The residual stream.", subject[0], 1, 1e-5),
        known_answer("subject after the head has read it", "The residual stream.", subject[1], 0, 1e-5),
    ]
