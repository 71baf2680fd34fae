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

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al. 2023 (per
head). Unit of sampling: the prompt. Direct effects only: what a part does through later parts is not
counted. Controls: the same parts towards another prompt's answer of the same relation, and a part drawn
at random for each prompt.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, Field

from engine.evidence.bootstrap import count
from engine.evidence.result import Calibration, Figure, Measurement, Result
from engine.lab.attribution import Attribution, Kind, attribute
from engine.lab.facts import Facts
from engine.lab.lab import Lab
from engine.lab.planted import HEAD, LAYER, planted_lab
from engine.lab.profiles import block_at_depth, known_answer
from engine.lab.receipts import attribution_receipt, model_receipts
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model


class Params(BaseModel, extra="forbid"):
    known_rank: Annotated[int, Field(ge=0)] = 0
    """A fact is known where the answer's rank among all tokens is at most this; 0 is the likeliest token."""
    named_depth: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """The MLP at this fraction of the depth and the one before it are reported: 0.75 is MLP 9 of 12."""
    seed: int = 0
    """Draws the random parts of the control."""


def run(lab: Lab, params: Params) -> Result:
    """Contributions of every part, the strongest writers and suppressors, the shares of MLPs and heads."""
    facts = lab.known_facts(known_rank=params.known_rank)
    lab.progress(0.5, f"attributing {len(facts)} known facts")
    found = attribute(lab.model, facts.prompts.clean, facts.prompts.last, _directions(lab.model, facts))
    named = block_at_depth(params.named_depth, lab.model.n_layers)
    n_heads = lab.model.shape.n_heads
    picked = [_extremes(found, facts, "mlp", n_heads), _extremes(found, facts, "head", n_heads)]
    return Result(
        findings=[
            *facts.counts(),
            *(finding for findings, _ in picked for finding in findings),
            *_shares(found, facts),
            *_named(found, facts, named),
        ],
        controls=[*(c for _, controls in picked for c in controls), _random_part(found, facts, params.seed)],
        checks=[*model_receipts(lab.model, facts), attribution_receipt(lab.model, found)],
        tables=_tables(found, facts),
        figures=FIGURES,
        arrays={"contribution": found.values[:, 0], "by_layer": found.by_layer(lab.model.n_layers)[:, 0]},
    )


def _directions(model: HookedModel, facts: Facts) -> torch.Tensor:
    """From wrong answer to answer, and from wrong answer to another prompt's: "prompt direction d_model"."""
    wrong = model.W_U[:, facts.prompts.wrong_answer].T
    targets = (facts.prompts.answer, facts.other_answers())
    return torch.stack([model.W_U[:, target].T - wrong for target in targets], dim=1)


NAMED = {"mlp": "MLP", "head": "head", "embedding": "embedding"}


def _extremes(
    found: Attribution, facts: Facts, kind: Kind, n_heads: int
) -> tuple[list[Measurement], list[Measurement]]:
    """The MLP or head that writes most and the one that writes least, and both towards another answer."""
    findings, controls = [], []
    own, other = (found.values[:, towards, found.of_kind(kind)] for towards in (0, 1))
    for end, sign, most in (("top", 1, "most"), ("bottom", -1, "least")):
        best, name = facts.best(sign * own), f"{end}_{kind}"
        writer = f"the {NAMED[kind]} that writes {most} towards the answer"
        layer, head = (best, None) if kind == "mlp" else divmod(best, n_heads)
        findings.append(facts.choice(f"{name}_layer", layer, f"Layer of {writer}."))
        if head is not None:
            findings.append(facts.choice(f"{name}_index", head, f"Index within its layer of {writer}."))
        measured = {
            f"{name}_contribution": (own, "the answer", f"{name}_other_answer"),
            f"{name}_other_answer": (other, "another prompt's answer", ""),
        }
        for key, (values, whose, control) in measured.items():
            about = f"What {writer} writes towards {whose}."
            given = {"quantity": "logits", "control": control}
            (findings if control else controls).append(
                facts.measuring.mean(key, values[:, best], about, **given)
            )
    return findings, controls


def _shares(found: Attribution, facts: Facts) -> list[Measurement]:
    """Who writes how much of the logit difference, and how many parts it takes."""
    own, total = found.values[:, 0], found.logit_diff[:, 0]
    positive = np.maximum(own, 0.0)
    about = "Mean logit difference, answer minus wrong answer."
    findings = [facts.all.mean("logit_diff", total, about, quantity="logits")]
    kinds: tuple[Kind, ...] = ("mlp", "head", "embedding")
    for kind in kinds:
        part, whose = found.of_kind(kind), f"what {NAMED[kind]}s write"
        shares = {
            f"{kind}_share": (own, total, f"Share of the logit difference in {whose}."),
            f"{kind}_positive_share": (positive, positive.sum(1), f"Share of the positive total in {whose}."),
        }
        findings += [
            facts.all.share(n, v[:, part].sum(1), whole, text) for n, (v, whole, text) in shares.items()
        ]
    about = "Mean number of parts, largest first, that make up 80 % of the positive total."
    needed = _parts_for(positive, 0.8)
    return [*findings, facts.all.mean("parts_for_80_percent", needed, about, quantity="parts")]


def _parts_for(positive: np.ndarray, share: float) -> np.ndarray:
    """How many of each row's entries, largest first, reach a share of its sum: "prompt"."""
    running = np.cumsum(-np.sort(-positive, axis=1), axis=1)
    return 1 + (running < share * running[:, -1:]).sum(axis=1)


def _named(found: Attribution, facts: Facts, layer: int) -> list[Measurement]:
    """The MLP at the named depth and the one before it."""
    mlps = found.values[:, 0, found.of_kind("mlp")]
    about = "What the MLP {} the named depth writes towards the answer."
    given = {"quantity": "logits", "control": "random_part_contribution"}
    return [
        count("named_layer", layer, unit="layer", about="The block at `named_depth`."),
        facts.all.mean("named_mlp_contribution", mlps[:, layer], about.format("at"), **given),
        facts.all.mean(
            "mlp_before_named_contribution", mlps[:, layer - 1], about.format("just before"), **given
        ),
    ]


def _random_part(found: Attribution, facts: Facts, seed: int) -> Measurement:
    drawn = np.random.default_rng(seed).choice(found.of_kind("mlp", "head"), size=len(facts))
    about = "What an MLP or head drawn at random for each prompt writes towards the answer."
    own = found.values[np.arange(len(facts)), 0, drawn]
    return facts.all.mean("random_part_contribution", own, about, quantity="logits")


def _tables(found: Attribution, facts: Facts) -> dict[str, pd.DataFrame]:
    """Every part with its interval, the strongest, the MLPs, and the prompts."""
    parts = facts.all.by_layer(found.values[:, 0], "contribution")
    parts = parts.assign(
        layer=[c.layer for c in found.components],
        part=[c.name for c in found.components],
        kind=[c.kind for c in found.components],
        towards_another_answer=found.values[:, 1].mean(axis=0),
    )
    by_size = np.argsort(-np.abs(parts["contribution"].to_numpy()), kind="stable")
    strongest = parts.iloc[by_size[:20]].nlargest(20, "contribution").reset_index(drop=True)
    columns = ["id", "relation", "clean", "answer", "wrong_answer"]
    return {
        "parts": parts,
        "strongest": strongest,
        "mlps": parts.iloc[found.of_kind("mlp")].reset_index(drop=True),
        "per_prompt": facts.table[columns].assign(logit_diff=found.logit_diff[:, 0]),
        "dropped": facts.dropped(),
    }


BARS = "Means over prompts with 95 % intervals, in logits of answer minus wrong answer."
ENDS = {"low": "low", "high": "high"}
FIGURES = {
    "strongest": Figure(
        "bar",
        "strongest",
        {"x": "contribution", "y": "part", "color": "kind", **ENDS},
        "The strongest writers and suppressors",
        f"The parts that move the logit difference most; below zero they write against the answer. {BARS}",
        {"x_title": "contribution (logits)"},
    ),
    "mlps": Figure(
        "bar",
        "mlps",
        {"x": "layer", "y": "contribution", **ENDS},
        "What each MLP writes towards the answer",
        BARS,
        {"y_title": "contribution (logits)"},
    ),
}


def calibrate() -> list[Calibration]:
    """The sum on random models of both architectures, and a planted head that writes all of the answer."""
    residue = max(_residue(micro_model(kind, n_layers=3)) for kind in ("llama", "gpt2"))
    found = {name: m.value for name, m in run(planted_lab(), Params()).measurements.items()}
    place, wrong = 100 * found["top_head_layer"] + found["top_head_index"], found["top_head_other_answer"]
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
