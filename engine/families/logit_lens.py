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
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, Field

from engine.evidence.bootstrap import count
from engine.evidence.result import Calibration, Figure, Measurement, Result
from engine.lab.facts import Facts
from engine.lab.lab import Lab
from engine.lab.lens import last_position_streams, read_lens
from engine.lab.planted import LAYER, planted_lab
from engine.lab.profiles import Units, block_at_depth, first_for_good, known_answer
from engine.lab.receipts import lens_receipt, model_receipts
from engine.models.micro import micro_model


class Params(BaseModel, extra="forbid"):
    known_rank: Annotated[int, Field(ge=0)] = 0
    """A fact is known where the answer's rank among all tokens is at most this; 0 is the likeliest token."""
    commit_rank: Annotated[int, Field(ge=0)] = 0
    """A prompt has committed once the answer stays at this rank or better; 0 is the likeliest token."""
    named_depth: Annotated[float, Field(ge=0, lt=1)] = 0.75
    """The block at this fraction of the depth is reported by name: 0.75 is block 9 of 12."""


def run(lab: Lab, params: Params) -> Result:
    """Ranks and log-probabilities by layer, commit depth, the blocks through which the rank falls most."""
    facts = lab.known_facts(known_rank=params.known_rank)
    lab.progress(0.4, f"reading {len(facts)} known facts through the lens")
    targets = torch.stack((facts.prompts.answer, facts.other_answers()), dim=1)
    reading = read_lens(lab.model, facts.prompts.clean, facts.prompts.last, targets)
    rank, other = reading.rank[..., 0], reading.rank[..., 1]
    n_layers = lab.model.n_layers
    commits = first_for_good(rank <= params.commit_rank, never=n_layers)
    leads = first_for_good(reading.logprob[..., 0] > reading.logprob[..., 1], never=n_layers)
    blocks = {
        "steepest": (facts.best(falls(rank)), facts.measuring),
        "specific": (facts.best(falls(rank) - falls(other)), facts.measuring),
        "named": (block_at_depth(params.named_depth, n_layers), facts.all),
    }
    own, others = (_through(blocks, r, whose) for r, whose in ((rank, ""), (other, "other_")))
    logprob, other_logprob = _logprobs(facts, reading.logprob[:, -1])
    return Result(
        findings=[
            *facts.counts(),
            *_when("commit", commits, facts, n_layers, "the answer's rank stays at `commit_rank` or better"),
            *_when("lead", leads, facts, n_layers, "the answer stays likelier than another prompt's answer"),
            *_which(blocks, facts),
            *own,
            logprob,
        ],
        controls=[*others, other_logprob],
        checks=[*model_receipts(lab.model, facts), lens_receipt(lab.model, facts, reading)],
        tables=_tables(facts, reading.rank, reading.logprob, commits),
        figures=FIGURES,
        arrays={"rank": rank, "logprob": reading.logprob[..., 0]},
    )


def falls(rank: np.ndarray) -> np.ndarray:
    """By how much ln(1 + rank) falls through each block: "prompt layer" from "prompt layer+1"."""
    return -np.diff(np.log1p(rank), axis=1)


def _when(name: str, layers: np.ndarray, facts: Facts, n_layers: int, what: str) -> list[Measurement]:
    about = f"number of blocks after which {what}"
    return [
        facts.all.mean(f"{name}_layer", layers, f"Mean {about}.", quantity="layers"),
        facts.all.mean(
            f"{name}_layer_median", layers, f"Median {about}.", quantity="layers", statistic="median"
        ),
        facts.all.mean(f"{name}_depth", layers / n_layers, f"Mean {about}, as a fraction of all blocks."),
    ]


def _which(blocks: dict[str, tuple[int, Units]], facts: Facts) -> list[Measurement]:
    steepest, specific, named = (layer for layer, _ in blocks.values())
    return [
        facts.choice("steepest_layer", steepest, "The block through which the answer's rank falls most."),
        facts.choice(
            "specific_layer", specific, "The block of the largest fall beyond another prompt's answer."
        ),
        count("named_layer", named, unit="layer", about="The block at `named_depth`."),
    ]


def _through(blocks: dict[str, tuple[int, Units]], rank: np.ndarray, whose: str) -> list[Measurement]:
    """Ranks before and after each block, and the fall of ln(1 + rank) through it."""
    rows, answer = [], "another prompt's answer" if whose else "the answer"
    for name, (layer, units) in blocks.items():
        block, control = f"{name}_layer", "" if whose else f"other_log_rank_drop_{name}_layer"
        measured = ("mean_rank_before", "mean_rank_after", "log_rank_drop")
        before, after, drop = (f"{whose}{what}_{block}" for what in measured)
        about = f"of {answer} {{}} the {name} block."
        rows += [
            units.mean(before, rank[:, layer], f"Mean rank {about.format('before')}", quantity="tokens"),
            units.mean(after, rank[:, layer + 1], f"Mean rank {about.format('after')}", quantity="tokens"),
            units.mean(
                drop,
                falls(rank)[:, layer],
                f"Mean fall of ln(1 + rank) {about.format('through')}",
                quantity="nats",
                control=control,
            ),
        ]
    return rows


def _logprobs(facts: Facts, logprob: np.ndarray) -> tuple[Measurement, Measurement]:
    own, other = (f"Mean final log-probability of {whose} answer." for whose in ("the", "another prompt's"))
    return (
        facts.all.mean("logprob", logprob[:, 0], own, quantity="nats", control="other_logprob"),
        facts.all.mean("other_logprob", logprob[:, 1], other, quantity="nats"),
    )


def _tables(
    facts: Facts, rank: np.ndarray, logprob: np.ndarray, commits: np.ndarray
) -> dict[str, pd.DataFrame]:
    """By layer for both answers, and by prompt."""
    ranks, logprobs = [], []
    for target, answer in enumerate(("the prompt's own", "another prompt's")):
        table = facts.all.by_layer(np.log1p(rank[..., target]), "mean_log_rank", answer=answer)
        means = {"mean_rank": rank[..., target].mean(0), "median_rank": np.median(rank[..., target], axis=0)}
        ranks.append(table.assign(**means))
        logprobs.append(facts.all.by_layer(logprob[..., target], "mean_logprob", answer=answer))
    per_prompt = facts.table[["id", "relation", "clean", "answer"]].assign(
        commit_layer=commits, logprob=logprob[:, -1, 0]
    )
    by_layer = {
        "ranks": pd.concat(ranks, ignore_index=True),
        "logprobs": pd.concat(logprobs, ignore_index=True),
    }
    return {**by_layer, "per_prompt": per_prompt, "dropped": facts.dropped()}


BANDS = "Read at the last position after each number of blocks; bands are 95 % intervals over prompts."
TITLES: dict[str, Any] = {"x_title": "blocks read", "color_title": "answer"}
LINE = {"x": "layer", "low": "low", "high": "high", "color": "answer"}
FIGURES = {
    "rank": Figure(
        "line",
        "ranks",
        LINE | {"y": "mean_log_rank"},
        "Rank of the answer by layer",
        f"Mean ln(1 + rank) of the answer: lower is likelier, 0 is the top. {BANDS}",
        TITLES | {"y_title": "mean ln(1 + rank)"},
    ),
    "logprob": Figure(
        "line",
        "logprobs",
        LINE | {"y": "mean_logprob"},
        "Log-probability of the answer by layer",
        f"Mean log-probability of the answer. {BANDS}",
        TITLES | {"y_title": "mean log-probability (nats)"},
    ),
    "commits": Figure(
        "ecdf",
        "per_prompt",
        {"x": "commit_layer", "color": "relation"},
        "When prompts commit",
        "Share of prompts that have committed after that many blocks, by relation.",
        {"x_title": "blocks read", "color_title": "relation"},
    ),
}


def calibrate() -> list[Calibration]:
    """The lens against the output of a random model, and the layer of a planted lookup."""
    found = run(planted_lab(), Params()).measurements
    model = micro_model("gpt2", n_layers=3)
    ids = torch.tensor(model.token_ids(["the capital city of France is the city of"]))
    with torch.no_grad():
        last_row = model.unembed(last_position_streams(model, ids)[:, -1])
        gap = float((last_row - model.hf(ids).logits[:, -1]).abs().max())
    after, rise = LAYER + 1, -found["other_log_rank_drop_specific_layer"].value
    about = "Prompts commit right after the block whose head looks the answer up."
    wrong = "Another prompt's answer does not fall in rank there; rise of ln(1 + rank)."
    return [
        known_answer("last row is the output", "A random GPT-2 against Hugging Face's logits.", gap, 0, 5e-5),
        known_answer("planted lookup", about, found["commit_layer"].value, after),
        known_answer("planted lookup is specific", "The block itself.", found["specific_layer"].value, LAYER),
        Calibration("planted lookup, wrong answer", wrong, "0 or more", rise, 0.0, 100.0),
    ]
