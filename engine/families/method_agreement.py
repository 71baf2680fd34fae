"""Agreement: do lens, attribution and patching point at the same layers and the same parts?

1. Take the runs this experiment uses, `lens` (logit_lens), `attribution` (direct_logit_attribution) and
   `patching` (circuit_patching), and the prompts that all three measured.
2. For each prompt, three profiles over the layers: the gain of the answer's log-probability through the
   block (lens), what the block wrote towards the answer (attribution), and how much of the logit
   difference is destroyed by noising what its attention and its MLP wrote at the last token (patching).
3. Correlate each two of them by rank over the layers within a prompt; average over prompts.
4. Likewise over parts (each head and each MLP) for attribution and patching; and the share of the
   `top_parts` highest by one that are among the highest by the other.

Source: rank correlation, Spearman 1904; the methods' own sources stand with them. Unit of sampling: the
prompt. Correlations run from -1 to 1. Control: the same with one side's layers (or parts) in random
order, drawn anew for each prompt, which gives what chance would.
"""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from engine.errors import DataError
from engine.evidence.bootstrap import count
from engine.evidence.result import Calibration, Figure, Measurement, Result
from engine.lab.lab import Lab, UsedRun
from engine.lab.profiles import Units, known_answer, spearman
from engine.models.micro import micro_model

METHODS = ("lens", "attribution", "patching")
KINDS = ("head", "mlp")


class Params(BaseModel, extra="forbid"):
    top_parts: Annotated[int, Field(gt=0)] = 10
    """How many of the highest heads and MLPs are compared between attribution and patching."""
    seed: int = 0
    """Draws the random orders of the control."""


def run(lab: Lab, params: Params) -> Result:
    """Rank correlations over layers and over parts, the overlap of the top parts, and their controls."""
    used = {method: lab.used(method) for method in METHODS}
    ids = _shared_ids(used)
    units = Units(ids, np.ones(len(ids), dtype=bool))
    layers, parts = _layer_profiles(used, ids), _part_profiles(used, ids)
    rng = np.random.default_rng(params.seed)
    pairs = {f"{a}_{b}": (layers[a], layers[b]) for a, b in combinations(METHODS, 2)}
    pairs["attribution_patching_parts"] = parts
    compared = [
        *(
            _compared(f"{name}_correlation", f"{name}_chance", pair, spearman, _about(name), units, rng)
            for name, pair in pairs.items()
        ),
        _top_parts(parts, params.top_parts, units, rng),
    ]
    shared = count("prompts_shared", len(ids), unit="prompt", about="Prompts that all three runs measured.")
    return Result(
        findings=[shared, *(found for found, _ in compared)],
        controls=[control for _, control in compared],
        tables=_tables(layers, parts, units, used),
        figures=FIGURES,
    )


def _about(pair: str) -> str:
    one, other, *parts = pair.split("_")
    over = "heads and MLPs" if parts else "layers"
    return f"Mean over prompts of the rank correlation, over {over}, of {one} and {other} profiles"


def _shared_ids(used: dict[str, Result]) -> list[str]:
    """The prompts that every run measured, in the order of the patching run."""
    measured = [[str(i) for i in used[method].tables["per_prompt"]["id"]] for method in METHODS]
    shared = set(measured[0]).intersection(*measured[1:])
    if not shared:
        raise DataError("the three runs measured no prompt in common", hint="give them the same prompts")
    return [i for i in measured[-1] if i in shared]


def _array(result: Result, name: str, ids: list[str]) -> np.ndarray:
    """The rows of one of a run's arrays, in the order of `ids`."""
    place = {str(i): row for row, i in enumerate(result.tables["per_prompt"]["id"])}
    return result.arrays[name][[place[i] for i in ids]]


def _layer_profiles(used: dict[str, Result], ids: list[str]) -> dict[str, np.ndarray]:
    """By method, "prompt layer"."""
    attention, mlps = (_array(used["patching"], site, ids) for site in ("attn_out", "mlp_out"))
    return {
        "lens": np.diff(_array(used["lens"], "logprob", ids), axis=1),
        "attribution": _array(used["attribution"], "by_layer", ids),
        "patching": attention + mlps,
    }


def _part_profiles(used: dict[str, Result], ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Heads, then MLPs, by attribution and by patching: "prompt part" each."""
    kinds = used["attribution"].tables["parts"]["kind"].to_numpy()
    written = _array(used["attribution"], "contribution", ids)
    attribution = np.concatenate([written[:, kinds == kind] for kind in KINDS], axis=1)
    z, mlps = (_array(used["patching"], site, ids) for site in ("z", "mlp_out"))
    return attribution, np.concatenate([z.reshape(len(z), -1), mlps], axis=1)


def _compared(
    name: str, chance: str, pair: tuple, compare: Any, about: str, units: Units, rng: np.random.Generator
) -> tuple[Measurement, Measurement]:
    """A comparison of two profiles, and the same with each prompt's places on one side in random order."""
    one, other = pair
    return (
        units.mean(name, compare(one, other), f"{about}.", control=chance),
        units.mean(chance, compare(rng.permuted(one, axis=1), other), f"{about}, one side in random order."),
    )


def _top_parts(
    pair: tuple[np.ndarray, np.ndarray], top: int, units: Units, rng: np.random.Generator
) -> tuple[Measurement, Measurement]:
    def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        best = [np.argsort(-side, axis=1, kind="stable")[:, :top] for side in (one, other)]
        return np.array([len(set(a) & set(b)) / len(a) for a, b in zip(*best, strict=True)])

    about = f"Share of the {top} highest parts by attribution that are among the {top} highest by patching"
    return _compared("top_parts_overlap", "top_parts_chance", pair, overlap, about, units, rng)


def _tables(
    layers: dict[str, np.ndarray], parts: tuple[np.ndarray, np.ndarray], units: Units, used: dict[str, Result]
) -> dict[str, pd.DataFrame]:
    """Each method's profile as shares of its own total, the parts by both methods, and the prompts."""
    scaled = {method: v / np.abs(v.mean(axis=0)).sum() for method, v in layers.items()}
    named = used["attribution"].tables["parts"]
    named = pd.concat(
        [named.loc[named["kind"] == kind, ["part", "kind"]] for kind in KINDS], ignore_index=True
    )
    correlations = {f"{a}_{b}": spearman(layers[a], layers[b]) for a, b in combinations(METHODS, 2)}
    attribution, patching = (side.mean(axis=0) for side in parts)
    by_layer = [units.by_layer(v, "share", method=method) for method, v in scaled.items()]
    return {
        "by_layer": pd.concat(by_layer, ignore_index=True),
        "parts": named.assign(contribution=attribution, destroyed=patching),
        "per_prompt": pd.DataFrame({"id": units.ids, **correlations}),
    }


FIGURES = {
    "profiles": Figure(
        "line",
        "by_layer",
        {"x": "layer", "y": "share", "low": "low", "high": "high", "color": "method"},
        "Three methods, layer by layer",
        "Each method's mean profile over the layers, divided by the sum of its absolute values. "
        "Bands: 95 % intervals over prompts.",
        {"y_title": "share of the method's total"},
    ),
    "parts": Figure(
        "scatter",
        "parts",
        {"x": "contribution", "y": "destroyed", "color": "kind", "label": "part"},
        "What parts write, and what noising them destroys",
        "One point for each head and MLP: its mean direct contribution, and the mean share of the logit "
        "difference that noising it at the last token destroys.",
        {"x_title": "direct contribution (logits)", "y_title": "share destroyed"},
    ),
}


def calibrate() -> list[Calibration]:
    """Three made-up runs with one profile agree wholly; with patching upside down they disagree wholly."""
    made_up = [{role: {(): UsedRun(r)} for role, r in _made_up(sign).items()} for sign in (1.0, -1.0)]
    labs = [Lab(micro_model(), uses=uses) for uses in made_up]
    same, opposite = (run(lab, Params()).measurements for lab in labs)
    name = "attribution_patching_correlation"
    chance = same["attribution_patching_parts_chance"].value
    return [
        known_answer("same profiles", "A profile with itself.", same[name].value, 1, 1e-9),
        known_answer("opposite profiles", "A profile with its negative.", opposite[name].value, -1, 1e-9),
        known_answer("chance", "Parts in random order.", chance, 0, 0.15),
    ]


def _made_up(sign: float) -> dict[str, Result]:
    """Runs of 40 prompts, 6 layers, 2 heads a layer; patching is `sign` times the attribution."""
    rng = np.random.default_rng(0)
    mlps, heads = rng.normal(size=(40, 6)), rng.normal(size=(40, 6, 2))
    attention = heads.sum(axis=2)
    gains = np.concatenate([np.zeros((40, 1)), mlps + attention], axis=1)
    prompts = {"per_prompt": pd.DataFrame({"id": [f"p{i}" for i in range(40)]})}
    parts = pd.DataFrame({"part": [f"part {i}" for i in range(18)], "kind": ["head"] * 12 + ["mlp"] * 6})
    written = np.concatenate([heads.reshape(40, -1), mlps], axis=1)
    noised = {"z": sign * heads, "attn_out": sign * attention, "mlp_out": sign * mlps}
    return {
        "lens": Result(tables=prompts, arrays={"logprob": gains.cumsum(axis=1)}),
        "attribution": Result(
            tables=prompts | {"parts": parts},
            arrays={"by_layer": mlps + attention, "contribution": written},
        ),
        "patching": Result(tables=prompts, arrays=noised),
    }
