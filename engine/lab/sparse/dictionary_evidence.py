"""What a dictionary is worth on contexts that it never saw, as evidence beside its controls.

- Explained variance, active latents a token, and the share of latents that fire.
- Spliced into the model: ce_loss_score and kl.
- Geometry: how close its directions are, and each latent's encoder to its decoder direction.

The same numbers for a dictionary that a run trained and for one that was brought along. Controls, on the same
contexts: a dictionary of random directions with the same k (`random_`), and the first k principal components
of the training rows (`pca_`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from engine.evidence.builder import Evidence
from engine.evidence.result import Check
from engine.lab.activations import Activations
from engine.lab.harvest import run_with_replacement
from engine.lab.lab import Lab
from engine.lab.sparse.coder import Coder, random_coder
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.held_out import HeldOutActivations, MassiveTokens
from engine.lab.sparse.metrics import (
    PrincipalComponents,
    Reconstruct,
    encoder_decoder_cosines,
    mean_of,
    nearest_cosines,
    principal,
    reconstruction,
    splice,
)
from engine.lab.sparse.top_contexts import evenly_by_rate, top_contexts

WHOSE = {
    "": "",
    "random": ", by random directions with the same k",
    "pca": ", by as many principal components as k",
}
SPLICE_LIMIT = 1e-5
SPLICED_AT_ONCE = 4
"""Contexts: their logits over the vocabulary are the most memory that a run takes."""


@dataclass(frozen=True)
class Contenders:
    """A dictionary and its controls, each as what it makes of activations: `by` has them by WHOSE."""

    chance: Coder
    components: PrincipalComponents
    by: dict[str, Reconstruct]

    @classmethod
    def of(cls, coder: Coder, k: int, training_rows: Activations, batch_size: int, seed: int) -> Contenders:
        """The controls keep `k` latents, or components, of each token."""
        # Fitted to the rows that the dictionary was trained on, and like it measured on contexts that it
        # never saw.
        components = principal(training_rows.batches(training_rows.site, batch_size, seed))
        # Centred by the mean of the training rows, so that it is not judged by the offset that all rows
        # share.
        chance = random_coder(coder.d, coder.n_features, k, seed=seed, mean=components.mean)
        by: dict[str, Reconstruct] = {
            "random": chance.reconstruct,
            "pca": components.reconstruct(k),
            "": coder.reconstruct,
        }
        return cls(chance, components, by)


def beside_controls(
    ev: Evidence, name: str, values: dict[str, tuple], about: str, quantity: str = ""
) -> None:
    """A number of both controls and of the dictionary, which is read against random directions.

    `values` are samples and, for a ratio, what they are divided by; `about` has a place for whose they are.
    """
    drawn, divisor = values["random"]
    said = about.format(WHOSE["random"])
    chance = ev.control(f"random_{name}", drawn, said, quantity, over=divisor)
    by_components, divisor = values["pca"]
    ev.control(f"pca_{name}", by_components, about.format(WHOSE["pca"]), quantity, over=divisor)
    own, divisor = values[""]
    ev.finding(name, own, about.format(WHOSE[""]), quantity, over=divisor, control=chance)


def explained_variance(ev: Evidence, held: HeldOutActivations, contenders: Contenders) -> None:
    """Both explained variances about the held-out mean, and how many principal components do as well."""
    mean = mean_of(held.batches())
    sums = {who: reconstruction(held.batches(), f, mean, len(held.names)) for who, f in contenders.by.items()}
    about = "1 - |x - x'|^2 / |x - mean|^2 {}{{}}."
    # A ratio of sums: samples and divisors go apart, so that intervals resample contexts of unequal length
    # rightly.
    together = {who: (s.total - s.residual, s.total) for who, s in sums.items()}
    beside_controls(ev, "explained_variance", together, about.format("of all tokens together"))
    each = {who: (s.per_token, s.tokens) for who, s in sums.items()}
    said = about.format("of each token, averaged over tokens")
    beside_controls(ev, "explained_variance_per_token", each, said)

    curve = contenders.components.curve(held.batches(), float(sums[""].total.sum()))
    # On other rows than they were fitted to, a further component may explain less: the running maximum rises.
    rank = int(np.searchsorted(np.maximum.accumulate(curve), sums[""].explained_variance)) + 1
    about = "Principal components that it takes to explain as much variance."
    ev.count("pca_rank_of_equal_variance", min(rank, len(curve)), about, unit="component")
    table = pd.DataFrame({"components": np.arange(1, len(curve) + 1), "explained_variance": curve})
    ev.table("pca", table).line(
        "pca",
        "components",
        "explained_variance: explained variance",
        title="Principal components on the same contexts",
        caption="Explained variance by the first principal components of the activations trained on.",
    )


def sparsity(ev: Evidence, held: HeldOutActivations, codes: Codes) -> None:
    """Active latents a token, and the share of latents that ever fire."""
    n_contexts = len(held.names)
    tokens = np.bincount(held.context, minlength=n_contexts)
    active = np.bincount(held.context, weights=codes.starts.diff().numpy(), minlength=n_contexts)
    ev.finding("l0", active, "Active latents a token.", over=tokens)
    fires = codes.fired().numpy() > 0
    ev.over("latent").finding("frac_alive", fires, "Share of latents that fire on held-out tokens.")
    # A dictionary of which no latent fires is not measured, whatever its numbers say.
    dead = float((codes.fired() == 0).double().mean())
    about = "Share of latents dead on the held-out tokens; where all are, there is no dictionary to speak of."
    ev.check(Check("alive", dead, 1 - 0.5 / codes.n_latents, about))


def splicing(
    ev: Evidence, lab: Lab, held: HeldOutActivations, by: dict[str, Reconstruct], limit: int
) -> None:
    """ce_loss_score and kl with the activations replaced by each reconstruction, over whole contexts."""
    ids, names = held.texts(limit)
    first = held.first_position

    def forward(batch: torch.Tensor, reconstruct: Reconstruct) -> torch.Tensor:
        # Massive activations stay, here and in the loss with zeros that the score is read against.
        spared = held.sparing(reconstruct)
        return run_with_replacement(lab.model, batch, held.site, spared, first_position=first)

    batches = ids.to(lab.model.device).split(SPLICED_AT_ONCE)
    losses = splice(batches, lab.model.logits, forward, by, first_position=first)
    document = dict(zip(held.names, held.documents, strict=True))
    spliced = replace(ev, ids=names, groups=[document[name] for name in names])
    about = "Share kept of the loss between zeros at the site and the model's own activations{}."
    # The ratio of means over contexts, since a context's own denominator may be near 0.
    score = {who: (losses.zero - losses.ce[who], losses.zero - losses.clean) for who in by}
    beside_controls(spliced, "ce_loss_score", score, about)
    divergence = {who: (losses.kl[who], None) for who in by}
    beside_controls(spliced, "kl", divergence, "KL(clean, spliced), mean over tokens{}.", "nats")
    about = "Largest logit change when the activations are replaced by themselves, of the largest logit."
    ev.check(Check("identity_splice", losses.identity_error, SPLICE_LIMIT, about))


def geometry(ev: Evidence, coder: Coder, codes: Codes, chance: Coder) -> None:
    """Cosines of decoder directions with the nearest other one and with the encoder, beside chance."""
    nearest = nearest_cosines(coder.W_dec).numpy()
    encoder = encoder_decoder_cosines(coder.W_enc, coder.W_dec).numpy()
    random = nearest_cosines(chance.W_dec).numpy()
    fired = codes.fired().numpy()
    live = fired > 0
    counted = live if live.any() else ~live  # where none is live, a check says so

    about = "Cosine of a decoder direction with the nearest other one; median over {}."
    said = about.format("as many random directions")
    near = ev.over("latent").control("random_nearest_cosine", random, said, statistic="median")
    latents = ev.over("latent", np.flatnonzero(counted))
    said = about.format("live latents")
    latents.finding("nearest_cosine", nearest[counted], said, statistic="median", control=near)
    about = "Cosine of a latent's encoder with its decoder direction; median over live latents."
    latents.finding("encoder_cosine", encoder[counted], about, statistic="median")

    largest = np.zeros(codes.n_latents)
    # `maximum.at` and not indexing: a latent has many entries, and plain assignment would keep the last.
    np.maximum.at(largest, codes.latents.numpy(), codes.values.numpy())
    per_latent = {
        "latent": np.arange(codes.n_latents),
        "firing_rate": fired / len(codes),
        "largest": largest,
        "nearest_cosine": nearest,
        "encoder_cosine": encoder,
    }
    ev.table("per_latent", pd.DataFrame(per_latent)).ecdf(
        "firing",
        "firing_rate: fraction of tokens",
        title="How often latents fire",
        caption="Share of latents that fire on at most this fraction of the held-out tokens; 0 is dead.",
        log_x=True,
    )
    whose = np.repeat(["trained", "random directions"], [int(live.sum()), len(random)])
    cosines = np.concatenate([nearest[live], random])
    ev.table("geometry", pd.DataFrame({"dictionary": whose, "nearest_cosine": cosines})).ecdf(
        "geometry",
        "nearest_cosine: cosine with the nearest other direction",
        color="dictionary",
        title="How close decoder directions are",
        caption="Cosine of each live latent's decoder direction with the nearest other, and of random "
        "directions.",
    )


def shown_contexts(ev: Evidence, lab: Lab, held: HeldOutActivations, codes: Codes, n_latents: int) -> None:
    """A table of the contexts in which some latents, evenly spaced by how often they fire, are strongest."""
    listed = evenly_by_rate(codes, n_latents)
    decode = lab.model.token_strings
    contexts = top_contexts(codes, held.ids, held.context, decode, latents=listed)
    ev.table("top_contexts", contexts)


def counts_of_tokens(ev: Evidence, held: HeldOutActivations, massive: MassiveTokens) -> None:
    """How many tokens and contexts were measured on, and how many tokens were left out for their norm."""
    ev.count("tokens_held_out", len(held.ids), "Tokens measured on.", unit="token")
    about = "Tokens left out of {} for a norm of more than max_norm times the median."
    ev.count("massive_tokens_training", massive.training, about.format("training"), unit="token")
    ev.count("massive_tokens_held_out", massive.held_out, about.format("what is measured on"), unit="token")
    ev.count("contexts_held_out", len(held.names), "Contexts measured on.")
