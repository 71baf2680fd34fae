"""Crosscoder: which features do several layers, or two models, share, and which has one of them alone?

1. Harvest the corpus's activations at two or more `sites`, or at one or more in this model and in a second
   one, `against`, that shares its tokenizer; hold out whole contexts.
2. Train one BatchTopK crosscoder on all of these sources: a token's latents are the same in every one, and
   each latent has a decoder direction for each. Sources weigh the same, whatever their scale and width.
3. On held-out contexts: explained variance by source (about the training mean), l0 and live latents.
4. A live latent is shared where its smallest decoder norm is at least `shared_from` of its largest, exclusive
   where its second largest is at most `exclusive_below` of it.
5. Latent scaling: an exclusive is real where its direction explains little of the other sources' errors and
   reconstructions (at most `error_ratio` and `reconstruction_ratio` of what it explains in its own). Into
   another model, whose basis is another, a ridge regression over training rows carries the direction.
6. Within one residual stream, `decoder_cosine` compares a latent's directions at the first and the last site,
   weighted by their norms.

Sources: Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing"; Minder et al.
2025, "Robustly identifying concepts introduced during chat fine-tuning using crosscoders". Units of sampling:
the held-out context; for shares of latents the latent of this one dictionary, which says nothing of another
seed. Controls: `random_...`, a crosscoder of random directions with its best scale; `shuffled_...`, one
trained alike on sources that are shuffled against each other, where no token has a feature in both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator

from engine.errors import DataError
from engine.evidence.bootstrap import count, measure, rate
from engine.evidence.result import Calibration, Check, Figure, Measurement, Result
from engine.families.crosscoder.evaluation import (
    Evaluation,
    SourceData,
    evaluate,
    random_crosscoder,
    source_data,
)
from engine.families.crosscoder.latent_scaling import HeldOutSums, held_out
from engine.families.crosscoder.planted_sources import planted_sources
from engine.families.crosscoder.sources import read_aligned
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.lab.sparse.crosscoder import train
from engine.models.micro import micro_model
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import Inputs

DEPTHS = ["blocks.25%.hook_resid_post", "blocks.75%.hook_resid_post"]


inputs = Inputs(corpus=True, second_model="against")


class Params(FamilyParams):
    against: Annotated[str, Field(pattern=r"\S")] | None = None
    """A second model with the same tokenizer, as `qwen2.5-coder-1.5b-instruct`: its sites are sources too."""
    sites: Annotated[list[str], Field(min_length=1)] = DEPTHS
    """Hook sites, shallow to deep, two or more; with a second model one or more, read in both, and
    `blocks.50%.hook_resid_post` where left out. A relative depth is of each model's own."""
    n_features: Annotated[int, Field(gt=0)] = 2048
    """Latents of the dictionary."""
    k: Annotated[int, Field(gt=0)] = 32
    """Active latents a token, on average over a batch."""
    tokens: Annotated[int, Field(gt=0)] | None = None
    """At most this many tokens of the corpus are harvested; all of them when left out."""
    epochs: Annotated[int, Field(gt=0)] = 1
    """How often the training tokens are passed over."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's learning rate, after its warm-up and before its decay."""
    batch_size: Annotated[int, Field(gt=0)] = 1024
    """Tokens of one step."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the initial directions and the order of the tokens."""
    context_tokens: Annotated[int, Field(gt=1)] = 128
    """Tokens that the model reads at once."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the contexts that are measured on and not trained on."""
    shared_from: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A latent is shared from this smallest norm on, relative to its largest."""
    exclusive_below: Annotated[float, Field(ge=0, le=1)] = 0.2
    """A latent is exclusive up to this second largest norm, relative to its largest."""
    error_ratio: Annotated[float, Field(ge=0)] = 0.2
    """A real exclusive explains at most this share of its own source's factor in another one's error."""
    reconstruction_ratio: Annotated[float, Field(ge=0)] = 0.5
    """Likewise in another source's reconstruction. All four limits are choices of this project."""

    @model_validator(mode="before")
    @classmethod
    def _halfway(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Two models are compared half way up, where nothing else is said."""
        return ({"sites": ["blocks.50%.hook_resid_post"]} if given.get("against") is not None else {}) | given

    @field_validator("sites")
    @classmethod
    def _several(cls, sites: list[str], info: ValidationInfo) -> list[str]:
        """One site of one model is nothing to compare."""
        if len(sites) < 2 and info.data.get("against") is None:
            raise ValueError("one site of one model: name two or more, or a second model as `against`")
        return sites

    @model_validator(mode="after")
    def _has_k_latents(self) -> Params:
        if self.k > self.n_features:
            raise ValueError(f"k = {self.k} is more than n_features = {self.n_features}")
        return self


def run(lab: Lab, params: Params) -> Result:
    """Train one crosscoder and its null, and measure both on contexts that they never saw."""
    aligned, receipts = read_aligned(
        lab, params.sites, against=params.against, tokens=params.tokens, context_tokens=params.context_tokens
    )
    data = source_data(aligned, params.held_out, params.batch_size, params.seed, params.epochs)
    found = study(data, params, lab)
    return replace(found, checks=[*receipts, *found.checks])


def study(data: SourceData, params: Params, lab: Lab) -> Result:
    """The crosscoder of some activations, its controls, and what they measure."""
    if not data.n_steps:
        expected = f"{params.batch_size:,} tokens to train on, after those held out"
        raise DataError("the corpus is shorter than one batch", expected=expected, hint="more tokens")
    options: dict[str, Any] = {"n_steps": data.n_steps, "lr": params.lr, "seed": params.seed}
    options["dead_after_tokens"] = max(1, data.n_steps * params.batch_size // 10)
    sizes, aside = (data.widths, params.n_features, params.k), data.misaligned(params.seed)
    trained = train(data.train(), *sizes, progress=lab.part(0.3, 0.6), **options)
    null = train(aside.train(), *sizes, progress=lab.part(0.6, 0.9), **options)
    lab.progress(0.9, f"measuring on {data.n_contexts:,} held-out contexts")
    found, shuffled = evaluate(trained.coder, data), evaluate(null.coder, aside)
    chance = random_crosscoder(next(data.train()), *sizes, params.seed + 1)
    random = held_out(chance, data.held(), data.n_contexts, chance.dec)
    dead = Check("alive", 1 - float(found.live.mean()), 1 - 0.5 / params.n_features, "Share of dead latents.")
    return Result(
        findings=[*_variance(found.held, data), *_amounts(found, data), *_latents(found, data, params)],
        controls=[*_variance(random, data, "random_"), *_latents(shuffled, data, params, "shuffled_")],
        checks=[dead],
        tables=_tables(found, shuffled, random, data, params) | {"training": _training(trained.history)},
        figures=FIGURES,
        arrays={
            "directions": found.coder.dec.numpy(),  # "latent width", the sources' `widths` side by side
            "widths": np.array(data.widths),
            "firing_rate": found.firing_rate,
        },
    )


def _training(history: pd.DataFrame) -> pd.DataFrame:
    """The history of training; `dead` are the latents that AuxK had to revive at a step."""
    return history.drop(columns=["aux_loss", "dead"]).rename(columns={"aux_latents": "dead"})


def _variance(held: HeldOutSums, data: SourceData, who: str = "") -> list[Measurement]:
    """Explained variance over all sources, then by source."""
    total, residual = held.total.numpy(), held.residual.numpy()
    parts = {"explained_variance": (total.sum(axis=1), residual.sum(axis=1), "all sources")}
    for place, source in enumerate(data.sources):
        parts[f"explained_variance_{place}"] = total[:, place], residual[:, place], source
    by = "a crosscoder of random directions" if who else "the crosscoder"
    return [
        rate(
            who + name,
            whole - rest,
            whole,
            unit="context",
            about=f"Explained variance of {where} by {by}, about the training mean.",
            control="" if who else f"random_{name}",
        )
        for name, (whole, rest, where) in parts.items()
    ]


def _amounts(found: Evaluation, data: SourceData) -> list[Measurement]:
    held = found.held
    return [
        rate("l0", held.active, held.n_rows, unit="context", about="Active latents a token."),
        measure("frac_alive", found.live, unit="latent", about="Share of latents that fire when held out."),
        count("n_sources", len(data.sources), unit="site", about="Sources that are read and written."),
        count("tokens_held_out", int(held.n_rows.sum()), unit="token", about="Tokens measured on."),
    ]


def _classes(found: Evaluation, params: Params) -> dict[str, np.ndarray]:
    """Which live latents are shared, exclusive, and exclusive for real or falsely."""
    shared = found.relative.min(axis=1) >= params.shared_from
    exclusive = np.sort(found.relative, axis=1)[:, -2] <= params.exclusive_below
    real = np.abs(found.error_ratio) <= params.error_ratio
    real &= np.abs(found.reconstruction_ratio) <= params.reconstruction_ratio
    told_apart = {"real_exclusive": exclusive & real, "false_exclusive": exclusive & ~real}
    return {"shared": shared, "exclusive": exclusive, **told_apart}


SAID = {
    "shared": "are shared by all sources",
    "exclusive": "are exclusive to one source by their norms",
    "real_exclusive": "are exclusive to one source by latent scaling too",
    "false_exclusive": "are exclusive by their norms and not by latent scaling",
}


def _latents(found: Evaluation, data: SourceData, params: Params, who: str = "") -> list[Measurement]:
    """Shares of live latents by class, whose they are, and in one basis how alike first and last are."""
    aside = " Sources shuffled against each other." if who else ""
    units: dict[str, Any] = {"unit": "latent", "ids": np.flatnonzero(found.live)}
    rows = []
    for name, members in _classes(found, params).items():
        full, control = f"{name}_fraction", "" if who else f"shuffled_{name}_fraction"
        about = f"Share of live latents that {SAID[name]}.{aside}"
        rows.append(measure(who + full, members, about=about, control=control, **units))
    if data.one_basis:
        about = f"Cosine of a live latent's directions at first and last site, weighted by norm.{aside}"
        control = "" if who else "shuffled_decoder_cosine"
        rows.append(rate(f"{who}decoder_cosine", *found.cosines(), about=about, control=control, **units))
    about = f"Last source's share of a live latent's norm in first and last source, mean.{aside}"
    control = "" if who else "shuffled_last_share"
    rows.append(measure(f"{who}last_share", found.last_share(), about=about, control=control, **units))
    return rows


def _tables(
    found: Evaluation, shuffled: Evaluation, random: HeldOutSums, data: SourceData, params: Params
) -> dict[str, pd.DataFrame]:
    """By live latent, by source, and the norms of both crosscoders."""
    variance = [
        {"site": site, "crosscoder": label, "explained_variance": m.value, "low": m.low, "high": m.high}
        for label, held in (("trained", found.held), ("random directions", random))
        for site, m in zip(data.sources, _variance(held, data)[1:], strict=True)
    ]
    classes = _classes(found, params)
    kinds = [classes["shared"], classes["real_exclusive"], classes["false_exclusive"]]
    latents = pd.DataFrame(
        {
            "latent": np.flatnonzero(found.live),
            "firing_rate": found.firing_rate[found.live],
            "class": np.select(kinds, ["shared", "real exclusive", "false exclusive"], "in between"),
            "largest_at": np.array(data.sources)[found.norms.argmax(axis=1)],
            "last_share": found.last_share(),
            "error_ratio": found.error_ratio,
            "reconstruction_ratio": found.reconstruction_ratio,
        }
    )
    if data.one_basis:
        products, norms = found.cosines()
        latents["decoder_cosine"] = products / np.maximum(norms, 1e-12)
    labels = np.repeat(["trained", "sources shuffled"], [found.live.sum(), shuffled.live.sum()])
    shares = np.concatenate([found.last_share(), shuffled.last_share()])
    return {
        "per_latent": latents,
        "by_site": pd.DataFrame(variance).astype({"low": float, "high": float}),
        "norms": pd.DataFrame({"crosscoder": labels, "last_share": shares}),
    }


FIGURES = {
    "norms": Figure(
        "ecdf",
        "norms",
        {"x": "last_share", "color": "crosscoder"},
        "Whose features they are",
        "The last source's share of each live latent's decoder norm: 0 is the first alone, 1 the last. "
        "The other crosscoder was trained on the same activations, sources shuffled against each other.",
        {"x_title": "last source's share of the norm"},
    ),
    "explained_variance": Figure(
        "bar",
        "by_site",
        {"x": "site", "y": "explained_variance", "low": "low", "high": "high", "color": "crosscoder"},
        "Explained variance by source",
        "Of all held-out tokens together, about the training mean; intervals over contexts.",
        {"y_title": "explained variance"},
    ),
    "scaling": Figure(
        "scatter",
        "per_latent",
        {"x": "error_ratio", "y": "reconstruction_ratio", "color": "class", "label": "latent"},
        "Latent scaling",
        "How much of another source's error, and of its reconstruction, a latent's direction explains, "
        "relative to its own source. A real exclusive has both near 0.",
        {"x_title": "in the error", "y_title": "in the reconstruction"},
    ),
}


def calibrate() -> list[Calibration]:
    """Two sources made of 12 shared and 6 exclusive features each, of one width, and of two in two bases."""

    def planted(widths: tuple[int, int], kind: str) -> list[Calibration]:
        """A crosscoder with as many latents as there are planted features."""
        made = planted_sources(12, 6, widths=widths, rate=0.06)
        rows, contexts, steps = made.draw(2000, 10**6), torch.arange(2000) // 50, 300
        draws = (lambda: (made.draw(96, seed) for seed in range(steps))), lambda: iter([(rows, contexts)])
        data = SourceData(*draws, steps, 40, ["first", "second"], widths, one_basis=not kind)
        params = Params(n_features=24, k=2, lr=1e-2, batch_size=96)
        value = {n: m.value for n, m in study(data, params, Lab(micro_model())).measurements.items()}
        half = "Half of the planted features are in both sources, half in one alone."
        null = "No feature is in both of two sources that are shuffled against each other."
        mixed = value["shuffled_shared_fraction"]
        gain = value["explained_variance"] - value["random_explained_variance"]
        return [
            known_answer(f"shared features{kind}", half, value["shared_fraction"], 0.5, 0.06),
            known_answer(f"real exclusives{kind}", half, value["real_exclusive_fraction"], 0.5, 0.06),
            Calibration(f"shuffled sources{kind}", null, "0 to 0.1", mixed, 0.0, 0.1),
            Calibration(f"against chance{kind}", "Explained variance, gain.", "0.4 or more", gain, 0.4, 2.0),
        ]

    return [*planted((24, 24), ""), *planted((24, 40), ", unequal widths")]
