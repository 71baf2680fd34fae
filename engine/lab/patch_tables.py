"""What one pair's patches look like: the cells of its map, its heads, and the tokens that come next.

Declared once, for the family `patching_grid` and for the panel of the demo that shows the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from engine.evidence.builder import Evidence
from engine.lab.patch_grid import PatchGrid, PatchOutcome
from engine.lab.patch_pairs import PatchPairs

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

TOP_TOKENS = 5
RUNS = ("patched from", "patched into", "after the patch")
"""What the three runs of an outcome are called, in its order."""
WORDS = {
    "resid_pre": "the residual stream before a block",
    "attn_out": "what attention writes",
    "mlp_out": "what the MLP writes",
    "z": "one head's z",
}
PUT = {
    "denoising": "Clean activations are put into the corrupted run",
    "noising": "Corrupted activations are put into the clean run",
}
SCALE = "0 is the run patched into, 1 the run patched from."


def visible_token(token: str) -> str:
    """A token with its spaces and line ends to be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "∅"


def pair_tokens(model: HookedModel, pair: PatchPairs) -> tuple[list[str], list[str]]:
    """The tokens of the prompt patched into and of the one patched from, to be seen."""
    length = int(pair.last[0]) + 1
    base, source = (
        [visible_token(token) for token in model.token_strings(ids[0, :length].tolist())]
        for ids in (pair.base, pair.source)
    )
    return base, source


def map_table(model: HookedModel, pair: PatchPairs, grid: PatchGrid) -> pd.DataFrame:
    """A row for each layer and position of a pair, `tokens` being those that stand there."""
    n_layers, length = grid.patched.shape
    base, source = pair_tokens(model, pair)
    # Numbered, since one token may stand at several positions, which must not become one column.
    place = [f"{position} {token}" for position, token in enumerate(base)]
    both = [b if b == s else f"{s} into {b}" for b, s in zip(base, source, strict=True)]
    layer, position = (axis.ravel() for axis in np.indices((n_layers, length)))
    return pd.DataFrame(
        {
            "layer": layer,
            "position": position,
            "place": [place[p] for p in position],
            "tokens": [both[p] for p in position],
            "logit_diff": grid.patched.ravel(),
            "effect": grid.effects.ravel(),
        }
    )


def heads_table(grid: PatchGrid, patched: Float[np.ndarray, "layer head"]) -> pd.DataFrame:
    """A row for each head, from the logit differences after each was patched at one position."""
    layer, head = (axis.ravel() for axis in np.indices(patched.shape))
    return pd.DataFrame(
        {
            "layer": layer,
            "head": head,
            "name": [f"L{each}H{h}" for each, h in zip(layer, head, strict=True)],
            "logit_diff": patched.ravel(),
            "effect": grid.effect_of(patched).ravel(),
        }
    )


def next_tokens(model: HookedModel, outcome: PatchOutcome, top: int = TOP_TOKENS) -> pd.DataFrame:
    """The likeliest next tokens of the three runs, the likeliest first."""
    said = (outcome.source, outcome.base, outcome.patched)
    tables = [_likeliest(model, run, log_p, top) for run, log_p in zip(RUNS, said, strict=True)]
    return pd.concat(tables, ignore_index=True)


def draw_map(ev: Evidence, cells: pd.DataFrame, site: str, direction: str, head: int | None) -> None:
    """The map of one pair, as a table and a figure called `map`."""
    of = f" of head {head}" if head is not None else ""
    ev.table("map", cells).heatmap(
        "map",
        "place: position and token patched",
        "layer",
        color="effect",
        label="tokens: token",
        title=f"Patching {site}{of} at each layer and position",
        caption=f"{PUT[direction]}: {WORDS[site]}, one layer and position at a time. {SCALE}",
        midpoint=0.0,
    )


def draw_heads(ev: Evidence, heads: pd.DataFrame, direction: str, place: str = "the cell's position") -> None:
    """Every head at one position of one pair, as a table and a figure called `heads_map`."""
    ev.table("heads_map", heads).heatmap(
        "heads_map",
        "head",
        "layer",
        color="effect",
        label="name: head",
        title=f"Every head, patched at {place}",
        caption=f"{PUT[direction]}: one head's z at a time. {SCALE}",
        midpoint=0.0,
    )


def _likeliest(model: HookedModel, run: str, said: Float[Tensor, " vocab"], top: int) -> pd.DataFrame:
    likely = said.topk(min(top, len(said)))
    return pd.DataFrame(
        {
            "run": run,
            "rank": range(1, len(likely.indices) + 1),
            "token": [visible_token(token) for token in model.token_strings(likely.indices.tolist())],
            "probability": likely.values.exp().tolist(),
        }
    )
