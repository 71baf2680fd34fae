"""Sparse autoencoder: a layer's activations as a few directions out of many, and what that costs the model.

1. Run the model over the corpus; keep the activations at the hook site, BOS excluded. Hold contexts out.
2. Train a Top-K or BatchTopK autoencoder (AuxK for dead latents, decoder rows of norm 1) on the other
   contexts; take the scaling of its input into its weights.
3. On held-out contexts: explained variance (of all tokens together, as SAELens 6 defines it, and as the mean
   over tokens, its earlier definition), l0 (active latents a token), frac_alive (latents that fire there).
4. Splice it into the model: ce_loss_score is the share of the loss between zeros at the site (0) and the
   model's own activations (1) that it keeps; kl is KL(clean, spliced) in nats a token.
5. Geometry: for each live latent the cosine with its nearest other decoder direction, and with its encoder.

Sources: Gao et al. 2024 (Top-K, AuxK); Bussmann et al. 2024 (BatchTopK); Karvonen et al. 2025, SAEBench
(ce_loss_score). Unit of sampling: the held-out context, or the latent. Controls, on the same contexts: a
dictionary of random directions with the same k (`random_`), and the first k principal components (`pca_`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor

from engine.errors import DataError
from engine.evidence.bootstrap import count
from engine.evidence.result import Calibration, Figure, Measurement, Result
from engine.lab.harvest import harvested, run_with_replacement
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.lab.sparse.autoencoder import DEAD_AFTER_TOKENS, train
from engine.lab.sparse.coder import Coder, random_coder
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.evidence import (
    Geometry,
    alive,
    reconstruction_evidence,
    sparsity_evidence,
    splice_evidence,
)
from engine.lab.sparse.held_out import HeldOutActivations
from engine.lab.sparse.metrics import (
    ReconstructionSums,
    SpliceLosses,
    mean_of,
    principal,
    reconstruction,
    splice,
)
from engine.lab.sparse.receipts import sae_receipts
from engine.lab.sparse.run_arrays import arrays_of
from engine.lab.sparse.synthetic import known_dictionary, recovered, sparse_batches
from engine.lab.sparse.top_contexts import evenly_by_rate, top_contexts
from engine.lab.sparse.trainer import TrainingOutcome
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import Inputs

CONTROLS = ("random", "pca")
SPLICED_AT_ONCE = 4  # contexts: their logits over the vocabulary are the most memory that a run takes


inputs = Inputs(corpus=True, site=True)


class Params(FamilyParams):
    n_features: Annotated[int, Field(gt=0)] = 2048
    """How many latents the dictionary has."""
    k: Annotated[int, Field(gt=0)] = 32
    """Latents active for each token; for batchtopk on average over a batch."""
    kind: Literal["topk", "batchtopk"] = "topk"
    """topk keeps the k largest of every token, batchtopk the k times batch_size largest of a batch."""
    tokens: Annotated[int, Field(gt=0)] | None = None
    """At most this many tokens of the corpus are harvested; all of them when left out."""
    epochs: Annotated[int, Field(gt=0)] = 1
    """How often every token is trained on."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the initial directions and the order of the tokens."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's learning rate after the warm-up; it falls to zero over the last fifth of the steps."""
    batch_size: Annotated[int, Field(gt=0)] = 1024
    """Tokens in a step."""
    context_tokens: Annotated[int, Field(gt=1)] = 128
    """Tokens that the model reads at once."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the contexts that is measured on rather than trained on."""
    spliced_contexts: Annotated[int, Field(gt=1)] = 40
    """Held-out contexts that the reconstructions are spliced into."""
    shown_latents: Annotated[int, Field(gt=0)] = 24
    """Latents whose top contexts are listed: live ones, evenly spaced by how often they fire."""

    @model_validator(mode="after")
    def _has_k_latents(self) -> Params:
        if self.k > self.n_features:
            raise ValueError(f"k = {self.k} is more than n_features = {self.n_features}")
        return self


def run(lab: Lab, params: Params) -> Result:
    """Train one dictionary and measure it on contexts that it never saw, beside its controls."""
    acts = harvested(lab, [lab.hook_site], tokens=params.tokens, context_tokens=params.context_tokens)
    site, (train_part, test_part) = acts.site, acts.split(params.held_out)
    held = HeldOutActivations.of(test_part, site)
    trained = _trained(train_part, site, params, lab.part(0.3, 0.8))
    coder = trained.coder.folded()
    lab.progress(0.8, f"measuring on {len(held.names):,} held-out contexts")
    codes = held.codes(coder)
    fitted = principal(train_part.batches(site, params.batch_size, params.seed))
    chance = random_coder(acts.d, params.n_features, params.k, seed=params.seed, mean=fitted.mean)
    by = {"": coder.reconstruct, "random": chance.reconstruct, "pca": fitted.reconstruct(params.k)}
    mean = mean_of(held.batches())
    sums = {name: reconstruction(held.batches(), f, mean, len(held.names)) for name, f in by.items()}
    lab.progress(0.85, "splicing the reconstructions into the model")
    spliced, contexts = _spliced(lab, held, site, by, params.spliced_contexts)
    curve = fitted.curve(held.batches(), float(sums[""].total.sum()))
    geometry = Geometry.of(coder, codes, chance)
    return Result(
        findings=[
            *reconstruction_evidence(sums[""], held.names),
            *splice_evidence(spliced, contexts),
            *sparsity_evidence(codes, held),
            *geometry.findings(),
            *_amounts(trained, held, curve, sums[""]),
        ],
        controls=[
            *(m for who in CONTROLS for m in reconstruction_evidence(sums[who], held.names, who)),
            *(m for who in CONTROLS for m in splice_evidence(spliced, contexts, who)),
            geometry.control(),
        ],
        checks=[*sae_receipts(lab.model, held.texts(8)[0], spliced), alive(codes)],
        tables=_tables(lab, params, trained, held, codes, geometry, curve),
        figures=FIGURES,
        arrays=arrays_of(coder, codes.fired().numpy() / len(codes)),
    )


def _trained(acts: Any, site: str, params: Params, progress: Callable[..., None]) -> TrainingOutcome[Coder]:
    steps = acts.n_tokens // params.batch_size * params.epochs
    if not steps:
        raise DataError(
            "the corpus is shorter than one batch",
            expected=f"{params.batch_size:,} tokens to train on, after those held out",
            seen=f"{acts.n_tokens:,}",
            hint="a smaller batch_size, or more tokens",
        )
    batches = acts.batches(site, params.batch_size, params.seed, params.epochs)
    return train(
        (batch for batch in batches if len(batch) == params.batch_size),
        acts.d,
        params.n_features,
        params.k,
        architecture=params.kind,
        lr=params.lr,
        seed=params.seed,
        n_steps=steps,
        dead_after_tokens=min(DEAD_AFTER_TOKENS, max(1, acts.n_tokens * params.epochs // 10)),
        progress=progress,
    )


def _spliced(
    lab: Lab, held: HeldOutActivations, site: str, by: Mapping[str, Callable[[Tensor], Tensor]], limit: int
) -> tuple[SpliceLosses, list[str]]:
    ids, names = held.texts(limit)
    first = held.first_position

    def forward(batch: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        return run_with_replacement(lab.model, batch, site, f, first_position=first)

    batches = ids.to(lab.model.device).split(SPLICED_AT_ONCE)
    return splice(batches, lab.model.logits, forward, by, first_position=first), names


def _amounts(
    trained: TrainingOutcome[Coder], held: HeldOutActivations, curve: np.ndarray, sums: ReconstructionSums
) -> list[Measurement]:
    rank = int(np.searchsorted(np.maximum.accumulate(curve), sums.explained_variance)) + 1
    about = "Principal components that it takes to explain as much variance."
    return [
        count("pca_rank_of_equal_variance", min(rank, len(curve)), unit="component", about=about),
        count("tokens_trained", trained.n_tokens, unit="token", about="Tokens trained on, each epoch anew."),
        count("tokens_held_out", len(held.ids), unit="token", about="Tokens measured on."),
        count("contexts_held_out", len(held.names), unit="context", about="Contexts measured on."),
    ]


def _tables(
    lab: Lab,
    params: Params,
    trained: TrainingOutcome[Coder],
    held: HeldOutActivations,
    codes: Codes,
    geometry: Geometry,
    curve: np.ndarray,
) -> dict[str, pd.DataFrame]:
    latents = evenly_by_rate(codes, params.shown_latents)
    decode = lab.model.token_strings
    return {
        "per_latent": geometry.per_latent(codes),
        "top_contexts": top_contexts(codes, held.ids, held.context, decode, latents=latents),
        "training": trained.history,
        "geometry": geometry.table(),
        "pca": pd.DataFrame({"components": np.arange(1, len(curve) + 1), "explained_variance": curve}),
    }


FIGURES = {
    "firing": Figure(
        "ecdf",
        "per_latent",
        {"x": "firing_rate"},
        "How often latents fire",
        "Share of latents that fire on at most this fraction of the held-out tokens; 0 is dead.",
        {"x_title": "fraction of tokens", "log_x": True},
    ),
    "geometry": Figure(
        "ecdf",
        "geometry",
        {"x": "nearest_cosine", "color": "dictionary"},
        "How close decoder directions are",
        "Cosine of each live latent's decoder direction with the nearest other, and of random directions.",
        {"x_title": "cosine with the nearest other direction"},
    ),
    "training": Figure(
        "line",
        "training",
        {"x": "tokens", "y": "loss"},
        "Training",
        "Mean squared error of a token, in units in which activations have a mean squared norm of d.",
        {"log_y": True},
    ),
    "pca": Figure(
        "line",
        "pca",
        {"x": "components", "y": "explained_variance"},
        "Principal components on the same contexts",
        "Explained variance by the first principal components of the activations trained on.",
        {"y_title": "explained variance"},
    ),
}


def calibrate() -> list[Calibration]:
    """A known dictionary is found again from sums of its directions; random directions do not find it."""
    features = known_dictionary(64, 96, seed=1)
    stream = sparse_batches(features, active=3, batch_size=512, n_batches=300, seed=2)
    coder = train(stream, 64, 96, 3, lr=1e-2, n_steps=300).coder.folded()
    x = next(sparse_batches(features, active=3, batch_size=2048, n_batches=1, seed=3))
    found, chance = (
        float((recovered(rows, features) >= 0.9).double().mean())
        for rows in (coder.W_dec, known_dictionary(64, 96, seed=4))
    )
    each, mean = [(x, torch.arange(len(x)))], x.mean(dim=0)
    itself, flat = (
        reconstruction(each, f, mean, len(x)).explained_variance
        for f in (lambda rows: rows, lambda rows: mean.expand_as(rows))
    )
    about = "Share of known features with a latent at a cosine of 0.9 or more"
    return [
        Calibration("known dictionary", f"{about}.", "0.8 or more", found, 0.8, 1.0),
        Calibration(
            "known dictionary, chance", f"{about}, random directions.", "0.02 at most", chance, 0, 0.02
        ),
        known_answer("identity", "Explained variance of the activations themselves.", itself, 1, 1e-9),
        known_answer("mean", "Explained variance of their mean.", flat, 0, 1e-6),
    ]
