"""Activation patching: where a fact can be put into a run, and where it can be knocked out.

1. Keep the pairs whose two answers the model knows (rank `known_rank` or better), at most
   `prompts_per_relation` of each relation. A pair differs in its subject and is equally long.
2. Denoising puts one activation of the clean run into the corrupted run, noising one of the corrupted run
   into the clean run: resid_pre, attn_out, mlp_out and z of each head, at every layer, at positions by
   their role.
3. The effect is the logit difference (answer minus wrong answer) on a scale where 0 is the run patched
   into and 1 the run patched from. One position is patched at a time; a role of several positions is
   their mean.
4. The subject's last token hands over after the number of blocks from which on patching resid_pre there
   has less than half of the effect; the prompt's last token takes over once patching it there has half or
   more.
5. The best layer of a site and role, and the best head at the last token, are chosen by denoising on one
   half of the prompts and measured on the other: what they restore (denoising) and destroy (noising).
6. Attribution patching estimates the heads' effects; its rank correlation with the exact ones is
   reported.

Source: Meng et al. 2022, Wang et al. 2023, Zhang & Nanda 2024; Nanda 2023 (attribution patching). Unit of
sampling: the prompt. Controls: the same places patched from another fact of equal length (about one half
where a place holds all of the subject: the wrong answer goes and the right one does not come), and random
places.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from engine.evidence.result import Calibration, Figure, Measurement, Result
from engine.lab.attribution_patching import estimated_sweep
from engine.lab.facts import Facts
from engine.lab.lab import Lab
from engine.lab.pairs import Pairs
from engine.lab.patching import sweep
from engine.lab.planted import HEAD, LAYER, estimate_gap, linear_model, planted_lab
from engine.lab.profiles import Units, first_for_good, known_answer, spearman
from engine.lab.receipts import model_receipts
from engine.lab.roles import ROLES, over_positions, role_positions

Effects = dict[str, np.ndarray]  # by site: "prompt layer pos", z "prompt layer pos head"
Curves = dict[tuple[str, str], np.ndarray]  # by site and role: "prompt layer"
ENDS = ("subject last", "last")
PLACES = {  # where one layer is chosen and measured
    "subject_attn": ("attn_out", "subject last"),
    "subject_mlp": ("mlp_out", "subject last"),
    "last_attn": ("attn_out", "last"),
    "last_mlp": ("mlp_out", "last"),
}


class Params(BaseModel, extra="forbid"):
    prompts_per_relation: Annotated[int, Field(gt=0)] = 6
    """At most this many known pairs of each relation are patched, the first by hash of their id."""
    known_rank: Annotated[int, Field(ge=0)] = 0
    """An answer is known where its rank among all tokens is at most this; 0 is the likeliest token."""
    everywhere: bool = False
    """Patch attn_out and mlp_out at every role too, and heads at the subject's last token: much slower."""
    seed: int = 0
    """Draws the random places of the control."""


def run(lab: Lab, params: Params) -> Result:
    """Effects by layer, site and role in both directions, the hand-over, the best layers and heads."""
    limit, everywhere = params.prompts_per_relation, params.everywhere
    facts = lab.known_facts(known_rank=params.known_rank, both_sides=True, per_relation=limit)
    restored, clean, corrupted = _effects(lab, facts, facts.denoising, _roles(everywhere, ROLES), (0.1, 0.6))
    destroyed, _, _ = _effects(lab, facts, facts.noising, _roles(everywhere, ENDS), (0.6, 0.9))
    curves = {"denoising": _curves(restored, facts), "noising": _curves(destroyed, facts)}
    estimate = estimated_sweep(lab.model, facts.denoising, sites=["z"]).normalised()
    z_of = {"exact": restored["z"], "noised": destroyed["z"], "estimate": estimate["z"]}
    z = {run: over_positions(effect, role_positions(facts.prompts, "last")) for run, effect in z_of.items()}
    layers = {name: facts.best(curves["denoising"][place]) for name, place in PLACES.items()}
    head = divmod(facts.best(z["exact"].reshape(len(facts), -1)), lab.model.shape.n_heads)
    logits = {"quantity": "logits"}
    return Result(
        findings=[
            *facts.counts(),
            facts.all.mean("clean_logit_diff", clean, "Logit difference, clean run.", **logits),
            facts.all.mean("corrupted_logit_diff", corrupted, "Logit difference, corrupted run.", **logits),
            *_handover(curves["denoising"], facts, lab.model.n_layers, ""),
            *_handover(curves["noising"], facts, lab.model.n_layers, "_noising"),
            *_best_places(curves, layers, facts),
            *_halves(curves["denoising"]["mlp_out", "subject last"], facts),
            *_best_head(z, head, facts),
        ],
        controls=[*_unrelated(lab, facts, clean, layers, head), _random_place(restored, facts, params.seed)],
        checks=model_receipts(lab.model, facts),
        tables=_tables(curves, z_of, facts, clean, corrupted),
        figures=FIGURES,
        arrays={"z": z["noised"]} | {s: curves["noising"][s, "last"] for s in ("attn_out", "mlp_out")},
    )


def _effects(
    lab: Lab, facts: Facts, pairs: Pairs, roles: dict[str, tuple[str, ...]], done: tuple[float, float]
) -> tuple[Effects, np.ndarray, np.ndarray]:
    """Effects by site at its roles, and the logit differences of the runs patched from and into."""
    positions = {site: role_positions(facts.prompts, *where) for site, where in roles.items()}

    def progress(fraction: float) -> None:
        lab.progress(done[0] + (done[1] - done[0]) * fraction, f"patching {len(facts)} prompts")

    found = sweep(lab.model, pairs, positions=positions, progress=progress)
    return found.normalised(), found.source, found.base


def _roles(everywhere: bool, stream: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The roles each site is patched at; `stream` is where resid_pre is, at the least."""
    if everywhere:
        return {"resid_pre": ROLES, "attn_out": ROLES, "mlp_out": ROLES, "z": ENDS}
    return {"resid_pre": stream, "attn_out": ENDS, "mlp_out": ENDS, "z": ("last",)}


def _curves(effects: Effects, facts: Facts) -> Curves:
    """Each prompt's effect by layer, NaN where it has no such position, for the roles that were patched."""
    places = [(site, role) for site in ("resid_pre", "attn_out", "mlp_out") for role in ROLES]
    curves = {(s, r): over_positions(effects[s], role_positions(facts.prompts, r)) for s, r in places}
    return {place: curve for place, curve in curves.items() if np.isfinite(curve).any()}


def _handover(curves: Curves, facts: Facts, n_layers: int, suffix: str) -> list[Measurement]:
    """When the subject's last token stops carrying the fact, and when the prompt's last token has it."""
    left = first_for_good(curves["resid_pre", "subject last"] < 0.5, never=n_layers)
    came = first_for_good(curves["resid_pre", "last"] >= 0.5, never=n_layers)
    rows = []
    for name, layers in (("subject_handover", left), ("last_takeover", came)):
        about = f"number of blocks to the {name.replace('_', ' ')}"
        rows += [
            facts.all.mean(f"{name}_layer{suffix}", layers, f"Mean {about}.", quantity="layers"),
            facts.all.mean(
                f"{name}_depth{suffix}", layers / n_layers, f"Mean {about}, as a fraction of all."
            ),
        ]
    about = "Mean number of blocks from the subject's hand-over to the last token's take-over."
    return [*rows, facts.all.mean(f"handover_gap{suffix}", came - left, about, quantity="layers")]


def _best_places(curves: dict[str, Curves], layers: dict[str, int], facts: Facts) -> list[Measurement]:
    """What the best layer of each place restores and destroys."""
    rows = []
    for name, layer in layers.items():
        site, role = PLACES[name]
        rows.append(facts.choice(f"{name}_layer", layer, f"The best layer of {site} at the {role} token."))
        for what, direction in (("recovered", "denoising"), ("destroyed", "noising")):
            about = f"Share of the logit difference {what} by {site} of the best layer at the {role} token."
            effect = curves[direction][site, role][:, layer]
            rows.append(facts.measuring.mean(f"{name}_{what}", effect, about, control=f"{name}_unrelated"))
    return rows


def _halves(curve: np.ndarray, facts: Facts) -> list[Measurement]:
    """What one MLP of the first and of the second half of the layers restores at the subject's last token."""
    middle, control = curve.shape[1] // 2, "random_place_recovered"
    halves = {"first": curve[:, :middle], "second": curve[:, middle:]}
    about = "Mean share restored at the subject's last token by one MLP of the {} half of the layers."
    return [
        facts.all.mean(f"subject_mlp_{half}_half", c.mean(axis=1), about.format(half), control=control)
        for half, c in halves.items()
    ]


def _best_head(z: dict[str, np.ndarray], head: tuple[int, int], facts: Facts) -> list[Measurement]:
    """The head that restores most at the last token, and how well heads' effects can be estimated."""
    restored, destroyed = (z[run][:, *head] for run in ("exact", "noised"))
    control = {"control": "top_head_unrelated"}
    exact, estimate = (z[run].reshape(len(facts), -1) for run in ("exact", "estimate"))
    about = "Mean rank correlation, over heads at the last token, of attribution patching with exact effects."
    return [
        facts.choice("top_head_layer", head[0], "Layer of the head that restores most at the last token."),
        facts.choice("top_head_index", head[1], "Index within its layer of the head that restores most."),
        facts.measuring.mean("top_head_recovered", restored, "Share that the best head restores.", **control),
        facts.measuring.mean("top_head_destroyed", destroyed, "Share destroyed by noising it.", **control),
        facts.all.mean("estimate_correlation", spearman(estimate, exact), about),
    ]


def _unrelated(
    lab: Lab, facts: Facts, clean: np.ndarray, layers: dict[str, int], head: tuple[int, int]
) -> list[Measurement]:
    """The chosen places patched from another fact of equal length, on each pair's own scale."""
    rows, partners = facts.unrelated()
    own, prompts = facts.denoising.rows(rows), facts.prompts
    pairs = Pairs(own.base, prompts.clean[partners], own.last, own.answer, own.wrong_answer)
    places = {"subject_resid": ("resid_pre", "subject last", 0)}
    places |= {name: (*PLACES[name], layer) for name, layer in layers.items()}
    asked, used = role_positions(prompts, *ENDS)[rows], {layer for _, _, layer in places.values()} | {head[0]}
    found = sweep(lab.model, pairs, positions=asked, layers=used).normalised(clean[rows])
    units, controls = Units([facts.ids[row] for row in rows], np.ones(len(rows), dtype=bool)), []
    for name, (site, role, layer) in places.items():
        effect = over_positions(found[site], role_positions(prompts, role)[rows])[:, layer]
        about = f"{site} of layer {layer} at the {role} token, patched from another fact of equal length."
        controls.append(units.mean(f"{name}_unrelated", effect, about))
    effect = over_positions(found["z"], role_positions(prompts, "last")[rows])[:, *head]
    return [*controls, units.mean("top_head_unrelated", effect, "The best head, from another fact likewise.")]


def _random_place(effects: Effects, facts: Facts, seed: int) -> Measurement:
    """attn_out or mlp_out at a random layer and one of the two tokens, drawn for each prompt."""
    rng = np.random.default_rng(seed)
    parts = np.concatenate([effects["attn_out"], effects["mlp_out"]], axis=1)
    drawn = [rng.choice(prompt[np.isfinite(prompt)]) for prompt in parts]
    about = "attn_out or mlp_out of a random layer, at the subject's last token or the prompt's."
    return facts.all.mean("random_place_recovered", drawn, about)


def _tables(
    curves: dict[str, Curves],
    z_of: dict[str, np.ndarray],
    facts: Facts,
    clean: np.ndarray,
    corrupted: np.ndarray,
) -> dict[str, pd.DataFrame]:
    """Effects by layer, site and role in each direction; heads; prompts."""
    tables = {direction: _long(by_place, facts) for direction, by_place in curves.items()}
    for name, role in (("heads", "last"), ("heads_at_subject", "subject last")):
        z = {run: over_positions(z, role_positions(facts.prompts, role)) for run, z in z_of.items()}
        if np.isfinite(z["exact"]).all():
            tables[name] = _heads(z, facts)
    columns = ["id", "relation", "clean", "corrupted", "answer", "wrong_answer"]
    per_prompt = facts.table[columns].assign(clean_logit_diff=clean, corrupted_logit_diff=corrupted)
    top = tables["heads"].nlargest(12, "recovered").reset_index(drop=True)
    return {**tables, "top_heads": top, "per_prompt": per_prompt, "dropped": facts.dropped()}


def _heads(z: dict[str, np.ndarray], facts: Facts) -> pd.DataFrame:
    n_heads = z["exact"].shape[2]
    heads = facts.all.by_layer(z["exact"].reshape(len(facts), -1), "recovered")
    heads = heads.assign(layer=heads["layer"] // n_heads, head=heads["layer"] % n_heads)
    heads["name"] = [f"L{layer}H{head}" for layer, head in zip(heads["layer"], heads["head"], strict=True)]
    return heads.assign(destroyed=z["noised"].mean(0).ravel(), estimated=z["estimate"].mean(0).ravel())


def _long(curves: Curves, facts: Facts) -> pd.DataFrame:
    rows = []
    for (site, role), curve in curves.items():
        units = Units(facts.ids, ~np.isnan(curve[:, 0]))
        rows.append(units.by_layer(curve, "effect", site=site, token=role, prompts=int(units.rows.sum())))
    return pd.concat(rows, ignore_index=True)


def _curve_figure(direction: str, title: str, caption: str) -> Figure:
    columns = {"x": "layer", "y": "effect", "low": "low", "high": "high", "color": "token", "facet": "site"}
    scale = "0 is the run patched into, 1 the run patched from; bands are 95 % intervals over prompts."
    titles = {"y_title": "share of the logit difference", "color_title": "token patched", "rule": 0.5}
    return Figure(
        "line", direction, columns, title, f"{caption}, one layer and position at a time. {scale}", titles
    )


FIGURES = {
    "denoising": _curve_figure(
        "denoising", "Where patching restores the fact", "Clean activations put into the corrupted run"
    ),
    "noising": _curve_figure(
        "noising", "Where patching destroys the fact", "Corrupted activations put into the clean run"
    ),
    "heads": Figure(
        "heatmap",
        "heads",
        {"x": "head", "y": "layer", "color": "recovered"},
        "What each head restores at the last token",
        "Mean share of the logit difference that one head's clean z restores in the corrupted run.",
        {"color_title": "share restored", "midpoint": 0.0},
    ),
    "top_heads": Figure(
        "bar",
        "top_heads",
        {"x": "recovered", "y": "name", "low": "low", "high": "high"},
        "The heads that restore most",
        "Mean share of the logit difference restored at the last token, with 95 % intervals over prompts.",
        {"x_title": "share restored", "y_title": "head"},
    ),
}


def calibrate() -> list[Calibration]:
    """A planted head that alone moves the answer, and a linear model in which the estimate is exact."""
    measured = run(planted_lab(), Params(prompts_per_relation=12)).measurements
    found = {name: m.value for name, m in measured.items()}
    place = 100 * found["top_head_layer"] + found["top_head_index"]
    wrong = max(abs(found[f"{name}_recovered"]) for name in ("subject_attn", "subject_mlp", "last_mlp"))
    moved = max(found["subject_handover_layer"], found["last_takeover_layer"])
    linear, not_linear = (
        max(estimate_gap(linear_model(kind, mlps=mlps)) for kind in ("llama", "gpt2"))
        for mlps in (False, True)
    )
    planted = f"Head {HEAD} of layer {LAYER} alone moves the answer; layer times 100 plus head."
    gap = "Largest difference of attribution patching from patching, relative to the largest effect"
    return [
        known_answer("planted head is found", planted, place, 100 * LAYER + HEAD),
        known_answer("planted head restores all", "By denoising.", found["top_head_recovered"], 1, 1e-5),
        known_answer("wrong places restore nothing", "MLPs, and attention at the subject.", wrong, 0, 1e-5),
        known_answer("planted hand-over", "Blocks until the last token has the fact.", moved, LAYER + 1),
        known_answer("estimate, linear model", f"{gap}.", linear, 0, 1e-4),
        Calibration("estimate, other model", f"{gap}, with MLPs.", "more than 0.01", not_linear, 0.01, 1e6),
    ]
