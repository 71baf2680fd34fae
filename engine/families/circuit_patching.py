"""Activation patching: where a fact can be put into a run, and where it can be knocked out.

1. Keep the pairs whose two answers the model knows (rank `known_rank` or better), at most
   `prompts_per_relation` of each relation. A pair differs in its subject and is equally long.
2. Denoising puts one activation of the clean run into the corrupted run, noising one of the corrupted run
   into the clean run: resid_pre, attn_out, mlp_out and z of each head, at every layer, at positions by
   their role.
3. The effect is the metric (by default the logit difference, answer minus wrong answer) on a scale where 0
   is the run patched into and 1 the run patched from. One position is patched at a time; a role of several
   positions is their mean. With another `ablation` the corrupted run is the clean one without its subject.
4. The subject's last token hands over after the number of blocks from which on patching resid_pre there
   has less than half of the effect; the prompt's last token takes over once patching it there has half or
   more. Prompts whose fact was never at the subject's last token are counted and left out of both.
5. The best layer of a site and role, and the best head at the last token, are chosen by denoising on one
   half of the prompts and measured on the other: what they restore (denoising) and destroy (noising).
6. Attribution patching estimates the heads' effects; its rank correlation with the exact ones is
   reported.

Source: Meng et al. 2022, Wang et al. 2023, Zhang & Nanda 2024 (what is found depends on metric and
corruption); Nanda 2023 (attribution patching). Unit of sampling: the prompt. Controls: the same places
patched from another fact of equal length (about one half where a place holds all of the subject: the wrong
answer goes and the right one does not come), of another relation where one is equally long; and a random
place, as the mean over all of them.

Pitfalls:

- What is found depends on how the fact is taken away and on the metric: noise and interchange, probability
  and logit difference name other places (Zhang and Nanda 2024, sections 3 and 4).
- A part that is knocked out may be made up for by later ones, so that a small effect does not say that the
  part does nothing (McGrath et al. 2023, "The Hydra Effect"; Wang et al. 2023, backup name movers).
- Denoising finds what suffices and noising what is needed; neither list stands for the other (Heimersheim and
  Nanda 2024, "How to Use and Interpret Activation Patching").
- Attribution patching is a first-order estimate and misses parts where attention is saturated (Kramár et al.
  2024, "AtP*").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.lab.ablation import Constants, ablation
from engine.lab.attribution_patching import estimated_sweep
from engine.lab.facts import Facts
from engine.lab.lab import Lab
from engine.lab.patch_metrics import PatchMetric, patch_metric
from engine.lab.patch_pairs import PatchPairs, Sweep
from engine.lab.patching import sweep
from engine.lab.planted import HEAD, LAYER, estimate_gap, linear_model, planted_lab
from engine.lab.profiles import first_for_good, known_answer, spearman
from engine.lab.roles import ROLES, over_positions, role_positions
from engine.spec.family_params import AblationName, MetricName, SeedParams
from engine.spec.inputs import PAIRS, Inputs

Effects = dict[str, np.ndarray]  # by site: "prompt layer pos", z "prompt layer pos head"
Curves = dict[tuple[str, str], np.ndarray]  # by site and role: "prompt layer"
ENDS = ("subject last", "last")
PLACES = {  # where one layer is chosen and measured
    "subject_attn": ("attn_out", "subject last"),
    "subject_mlp": ("mlp_out", "subject last"),
    "last_attn": ("attn_out", "last"),
    "last_mlp": ("mlp_out", "last"),
}

WORDS: dict[MetricName, str] = {
    "logit_diff": "logit difference",
    "probability": "probability of the answer",
    "log_probability": "log-probability of the answer",
    "kl": "KL divergence from the clean run",
}
UNITS: dict[MetricName, str] = {
    "logit_diff": "logits",
    "log_probability": "nats",
    "kl": "nats",
    "probability": "",
}

inputs = Inputs(prompts=PAIRS)


class Params(SeedParams):
    prompts_per_relation: Annotated[int, Field(gt=0)] = 6
    """At most this many known pairs of each relation are patched, the first by hash of their id."""
    known_rank: Annotated[int, Field(ge=0)] = 0
    """An answer is known where its rank among all tokens is at most this; 0 is the likeliest token."""
    metric: MetricName = "logit_diff"
    """What an effect is measured by: `logit_diff` (Wang et al. 2023), `probability` of the answer (Meng et
    al. 2022), its `log_probability`, or `kl`, the divergence from the clean run's prediction (Conmy et al.
    2023)."""
    ablation: AblationName = "interchange"
    """What takes the fact away: `interchange` with the pair's corrupted prompt; `gaussian` noise on the
    subject's embeddings, of three times their standard deviation (Meng et al. 2022); their `mean` over the
    clean prompts, by role (Wang et al. 2023); `zero`. The last three make the corrupted run of the clean
    prompt's own tokens; when noising, `mean` and `zero` stand in the patched place itself."""
    everywhere: bool = False
    """Patch attn_out and mlp_out at every role too, and heads at the subject's last token: much slower."""


def run(lab: Lab, params: Params) -> Result:
    """Effects by layer, site and role in both directions, the hand-over, the best layers and heads."""
    # 1. Keep the pairs whose two answers the model knows.
    limit = params.prompts_per_relation
    facts = lab.known_facts(known_rank=params.known_rank, both_sides=True, per_relation=limit)
    ev = facts.evidence()
    choosing, measuring = facts.halves(ev)

    ablated = ablation(lab.model, facts.pairs, params.ablation, params.seed)
    metric = patch_metric(lab.model, ablated.denoising, params.metric)
    measured_by = WORDS[params.metric]

    # 2, 3. Patch each pair in both directions; an effect is 0 for the run patched into, 1 for the other.
    with lab.stage(0.6, f"patching {len(facts)} prompts") as progress:
        # Denoising's source run is the clean one and its base the corrupted one: these two are the scale's 1
        # and 0.
        found = patched(lab, facts, ablated.denoising, metric, params.everywhere, ROLES, progress)
        restored, clean, corrupted = found.normalised(), found.source, found.base
    with lab.stage(0.9, f"patching {len(facts)} prompts") as progress:
        instead = ablated.instead
        found = patched(lab, facts, ablated.noising, metric, params.everywhere, ENDS, progress, instead)
        destroyed = found.normalised()
    curves = {"denoising": by_role(restored, facts), "noising": by_role(destroyed, facts)}
    for name, values in (("clean", clean), ("corrupted", corrupted)):
        about = f"{measured_by.capitalize()}, {name} run."
        ev.finding(f"{name}_{params.metric}", values, about, UNITS[params.metric])

    # 4. When the subject's last token hands the fact over, and when the prompt's last token takes it.
    handover(ev, curves["denoising"], lab.model.n_layers, "")
    handover(ev, curves["noising"], lab.model.n_layers, "_noising")

    # 5. The best layer of each place and the best head, chosen on one half and measured on the other.
    estimate = estimated_sweep(lab.model, ablated.denoising, sites=["z"], metric=metric).normalised()
    z_of = {"exact": restored["z"], "noised": destroyed["z"], "estimate": estimate["z"]}
    z = at_role(z_of, facts, "last")
    best = {name: choosing.best(curves["denoising"][place]) for name, place in PLACES.items()}
    layers = {name: chosen.place for name, chosen in best.items()}
    # Layer and head as one place, so that one argmax is taken over both.
    n_heads = lab.model.shape.n_heads
    best_head = choosing.best(z["exact"].reshape(len(facts), -1))
    head = divmod(best_head.place, n_heads)
    unrelated = from_another_fact(ev, lab, facts, ablated.denoising, metric, clean, layers, head)
    for name, layer in layers.items():
        site, role = PLACES[name]
        choosing.choice(f"{name}_layer", best[name], f"The best layer of {site} at the {role} token.")
        for what, direction in (("recovered", "denoising"), ("destroyed", "noising")):
            effect = curves[direction][site, role][:, layer]
            about = f"Share of the {measured_by} {what} by {site} of the best layer at the {role} token."
            measuring.finding(f"{name}_{what}", effect, about, control=unrelated[name])
    about = "Layer of the head that restores most at the last token."
    choosing.choice("top_head_layer", best_head.named(lambda place: place // n_heads), about)
    about = "Index within its layer of the head that restores most."
    choosing.choice("top_head_index", best_head.named(lambda place: place % n_heads), about)
    for what, effect, about in (
        ("recovered", z["exact"], "Share that the best head restores."),
        ("destroyed", z["noised"], "Share destroyed by noising it."),
    ):
        measuring.finding(f"top_head_{what}", effect[:, *head], about, control=unrelated["top_head"])

    chance = any_place(ev, curves["denoising"])
    by_mlp = curves["denoising"]["mlp_out", "subject last"]
    # With an odd number of layers the middle one counts to the second half.
    middle = by_mlp.shape[1] // 2
    about = "Mean share restored at the subject's last token by one MLP of the {} half of the layers."
    for half, mlps in (("first", by_mlp[:, :middle]), ("second", by_mlp[:, middle:])):
        ev.finding(f"subject_mlp_{half}_half", mlps.mean(axis=1), about.format(half), control=chance)

    # 6. How well attribution patching estimates the heads' effects.
    # Over layers and heads together, within each prompt.
    correlation = spearman(*(z[run].reshape(len(facts), -1) for run in ("estimate", "exact")))
    about = "Mean rank correlation, over heads at the last token, of attribution patching with exact effects."
    ev.finding("estimate_correlation", correlation, about)

    draw(ev, curves, by_head(ev, z), measured_by)
    if params.everywhere:
        ev.table("heads_at_subject", by_head(ev, at_role(z_of, facts, "subject last")))
    columns = ["id", "relation", "clean", "corrupted", "answer", "wrong_answer"]
    per_prompt = facts.table[columns].assign(
        cluster=facts.clusters,
        **{f"clean_{params.metric}": clean, f"corrupted_{params.metric}": corrupted},
    )
    ev.table("per_prompt", per_prompt)
    ev.array("z", z["noised"])
    for site in ("attn_out", "mlp_out"):
        ev.array(site, curves["noising"][site, "last"])
    return ev.result()


def patched(
    lab: Lab,
    facts: Facts,
    pairs: PatchPairs,
    metric: PatchMetric,
    everywhere: bool,
    stream: tuple[str, ...],
    progress: Callable[..., None],
    instead: Constants | None = None,
) -> Sweep:
    """The metric after each patch, and of the runs patched from and into.

    `stream` are the roles that resid_pre is patched at; `everywhere` asks for all roles of every site.
    """
    roles = {"resid_pre": stream, "attn_out": ENDS, "mlp_out": ENDS, "z": ("last",)}
    if everywhere:
        roles = {"resid_pre": ROLES, "attn_out": ROLES, "mlp_out": ROLES, "z": ENDS}
    positions = {site: role_positions(facts.pairs, *where) for site, where in roles.items()}
    return sweep(lab.model, pairs, positions=positions, metric=metric, instead=instead, progress=progress)


def by_role(effects: Effects, facts: Facts) -> Curves:
    """Each prompt's effect by layer, NaN where it has no such position, for the roles that were patched."""
    curves = {}
    for site in ("resid_pre", "attn_out", "mlp_out"):
        for role in ROLES:
            curve = over_positions(effects[site], role_positions(facts.pairs, role))
            # Roles that were not patched are NaN throughout, and have no curve.
            if np.isfinite(curve).any():
                curves[site, role] = curve
    return curves


def at_role(effects: Effects, facts: Facts, role: str) -> Effects:
    """Each prompt's effects at the positions of a role: "prompt layer head" for z."""
    positions = role_positions(facts.pairs, role)
    return {name: over_positions(effect, positions) for name, effect in effects.items()}


def handover(ev: Evidence, curves: Curves, n_layers: int, suffix: str) -> None:
    """When the subject's last token stops carrying the fact, and when the prompt's last token has it."""
    subject = curves["resid_pre", "subject last"]
    # Where the subject's last token has less than half of the effect before any block has run, the fact was
    # never there (it may hang on an earlier token of the subject): such a prompt hands nothing over, and
    # would count as a hand-over after 0 blocks.
    carried = subject[:, 0] >= 0.5
    about = "Fraction of prompts whose fact is not at the subject's last token before the first block."
    ev.finding(f"never_carried{suffix}", ~carried, about)
    # The stream before block L has less than half of the effect from L on: L blocks have run.
    left = first_for_good(subject < 0.5, never=n_layers)
    came = first_for_good(curves["resid_pre", "last"] >= 0.5, never=n_layers)
    over = ev.where(carried)
    if not carried.any():
        return
    for name, layers in (("subject_handover", left), ("last_takeover", came)):
        about = (
            f"number of blocks to the {name.replace('_', ' ')}, where the subject's last token had the fact"
        )
        over.finding(f"{name}_layer{suffix}", layers, f"Mean {about}.", "layers")
        over.finding(f"{name}_depth{suffix}", layers / n_layers, f"Mean {about}, as a fraction of all.")
    about = "Mean number of blocks from the subject's hand-over to the last token's take-over, likewise."
    over.finding(f"handover_gap{suffix}", came - left, about, "layers")


def from_another_fact(
    ev: Evidence,
    lab: Lab,
    facts: Facts,
    denoising: PatchPairs,
    metric: PatchMetric,
    clean: np.ndarray,
    layers: dict[str, int],
    head: tuple[int, int],
) -> dict[str, Measurement]:
    """The control of each chosen place: patched from another fact of equal length, on its pair's scale."""
    rows, partners = facts.unrelated()
    # Into the same corrupted run and on the same scale; only the source is another fact's clean run.
    pairs = replace(denoising.rows(rows), source=facts.prompts.clean[partners])
    # resid_pre of block 0 is the embedding: it replaces the subject's token itself.
    places = {"subject_resid": ("resid_pre", "subject last", 0)}
    places |= {name: (*PLACES[name], layer) for name, layer in layers.items()}
    used = {layer for _, _, layer in places.values()} | {head[0]}
    asked = role_positions(facts.pairs, *ENDS)[rows]
    # Scaled by the pair's own clean run: the unrelated source's metric of these answers means nothing.
    found = sweep(lab.model, pairs, positions=asked, layers=used, metric=metric.rows(rows))
    found = found.normalised(clean[rows])

    over = ev.of(rows)
    # One of the same relation shares the question: the reader is told how many do.
    elsewhere = sum(facts.relations[a] != facts.relations[b] for a, b in zip(rows, partners, strict=True))
    share = f"{elsewhere} of {len(rows)} prompts"
    source = f"patched from another fact of equal length, of another relation for {share}"
    controls = {}
    for name, (site, role, layer) in places.items():
        effect = over_positions(found[site], role_positions(facts.pairs, role)[rows])[:, layer]
        about = f"{site} of layer {layer} at the {role} token, {source}."
        controls[name] = over.control(f"{name}_unrelated", effect, about)
    effect = over_positions(found["z"], role_positions(facts.pairs, "last")[rows])[:, *head]
    about = f"The best head, {source}."
    controls["top_head"] = over.control("top_head_unrelated", effect, about)
    return controls


def any_place(ev: Evidence, curves: Curves) -> Measurement:
    """The control of a half: the exact mean over every layer of attn_out and mlp_out at both ends."""
    # The mean, and not a place drawn for each prompt: what a draw is expected to give is known, and drawing
    # would only add noise.
    places = [curves[site, role] for site in ("attn_out", "mlp_out") for role in ENDS]
    about = "attn_out or mlp_out of a layer, at the subject's last token or the prompt's: mean over all."
    return ev.control("random_place_recovered", np.mean(places, axis=(0, 2)), about)


def draw(ev: Evidence, curves: dict[str, Curves], heads: pd.DataFrame, measured_by: str) -> None:
    """Effects by layer, site and role in each direction, and heads."""
    scale = "0 is the run patched into, 1 the run patched from; bands are 95 % intervals over prompts."
    for direction, title, what in (
        ("denoising", "Where patching restores the fact", "Clean activations put into the corrupted run"),
        ("noising", "Where patching destroys the fact", "Corrupted activations put into the clean run"),
    ):
        ev.table(direction, by_layer(ev, curves[direction])).line(
            direction,
            "layer",
            f"effect: share of the {measured_by}",
            color="token: token patched",
            facet="site",
            band=True,
            title=title,
            caption=f"{what}, one layer and position at a time. {scale}",
            rule=0.5,
        )
    ev.table("heads", heads).heatmap(
        "heads",
        "head",
        "layer",
        color="recovered: share restored",
        title="What each head restores at the last token",
        caption=f"Mean share of the {measured_by} that one head's clean z restores in the corrupted run.",
        midpoint=0.0,
    )
    ev.table("top_heads", heads.nlargest(12, "recovered").reset_index(drop=True)).bar(
        "top_heads",
        "recovered: share restored",
        "name: head",
        band=True,
        title="The heads that restore most",
        caption=f"Mean share of the {measured_by} restored at the last token, "
        "with 95 % intervals over prompts.",
    )


def by_layer(ev: Evidence, curves: Curves) -> pd.DataFrame:
    """Each place's mean effect by layer, over the prompts that have such a position."""
    tables = []
    for (site, role), curve in curves.items():
        # A prompt whose subject is one token has no "subject" position before its last.
        there = ~np.isnan(curve[:, 0])
        means = ev.where(there).by_layer(curve, "effect", site=site, token=role, prompts=int(there.sum()))
        tables.append(means)
    return pd.concat(tables, ignore_index=True)


def by_head(ev: Evidence, z: dict[str, np.ndarray]) -> pd.DataFrame:
    """Every head's mean effects: exact, noised and estimated."""
    n_prompts, _, n_heads = z["exact"].shape
    # `by_layer` numbers the second axis: layer * n_heads + head, taken apart in the next line.
    heads = ev.by_layer(z["exact"].reshape(n_prompts, -1), "recovered")
    heads = heads.assign(layer=heads["layer"] // n_heads, head=heads["layer"] % n_heads)
    heads["name"] = [f"L{layer}H{head}" for layer, head in zip(heads["layer"], heads["head"], strict=True)]
    return heads.assign(destroyed=z["noised"].mean(0).ravel(), estimated=z["estimate"].mean(0).ravel())


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
