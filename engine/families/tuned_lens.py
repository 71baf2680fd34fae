"""Tuned lens: when does the answer come up, once each layer is read in its own basis?

1. Cut the corpus into contexts; hold out whole documents.
2. Fit an affine translator for every layer on the rest: least squares of the final residual stream on the
   layer's own, each token relative to the length of its final stream.
3. On the held-out documents, how far each lens is from the output at every layer: KL in nats, of the plain
   lens, of the tuned one, and of a lens that reads nothing (the mean final stream).
4. Keep the prompts whose answer the model knows; read the answer's rank and log-probability after 0, 1, ...
   blocks by the tuned lens and by the plain one.
5. A prompt has committed after the fewest blocks from which on the rank stays at `commit_rank` or better; it
   leads once the answer stays likelier than another prompt's answer.

Source: Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens", the fit by
least squares as in Din et al. 2023. Units of sampling: the prompt, and the held-out document. Layers count
blocks; depths are fractions of all blocks. Control: the plain lens on the same prompts and positions; for the
fit itself the lens that reads nothing.

Pitfalls:

- A fitted lens may compute what the layer does not yet say; what it reads is what can be predicted linearly,
  and no step of the model (Belrose et al. 2023, section 4, on causal fidelity).
- Least squares match activations and not the output distribution, which the tuned lens proper is fitted to
  (Din et al. 2023; Belrose et al. 2023, section 3).
- The lens is fitted on running text and read on prompts that are built; what they have and the text has not
  is not in it (Hewitt and Liang 2019, on what a probe is trained for).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Result
from engine.lab.contexts import Contexts, cut
from engine.lab.lab import Lab
from engine.lab.lens import LensReading, read_lens
from engine.lab.planted import LAYER, planted_lab, planted_text
from engine.lab.profiles import block_at_depth, first_for_good, known_answer
from engine.lab.receipts import base_receipts_of_contexts, lens_receipt
from engine.lab.tuned_lens import Translators, divergences, fit_translators, solved
from engine.spec.family_params import SeedParams
from engine.spec.inputs import ANSWERS, Inputs

LENSES = ("plain", "tuned")

inputs = Inputs(prompts=ANSWERS, corpus=True)


class Params(SeedParams):
    tokens: Annotated[int, Field(gt=0)] | None = None
    """At most this many tokens of the corpus are fitted on and tried on; all of them when left out."""
    context_tokens: Annotated[int, Field(gt=1)] = 128
    """Tokens that the model reads at once."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the documents that the translators are tried on."""
    most_held_out: Annotated[int, Field(gt=1)] = 200
    """At most this many documents are tried, one position of one context of each."""
    known_rank: Annotated[int, Field(ge=0)] = 0
    """A fact is known where the answer's rank among all tokens is at most this; 0 is the likeliest token."""
    commit_rank: Annotated[int, Field(ge=0)] = 0
    """A prompt has committed once the answer stays at this rank or better; 0 is the likeliest token."""


def run(lab: Lab, params: Params) -> Result:
    """How near each lens is to the output, and when known answers commit by each."""
    # 1. Cut the corpus into contexts; hold out whole documents.
    contexts = cut(lab.text(), lab.model, context_tokens=params.context_tokens, tokens=params.tokens)
    generator = np.random.default_rng(params.seed)
    fitted, tried = held_out(contexts, params, generator)
    # 2. Fit an affine translator for every layer on the rest.
    with lab.stage(0.6, f"fitting translators on {len(fitted)} contexts") as progress:
        translators = fit_translators(lab.model, contexts, fitted, progress)
    # 3. On the held-out documents, how far each lens is from the output.
    with lab.stage(0.8, f"trying them on {len(tried)} documents") as progress:
        kl = divergences(lab.model, contexts, tried, translators, generator, progress)
    # 4. Keep the known prompts; read the answer by the tuned lens and by the plain one.
    facts = lab.known_facts(known_rank=params.known_rank)
    ev = facts.evidence()
    prompts = facts.prompts
    targets = torch.stack((prompts.answer, facts.other_answers()), dim=1)
    with lab.stage(1.0, f"reading {len(facts)} known facts through both lenses"):
        plain = read_lens(lab.model, prompts.clean, prompts.last, targets)
        tuned = read_lens(lab.model, prompts.clean, prompts.last, targets, translators)
    readings = {"plain": plain, "tuned": tuned}

    ev.count("tokens_fitted", int(contexts.rows[fitted].sum()), "Tokens fitted on.", unit="token")
    fit_quality(ev.over("document", contexts.documents[tried]), kl, lab.model.n_layers)
    # 5. When a prompt commits, and when its answer leads, by each lens.
    when(ev, readings, params.commit_rank, lab.model.n_layers)
    by_layer(ev, readings)
    ev.array("translator_weights", translators.weight.cpu().numpy())
    ev.array("translator_biases", translators.bias.cpu().numpy())
    ev.check(lens_receipt(lab.model, facts, tuned))
    ev.check(*base_receipts_of_contexts(lab.model, contexts.inputs(tried[:4])))
    return ev.result()


def held_out(
    contexts: Contexts, params: Params, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Contexts to fit on, and one context of each held-out document."""
    documents = np.unique(contexts.documents)
    # Two at least, so that there is an interval; the rest is fitted on.
    wanted = max(2, round(params.held_out * len(documents)))
    drawn = generator.permutation(documents)[: min(wanted, len(documents) - 1)]
    fitted = np.flatnonzero(~np.isin(contexts.documents, drawn))
    # One context of each document, so that a document is one unit.
    candidates = [np.flatnonzero(contexts.documents == d) for d in drawn[: params.most_held_out]]
    tried = np.array([generator.choice(places) for places in candidates])
    return fitted, tried


def fit_quality(ev: Evidence, kl: dict[str, np.ndarray], n_layers: int) -> None:
    """The divergence from the output at half the depth, and layer by layer."""
    half = block_at_depth(0.5, n_layers)
    about = "KL of the output from {} at half the depth, on held-out documents."
    nothing = about.format("a lens that reads nothing")
    chance = ev.control("constant_kl_at_half_depth", kl["constant"][:, half], nothing, "nats")
    for lens in LENSES:
        said = about.format(f"the {lens} lens")
        ev.finding(f"{lens}_kl_at_half_depth", kl[lens][:, half], said, "nats", control=chance)
    tables = [ev.by_layer(kl[lens], "kl", lens=lens) for lens in (*LENSES, "constant")]
    ev.table("divergence", pd.concat(tables, ignore_index=True)).line(
        "divergence",
        "layer: blocks read",
        "kl: KL from the output (nats)",
        color="lens: lens",
        band=True,
        title="How far each lens is from the output",
        caption="At one position of each held-out document; bands are 95 % intervals over documents.",
    )


def when(ev: Evidence, readings: dict[str, LensReading], commit_rank: int, n_layers: int) -> None:
    """When prompts commit and when their answers lead: by the tuned lens, with the plain one as control."""
    for name, what in (
        ("commit", "the answer's rank stays at `commit_rank` or better"),
        ("lead", "the answer stays likelier than another prompt's answer"),
    ):
        layers = {lens: first(name, reading, commit_rank, n_layers) for lens, reading in readings.items()}
        about = f"number of blocks after which {what}"
        for measure, scale, unit in (("layer", 1, "layers"), ("depth", n_layers, "")):
            of_all = ", as a fraction of all blocks" if measure == "depth" else ""
            said = f"Mean {about}{of_all}, by the {{}} lens."
            plain = layers["plain"] / scale
            chance = ev.control(f"plain_{name}_{measure}", plain, said.format("plain"), unit)
            tuned = layers["tuned"] / scale
            ev.finding(f"tuned_{name}_{measure}", tuned, said.format("tuned"), unit, control=chance)
    # Selection fixes the last layer: a prompt is kept because its answer is on top there.
    for lens, reading in readings.items():
        last = first("commit", reading, commit_rank, n_layers) == n_layers
        about = f"Fraction of prompts that commit in the last block, by the {lens} lens."
        if lens == "plain":
            chance = ev.control("plain_commits_in_last_block", last, about)
        else:
            ev.finding("tuned_commits_in_last_block", last, about, control=chance)


def first(name: str, reading: LensReading, commit_rank: int, n_layers: int) -> np.ndarray:
    """After how many blocks an answer has committed, or leads, for good: "prompt"."""
    if name == "commit":
        return first_for_good(reading.rank[:, :, 0] <= commit_rank, never=n_layers)
    return first_for_good(reading.logprob[:, :, 0] > reading.logprob[:, :, 1], never=n_layers)


def by_layer(ev: Evidence, readings: dict[str, LensReading]) -> None:
    """The answer's rank and another prompt's after each number of blocks, by both lenses."""
    tables = []
    for lens, reading in readings.items():
        for target, answer in enumerate(("the prompt's own", "another prompt's")):
            ranks = np.log1p(reading.rank[:, :, target])
            tables.append(ev.by_layer(ranks, "mean_log_rank", lens=lens, answer=answer))
    ev.table("ranks", pd.concat(tables, ignore_index=True)).line(
        "rank",
        "layer: blocks read",
        "mean_log_rank: mean ln(1 + rank)",
        color="lens: lens",
        facet="answer: answer",
        band=True,
        title="Rank of the answer by layer, through both lenses",
        caption="Mean ln(1 + rank): lower is likelier, 0 is the top. Bands are 95 % intervals over prompts.",
    )


def calibrate() -> list[Calibration]:
    """A planted lookup, and a stream that is the final one in another basis, which a translator undoes."""
    lab = planted_lab()
    lab.corpus = planted_text(lab.model)
    found = run(lab, Params(tokens=len(lab.corpus.ids), context_tokens=8)).measurements
    tuned = found["tuned_commit_layer"].value
    about = "By the tuned lens prompts commit no later than by the plain one."
    return [
        known_answer("planted lookup", "By the plain lens.", found["plain_commit_layer"].value, LAYER + 1),
        Calibration("planted lookup, tuned", about, f"at most {LAYER + 1}", tuned, 0, LAYER + 1),
        known_answer("turned stream", "Largest error of a translated stream.", _turned_back(), 0, 1e-3),
    ]


def _turned_back() -> float:
    """How far a translator leaves a stream that is an affine map of the final one from it."""
    generator = torch.Generator().manual_seed(0)
    final = torch.randn(400, 12, generator=generator)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=generator))[0]
    early = (final - 0.5) @ turn
    x = torch.cat([early, torch.ones(400, 1)], dim=1).double()
    weight, bias = solved((x.T @ x)[None], (x.T @ final.double())[None])
    moved = Translators(weight, bias, final.mean(dim=0))(torch.stack([early, final], dim=1))
    return float((moved[:, 0] - final).abs().max())
