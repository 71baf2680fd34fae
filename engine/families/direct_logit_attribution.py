"""Direct logit attribution: which MLPs and heads write the answer, and which write against it.

1. Keep the prompts whose answer the model knows (rank `known_rank` or better).
2. Run each clean prompt once. The residual stream at the last position is the sum of what the embeddings,
   each head, each attention bias and each MLP wrote to it.
3. Hold the final norm's scale at its value in the run: each part's contribution to the logit difference,
   answer minus wrong answer, is then its product with one direction (logits); with the norm's bias they
   add up to it.
4. The MLP and the head that write most (top), and those that write least or most against (bottom), are
   chosen on one half of the prompts and measured on the other.
5. Shares are ratios of means over prompts: of the logit difference, or of the positive total (the sum of
   all contributions above zero).

Where prompts name no wrong answer it is that of another prompt, of the same relation where there is one.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al. 2023 (per
head). Unit of sampling: the prompt. Direct effects only: what a part does through later parts is not
counted. Controls: the same parts towards another prompt's answer of the same relation, and any part, as the
mean over all of them.

Pitfalls:

- Later parts may erase what an earlier one wrote; the direct terms of both are then large and say little (Dao
  et al. 2023, "An Adversarial Example for Direct Logit Attribution").
- The direct effect is not the total one: parts with small direct effects may matter by way of others, and
  ablating a part changes what later ones write (McGrath et al. 2023, "The Hydra Effect").
- The final norm's scale is held as it was, though it depends on every part (Elhage et al. 2021, who leave
  layer norm out).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Result
from engine.lab.attribution import Attribution, ComponentKind, answer_directions, attribute
from engine.lab.facts import Facts
from engine.lab.lab import Lab
from engine.lab.planted import HEAD, LAYER, planted_lab
from engine.lab.profiles import block_at_depth, known_answer
from engine.lab.receipts import attribution_receipt
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import ANSWERS, Inputs

inputs = Inputs(prompts=ANSWERS)


class Params(FamilyParams):
    known_rank: Annotated[int, Field(ge=0)] = 0
    """A fact is known where the answer's rank among all tokens is at most this; 0 is the likeliest token."""
    named_depth: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """The MLP at this fraction of the depth and the one before it are reported: 0.75 is MLP 9 of 12."""


def run(lab: Lab, params: Params) -> Result:
    """Contributions of every part, the strongest writers and suppressors, the shares of MLPs and heads."""
    # 1. Keep the prompts whose answer the model knows.
    facts = lab.known_facts(known_rank=params.known_rank)
    ev = facts.evidence()
    # 2, 3. Each part's contribution to the logit difference, the final norm's scale held at its value.
    with lab.stage(1.0, f"attributing {len(facts)} known facts"):
        directions = towards_answers(lab.model, facts)
        found = attribute(lab.model, facts.prompts.clean, facts.prompts.last, directions)
    # Direction 0 is towards the prompt's own answer, direction 1 towards another prompt's.
    own = found.values[:, 0]
    total = found.logit_diff[:, 0]

    # 4. The parts that write most and least, chosen on one half and measured on the other.
    for kind in ("mlp", "head"):
        extremes(ev, facts, found, kind, lab.model.shape.n_heads)

    # 5. Shares of the logit difference, and of the positive total.
    ev.finding("logit_diff", total, "Mean logit difference, answer minus wrong answer.", "logits")
    # Writers that cancel make shares of the difference exceed 1; the positive total is at least as large as
    # each part.
    positive = np.maximum(own, 0.0)
    elsewhere = np.maximum(found.values[:, 1], 0.0)
    for kind in ("mlp", "head", "embedding"):
        part = found.of_kind(kind)
        whose = f"what {NOUNS[kind]}s write"
        name = f"{kind}_positive_share"
        chance = None
        # What a kind of part writes towards any answer: how much of a share is the kind and not the fact.
        if elsewhere.any():
            about = f"Share of the positive total towards another prompt's answer in {whose}."
            chance = ev.control(f"other_{name}", elsewhere[:, part].sum(1), about, over=elsewhere.sum(1))
        about = f"Share of the logit difference in {whose}."
        # A ratio of means over prompts: single prompts may have a difference near 0.
        ev.finding(f"{kind}_share", own[:, part].sum(1), about, over=total, control=chance)
        about = f"Share of the positive total in {whose}."
        ev.finding(name, positive[:, part].sum(1), about, over=positive.sum(1), control=chance)
    about = "Mean number of parts, largest first, that make up 80 % of the positive total."
    ev.finding("parts_for_80_percent", parts_for(positive, 0.8), about, "parts")

    # The MLP at a depth that was named beforehand, beside any part: the mean over all of them, and not a part
    # drawn for each prompt, since what a draw is expected to give is known.
    about = "What an MLP or head writes towards the answer: mean over all of them."
    any_part = own[:, found.of_kind("mlp", "head")].mean(axis=1)
    chance = ev.control("random_part_contribution", any_part, about, "logits")
    named = block_at_depth(params.named_depth, lab.model.n_layers)
    mlps = own[:, found.of_kind("mlp")]
    ev.count("named_layer", named, "The block at `named_depth`.", unit="layer")
    about = "What the MLP {} the named depth writes towards the answer."
    ev.finding("named_mlp_contribution", mlps[:, named], about.format("at"), "logits", control=chance)
    before = about.format("just before")
    ev.finding("mlp_before_named_contribution", mlps[:, named - 1], before, "logits", control=chance)

    draw(ev, found)
    prompts = facts.table[["id", "relation", "clean", "answer", "wrong_answer"]]
    ev.table("per_prompt", prompts.assign(cluster=facts.clusters, logit_diff=total))
    ev.array("contribution", own)
    ev.array("by_layer", found.by_layer(lab.model.n_layers)[:, 0])
    ev.check(attribution_receipt(lab.model, found))
    return ev.result()


NOUNS: dict[ComponentKind, str] = {"mlp": "MLP", "head": "head", "embedding": "embedding"}


def towards_answers(model: HookedModel, facts: Facts) -> torch.Tensor:
    """From wrong answer to answer, and from wrong answer to another prompt's: "prompt direction d_model"."""
    # Logit difference = norm(x) . (W_U[:, answer] - W_U[:, wrong answer]), linear in what each part wrote.
    prompts = facts.prompts
    answers = torch.stack((prompts.answer, facts.other_answers()), dim=1)
    return answer_directions(model, prompts.clean, prompts.last, answers, prompts.wrong_answer)


def extremes(ev: Evidence, facts: Facts, found: Attribution, kind: ComponentKind, n_heads: int) -> None:
    """The MLP or head that writes most and the one that writes least, beside what it writes elsewhere."""
    choosing, measuring = facts.halves(ev)
    own, other = np.moveaxis(found.values[:, :2, found.of_kind(kind)], 1, 0)
    for end, sign, most in (("top", 1, "most"), ("bottom", -1, "least")):
        # `best` takes the largest mean: the sign turns the one that writes least into it.
        chosen = choosing.best(sign * own)
        place = chosen.place
        name = f"{end}_{kind}"
        writer = f"the {NOUNS[kind]} that writes {most} towards the answer"
        layer = chosen if kind == "mlp" else chosen.named(lambda head: head // n_heads)
        choosing.choice(f"{name}_layer", layer, f"Layer of {writer}.")
        if kind == "head":
            index = chosen.named(lambda head: head % n_heads)
            choosing.choice(f"{name}_index", index, f"Index within its layer of {writer}.")
        about = f"What {writer} writes towards {{}}."
        elsewhere = about.format("another prompt's answer")
        control = measuring.control(f"{name}_other_answer", other[:, place], elsewhere, "logits")
        here = about.format("the answer")
        measuring.finding(f"{name}_contribution", own[:, place], here, "logits", control=control)


def parts_for(positive: np.ndarray, share: float) -> np.ndarray:
    """How many of each row's entries, largest first, reach a share of its sum: "prompt"."""
    # Sorted downwards by two negations.
    running = np.cumsum(-np.sort(-positive, axis=1), axis=1)
    # The entry that reaches the share counts too; a row of zeros needs one.
    return 1 + (running < share * running[:, -1:]).sum(axis=1)


def draw(ev: Evidence, found: Attribution) -> None:
    """Every part with its interval, the strongest, and the MLPs."""
    bars = "Means over prompts with 95 % intervals, in logits of answer minus wrong answer."
    parts = ev.by_layer(found.values[:, 0], "contribution").assign(
        layer=[c.layer for c in found.components],
        part=[c.name for c in found.components],
        kind=[c.kind for c in found.components],
        towards_another_answer=found.values[:, 1].mean(axis=0),
    )
    ev.table("parts", parts)
    # By size whatever the sign, then shown from the strongest writer to the strongest suppressor.
    by_size = np.argsort(-np.abs(parts["contribution"].to_numpy()), kind="stable")
    strongest = parts.iloc[by_size[:20]].nlargest(20, "contribution").reset_index(drop=True)
    ev.table("strongest", strongest).bar(
        "strongest",
        "contribution: contribution (logits)",
        "part",
        color="kind",
        band=True,
        title="The strongest writers and suppressors",
        caption="The parts that move the logit difference most; below zero they write against the answer. "
        f"{bars}",
    )
    ev.table("mlps", parts.iloc[found.of_kind("mlp")].reset_index(drop=True)).bar(
        "mlps",
        "layer",
        "contribution: contribution (logits)",
        band=True,
        title="What each MLP writes towards the answer",
        caption=bars,
    )


def calibrate() -> list[Calibration]:
    """The sum on random models of both architectures, and a planted head that writes all of the answer."""
    residue = max(_residue(micro_model(kind, n_layers=3)) for kind in ("llama", "gpt2"))
    found = {name: m.value for name, m in run(planted_lab(), Params()).measurements.items()}
    place = 100 * found["top_head_layer"] + found["top_head_index"]
    wrong = found["top_head_other_answer"]
    planted = f"Head {HEAD} of layer {LAYER} alone writes the answer; layer times 100 plus head."
    return [
        known_answer("parts add up", "Relative to the logit difference, random models.", residue, 0, 1e-5),
        known_answer("planted head is found", planted, place, 100 * LAYER + HEAD),
        known_answer("planted head writes it all", "The heads' share.", found["head_share"], 1, 1e-5),
        known_answer("planted head, wrong answer", "Towards another prompt's answer.", wrong, 0, 1e-5),
    ]


def _residue(model: HookedModel) -> float:
    ids = torch.tensor(model.token_ids(["the capital city of France is the city of"]))
    direction = (model.W_U[:, 5] - model.W_U[:, 9])[None, None]
    return attribute(model, ids, torch.tensor([ids.shape[1] - 1]), direction).largest_residue
