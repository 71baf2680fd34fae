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

Pitfalls:

- Agreement is not correctness, and methods that measure different effects may differ and both be right: the
  direct and the ablated effect of a part do (McGrath et al. 2023, "The Hydra Effect").
- A rank correlation counts parts that do nothing as much as those that do all; the overlap at the top is
  another question (Webber et al. 2010, "A Similarity Measure for Indefinite Rankings").
- How much explanations agree depends on the measure of agreement (Krishna et al. 2022, "The Disagreement
  Problem in Explainable Machine Learning").
"""

from __future__ import annotations

from itertools import combinations
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Result
from engine.lab.lab import Lab, UsedRun
from engine.lab.profiles import known_answer, spearman
from engine.models.micro import micro_model
from engine.spec.family_params import SeedParams
from engine.spec.inputs import Inputs, Uses

METHODS = ("lens", "attribution", "patching")
KINDS = ("head", "mlp")

inputs = Inputs(
    uses={
        "lens": Uses("logit_lens"),
        "attribution": Uses("direct_logit_attribution"),
        "patching": Uses("circuit_patching"),
    }
)


class Params(SeedParams):
    top_parts: Annotated[int, Field(gt=0)] = 10
    """How many of the highest heads and MLPs are compared between attribution and patching."""


def run(lab: Lab, params: Params) -> Result:
    """Rank correlations over layers and over parts, the overlap of the top parts, and their controls."""
    # 1. The three runs, and the prompts that all of them measured.
    used = {method: lab.used(method) for method in METHODS}
    ids = shared_ids(used)
    ev = evidence_over(used["patching"], ids)
    ev.count("prompts_shared", len(ids), "Prompts that all three runs measured.")
    # 2. Each prompt's profile over the layers by each method.
    layers = layer_profiles(used, ids)
    # 3. Correlate each two of them; as a control with one side's layers in random order.
    rng = np.random.default_rng(params.seed)
    for one, other in combinations(METHODS, 2):
        correlated(ev, f"{one}_{other}", "layers", layers[one], layers[other], rng)
    # 4. Likewise over parts; and how many of the highest parts two methods share.
    written, destroyed = part_profiles(used, ids)
    correlated(ev, "attribution_patching_parts", "heads and MLPs", written, destroyed, rng)
    top = params.top_parts
    about = f"Share of the {top} highest parts by attribution that are among the {top} highest by patching"
    shuffled = overlap(rng.permuted(written, axis=1), destroyed, top)
    chance = ev.control("top_parts_chance", shuffled, f"{about}, one side in random order.")
    ev.finding("top_parts_overlap", overlap(written, destroyed, top), f"{about}.", control=chance)

    draw(ev, layers, written, destroyed, used["attribution"].tables["parts"])
    correlations = {f"{a}_{b}": spearman(layers[a], layers[b]) for a, b in combinations(METHODS, 2)}
    ev.table("per_prompt", pd.DataFrame({"id": ids, **correlations}))
    return ev.result()


def shared_ids(used: dict[str, Result]) -> list[str]:
    """The prompts that every run measured, in the order of the patching run."""
    measured = [[str(i) for i in used[method].tables["per_prompt"]["id"]] for method in METHODS]
    shared = set(measured[0]).intersection(*measured[1:])
    if not shared:
        raise DataError("the three runs measured no prompt in common", hint="give them the same prompts")
    return [i for i in measured[-1] if i in shared]


def evidence_over(result: Result, ids: list[str]) -> Evidence:
    """Evidence over these prompts, in the clusters that a run had them in."""
    unit = next((m.cluster_unit for m in result.measurements.values() if m.cluster_unit), "")
    if not unit:
        return Evidence("prompt", ids)
    clusters = dict(result.tables["per_prompt"].astype(str)[["id", "cluster"]].to_numpy())
    return Evidence("prompt", ids, groups=[clusters[i] for i in ids], group_unit=unit)


def rows_of(result: Result, name: str, ids: list[str]) -> np.ndarray:
    """The rows of one of a run's arrays, in the order of `ids`."""
    # Runs may have kept other prompts, or the same ones in another order: rows are found by id.
    place = {str(i): row for row, i in enumerate(result.tables["per_prompt"]["id"])}
    return result.arrays[name][[place[i] for i in ids]]


def layer_profiles(used: dict[str, Result], ids: list[str]) -> dict[str, np.ndarray]:
    """By method, "prompt layer"."""
    attention, mlps = (rows_of(used["patching"], site, ids) for site in ("attn_out", "mlp_out"))
    return {
        # n_layers + 1 readings: the gain through block L is reading L + 1 less reading L.
        "lens": np.diff(rows_of(used["lens"], "logprob", ids), axis=1),
        "attribution": rows_of(used["attribution"], "by_layer", ids),
        # One block's two parts, each noised by itself: the sum is to first order what the block does.
        "patching": attention + mlps,
    }


def part_profiles(used: dict[str, Result], ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Heads, then MLPs, by attribution and by patching: "prompt part" each."""
    kinds = used["attribution"].tables["parts"]["kind"].to_numpy()
    written = rows_of(used["attribution"], "contribution", ids)
    # Heads before MLPs, in order of layer within each: the order of patching's parts below.
    attribution = np.concatenate([written[:, kinds == kind] for kind in KINDS], axis=1)
    z, mlps = (rows_of(used["patching"], site, ids) for site in ("z", "mlp_out"))
    return attribution, np.concatenate([z.reshape(len(z), -1), mlps], axis=1)


def correlated(
    ev: Evidence, pair: str, over: str, one: np.ndarray, other: np.ndarray, rng: np.random.Generator
) -> None:
    """The rank correlation of two profiles, beside one side's places in another random order each prompt."""
    names = " and ".join(pair.split("_")[:2])
    about = f"Mean over prompts of the rank correlation, over {over}, of {names} profiles"
    # `permuted` draws an order for each row: every prompt has its own.
    shuffled = spearman(rng.permuted(one, axis=1), other)
    chance = ev.control(f"{pair}_chance", shuffled, f"{about}, one side in random order.")
    ev.finding(f"{pair}_correlation", spearman(one, other), f"{about}.", control=chance)


def overlap(one: np.ndarray, other: np.ndarray, top: int) -> np.ndarray:
    """The share of each prompt's `top` highest places on one side that are among those of the other."""
    # Stable, so that ties go to the earlier part on every machine.
    best = [np.argsort(-side, axis=1, kind="stable")[:, :top] for side in (one, other)]
    return np.array([len(set(a) & set(b)) / len(a) for a, b in zip(*best, strict=True)])


def draw(
    ev: Evidence,
    layers: dict[str, np.ndarray],
    written: np.ndarray,
    destroyed: np.ndarray,
    named: pd.DataFrame,
) -> None:
    """Each method's profile as shares of its own total, and the parts by both methods."""
    # Log-probabilities, logits and shares have no common unit: each profile is a share of its own total.
    scaled = {method: v / np.abs(v.mean(axis=0)).sum() for method, v in layers.items()}
    by_layer = [ev.by_layer(v, "share", method=method) for method, v in scaled.items()]
    ev.table("by_layer", pd.concat(by_layer, ignore_index=True)).line(
        "profiles",
        "layer",
        "share: share of the method's total",
        color="method",
        band=True,
        title="Three methods, layer by layer",
        caption="Each method's mean profile over the layers, divided by the sum of its absolute values. "
        "Bands: 95 % intervals over prompts.",
    )
    parts = pd.concat([named.loc[named["kind"] == k, ["part", "kind"]] for k in KINDS], ignore_index=True)
    parts = parts.assign(contribution=written.mean(axis=0), destroyed=destroyed.mean(axis=0))
    ev.table("parts", parts).scatter(
        "parts",
        "contribution: direct contribution (logits)",
        "destroyed: share destroyed",
        color="kind",
        label="part",
        title="What parts write, and what noising them destroys",
        caption="One point for each head and MLP: its mean direct contribution, and the mean share of the "
        "logit difference that noising it at the last token destroys.",
    )


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
    mlps = rng.normal(size=(40, 6))
    heads = rng.normal(size=(40, 6, 2))
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
