"""Logit lens: what the model would say of a fact if it stopped after each block.

1. Keep the prompts whose answer the model knows: at the end its rank is `known_rank` or better.
2. Run each clean prompt once; keep the residual stream at the last position before and after every block.
3. Apply the final norm and the unembedding; note the answer's rank (tokens that are likelier, from 0) and
   its log-probability (nats) after 0, 1, ... blocks.
4. A prompt has committed after the fewest blocks from which on the rank stays at `commit_rank` or better;
   it leads once the answer stays likelier than another prompt's answer.
5. The steepest block is the one through which mean ln(1 + rank) falls most; the specific block the one
   where it falls most beyond that of another prompt's answer. Both are chosen on one half of the prompts;
   the ranks before and after them are measured on the other.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens". Unit of sampling: the prompt. Layers
count blocks; depths are fractions of all blocks. Control: the answer of another prompt of the same
relation, through the same blocks; it shows how much of a rise belongs to the kind of answer rather than
to the fact.

Pitfalls:

- Early layers need not write in the basis of the unembedding; in some models the plain lens reads nonsense
  there, and it is biased towards some tokens (Belrose et al. 2023, sections 1 and 2).
- That an answer can be read off a layer does not say that the model uses it there (Belinkov 2022, "Probing
  Classifiers", on what a probe shows).
- A rise of the answer is in part a rise of all answers of its kind; it has to be read against another answer
  of the same kind (Geva et al. 2023, on attributes of the subject).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.lab.lab import Lab
from engine.lab.lens import last_position_streams, read_lens
from engine.lab.planted import LAYER, planted_lab
from engine.lab.profiles import block_at_depth, first_for_good, known_answer
from engine.lab.receipts import lens_receipt
from engine.models.micro import micro_model
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import ANSWERS, Inputs

inputs = Inputs(prompts=ANSWERS)


class Params(FamilyParams):
    known_rank: Annotated[int, Field(ge=0)] = 0
    """A fact is known where the answer's rank among all tokens is at most this; 0 is the likeliest token."""
    commit_rank: Annotated[int, Field(ge=0)] = 0
    """A prompt has committed once the answer stays at this rank or better; 0 is the likeliest token."""
    named_depth: Annotated[float, Field(ge=0, lt=1)] = 0.75
    """The block at this fraction of the depth is reported by name: 0.75 is block 9 of 12."""


def run(lab: Lab, params: Params) -> Result:
    """Ranks and log-probabilities by layer, commit depth, the blocks through which the rank falls most."""
    # 1. Keep the prompts whose answer the model knows.
    facts = lab.known_facts(known_rank=params.known_rank)
    ev = facts.evidence()
    # 2, 3. Run each once; note rank and log-probability of its answer, and of another prompt's, by layer.
    with lab.stage(1.0, f"reading {len(facts)} known facts through the lens"):
        targets = torch.stack((facts.prompts.answer, facts.other_answers()), dim=1)
        reading = read_lens(lab.model, facts.prompts.clean, facts.prompts.last, targets)
    # The last axis has the two targets: the own answer and another prompt's.
    rank, other_rank = np.moveaxis(reading.rank, 2, 0)
    logprob, other_logprob = np.moveaxis(reading.logprob, 2, 0)
    n_layers = lab.model.n_layers

    # 4. When a prompt commits, and when its answer leads.
    commits = first_for_good(rank <= params.commit_rank, never=n_layers)
    when(ev, "commit", commits, n_layers, "the answer's rank stays at `commit_rank` or better")
    leads = first_for_good(logprob > other_logprob, never=n_layers)
    when(ev, "lead", leads, n_layers, "the answer stays likelier than another prompt's answer")

    # 5. The blocks through which the rank falls most, chosen on one half and measured on the other.
    choosing, measuring = facts.halves(ev)
    steepest = choosing.best(falls(rank))
    # What falls for another prompt's answer as well belongs to the kind of answer.
    specific = choosing.best(falls(rank) - falls(other_rank))
    # Named before the measurement and not chosen: it is measured over all prompts.
    named = block_at_depth(params.named_depth, n_layers)
    choosing.choice("steepest_layer", steepest, "The block through which the answer's rank falls most.")
    about = "The block of the largest fall beyond another prompt's answer."
    choosing.choice("specific_layer", specific, about)
    ev.count("named_layer", named, "The block at `named_depth`.", unit="layer")
    blocks = {
        "steepest": (steepest.place, measuring),
        "specific": (specific.place, measuring),
        "named": (named, ev),
    }
    for block, (layer, over) in blocks.items():
        chance = through(over.control, block, layer, other_rank, "another prompt's answer", "other_")
        through(over.finding, block, layer, rank, "the answer", "", control=chance)

    about = "Mean final log-probability of {} answer."
    chance = ev.control("other_logprob", other_logprob[:, -1], about.format("another prompt's"), "nats")
    ev.finding("logprob", logprob[:, -1], about.format("the"), "nats", control=chance)

    by_layer(ev, {"the prompt's own": (rank, logprob), "another prompt's": (other_rank, other_logprob)})
    prompts = facts.table[["id", "relation", "clean", "answer"]]
    prompts = prompts.assign(cluster=facts.clusters, commit_layer=commits, logprob=logprob[:, -1])
    ev.table("per_prompt", prompts).ecdf(
        "commits",
        "commit_layer: blocks read",
        title="When prompts commit",
        caption="Share of prompts that have committed after that many blocks.",
    )
    ev.array("rank", rank)
    ev.array("logprob", logprob)
    ev.check(lens_receipt(lab.model, facts, reading))
    return ev.result()


def falls(rank: np.ndarray) -> np.ndarray:
    """By how much ln(1 + rank) falls through each block: "prompt layer" from "prompt layer+1"."""
    # ln(1 + rank), since a fall from 1,000 to 100 tells as much as one from 100 to 10.
    return -np.diff(np.log1p(rank), axis=1)


def when(ev: Evidence, name: str, layers: np.ndarray, n_layers: int, what: str) -> None:
    """After how many blocks something is so: mean and median, and as a fraction of all blocks."""
    about = f"number of blocks after which {what}"
    ev.finding(f"{name}_layer", layers, f"Mean {about}.", "layers")
    ev.finding(f"{name}_layer_median", layers, f"Median {about}.", "layers", statistic="median")
    ev.finding(f"{name}_depth", layers / n_layers, f"Mean {about}, as a fraction of all blocks.")


def through(
    add: Callable[..., Measurement], block: str, layer: int, rank: np.ndarray, answer: str, who: str, **more
) -> Measurement:
    """Ranks before and after a block, and the fall of ln(1 + rank) through it, which is given back."""
    for when, ranks in (("before", rank[:, layer]), ("after", rank[:, layer + 1])):
        about = f"Mean rank of {answer} {when} the {block} block."
        add(f"{who}mean_rank_{when}_{block}_layer", ranks, about, "tokens")
    about = f"Mean fall of ln(1 + rank) of {answer} through the {block} block."
    return add(f"{who}log_rank_drop_{block}_layer", falls(rank)[:, layer], about, "nats", **more)


def by_layer(ev: Evidence, answers: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """How both answers stand after each number of blocks."""
    bands = "Read at the last position after each number of blocks; bands are 95 % intervals over prompts."
    ranks = []
    logprobs = []
    for answer, (rank, logprob) in answers.items():
        table = ev.by_layer(np.log1p(rank), "mean_log_rank", answer=answer)
        ranks.append(table.assign(mean_rank=rank.mean(0), median_rank=np.median(rank, axis=0)))
        logprobs.append(ev.by_layer(logprob, "mean_logprob", answer=answer))
    parts = {"x": "layer: blocks read", "color": "answer: answer", "band": True}
    ev.table("ranks", pd.concat(ranks, ignore_index=True)).line(
        "rank",
        y="mean_log_rank: mean ln(1 + rank)",
        **parts,
        title="Rank of the answer by layer",
        caption=f"Mean ln(1 + rank) of the answer: lower is likelier, 0 is the top. {bands}",
    )
    ev.table("logprobs", pd.concat(logprobs, ignore_index=True)).line(
        "logprob",
        y="mean_logprob: mean log-probability (nats)",
        **parts,
        title="Log-probability of the answer by layer",
        caption=f"Mean log-probability of the answer. {bands}",
    )


def calibrate() -> list[Calibration]:
    """The lens against the output of a random model, and the layer of a planted lookup."""
    found = run(planted_lab(), Params()).measurements
    model = micro_model("gpt2", n_layers=3)
    ids = torch.tensor(model.token_ids(["the capital city of France is the city of"]))
    with torch.no_grad():
        # After the last block the lens applies the same norm and unembedding as the model: no difference but
        # rounding.
        last_row = model.unembed(last_position_streams(model, ids)[:, -1])
        gap = float((last_row - model.hf(ids).logits[:, -1]).abs().max())
    rise = -found["other_log_rank_drop_specific_layer"].value
    about = "Prompts commit right after the block whose head looks the answer up."
    wrong = "Another prompt's answer does not fall in rank there; rise of ln(1 + rank)."
    return [
        known_answer("last row is the output", "A random GPT-2 against Hugging Face's logits.", gap, 0, 5e-5),
        known_answer("planted lookup", about, found["commit_layer"].value, LAYER + 1),
        known_answer("planted lookup is specific", "The block itself.", found["specific_layer"].value, LAYER),
        Calibration("planted lookup, wrong answer", wrong, "0 or more", rise, 0.0, 100.0),
    ]
