"""What was measured of a coder, as measurements: each over its own unit of sampling, beside its control.

`who` is "" for the coder itself, or the name of a control, which then leads the measurement's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from engine.evidence.bootstrap import measure, rate
from engine.evidence.result import Check, Measurement
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.held_out import HeldOutActivations
from engine.lab.sparse.metrics import (
    ReconstructionSums,
    SpliceLosses,
    encoder_decoder_cosines,
    nearest_cosines,
)

WHOSE = {
    "": "",
    "random": ", by random directions with the same k",
    "pca": ", by as many principal components as k",
}
NEAREST = "Cosine of a decoder direction with the nearest other one; median over"


def reconstruction_evidence(sums: ReconstructionSums, names: list[str], who: str = "") -> list[Measurement]:
    """Both explained variances, resampled by context."""
    both = {
        "explained_variance": (sums.total - sums.residual, sums.total, "of all tokens together"),
        "explained_variance_per_token": (sums.per_token, sums.tokens, "of each token, averaged over tokens"),
    }
    return [
        rate(
            _named(name, who),
            numerator,
            denominator,
            unit="context",
            ids=names,
            about=f"1 - |x - x'|^2 / |x - mean|^2 {how}{WHOSE[who]}.",
            **_told(name, who),
        )
        for name, (numerator, denominator, how) in both.items()
    ]


def splice_evidence(spliced: SpliceLosses, names: list[str], who: str = "") -> list[Measurement]:
    """ce_loss_score and kl, resampled by context."""
    about = f"Share kept of the loss between zeros at the site and the model's own activations{WHOSE[who]}."
    kl = f"KL(clean, spliced), mean over tokens{WHOSE[who]}."
    kept, whole = spliced.zero - spliced.ce[who], spliced.zero - spliced.clean
    told: dict[str, Any] = {"unit": "context", "ids": names}
    return [
        rate(_named("ce_loss_score", who), kept, whole, about=about, **told, **_told("ce_loss_score", who)),
        measure(_named("kl", who), spliced.kl[who], quantity="nats", about=kl, **told, **_told("kl", who)),
    ]


def _named(name: str, who: str) -> str:
    return f"{who}_{name}" if who else name


def _told(name: str, who: str) -> dict[str, Any]:
    """What a finding is read against; a control is read against nothing."""
    return {} if who else {"control": f"random_{name}"}


def sparsity_evidence(codes: Codes, held: HeldOutActivations) -> list[Measurement]:
    """Active latents a token, resampled by context, and the share of latents that ever fire."""
    n = len(held.names)
    tokens = np.bincount(held.context, minlength=n)
    active = np.bincount(held.context, weights=codes.starts.diff().numpy(), minlength=n)
    fires = codes.fired().numpy() > 0
    return [
        rate("l0", active, tokens, unit="context", ids=held.names, about="Active latents a token."),
        measure("frac_alive", fires, unit="latent", about="Share of latents that fire on held-out tokens."),
    ]


def alive(codes: Codes) -> Check:
    """A dictionary of which no latent fires is not measured, whatever its numbers say."""
    dead = float((codes.fired() == 0).double().mean())
    about = "Share of latents dead on the held-out tokens; where all are, there is no dictionary to speak of."
    return Check("alive", dead, 1 - 0.5 / codes.n_latents, about)


@dataclass(frozen=True)
class Geometry:
    """Cosines of decoder directions: with the nearest other one, with the encoder, and by chance."""

    nearest: Float[np.ndarray, " latent"]
    encoder: Float[np.ndarray, " latent"]
    random: Float[np.ndarray, " latent"]
    live: Bool[np.ndarray, " latent"]

    @classmethod
    def of(cls, coder: Coder, codes: Codes, chance: Coder) -> Geometry:
        return cls(
            nearest_cosines(coder.W_dec).numpy(),
            encoder_decoder_cosines(coder.W_enc, coder.W_dec).numpy(),
            nearest_cosines(chance.W_dec).numpy(),
            codes.fired().numpy() > 0,
        )

    def findings(self) -> list[Measurement]:
        """Medians over live latents; over all of them where none is live, which a check says."""
        live = self.live if self.live.any() else np.ones_like(self.live)
        told: dict[str, Any] = {"unit": "latent", "ids": np.flatnonzero(live)}
        about = "Cosine of a latent's encoder with its decoder direction; median over live latents."
        control = "random_nearest_cosine"
        return [
            measure(
                "nearest_cosine",
                self.nearest[live],
                "median",
                about=f"{NEAREST} live latents.",
                control=control,
                **told,
            ),
            measure("encoder_cosine", self.encoder[live], "median", about=about, **told),
        ]

    def control(self) -> Measurement:
        """The nearest cosine among as many random directions."""
        about = f"{NEAREST} as many random directions."
        return measure("random_nearest_cosine", self.random, "median", unit="latent", about=about)

    def per_latent(self, codes: Codes) -> pd.DataFrame:
        """One row for each latent: how often and how strongly it fires, and its cosines."""
        largest = np.zeros(codes.n_latents)
        np.maximum.at(largest, codes.latents.numpy(), codes.values.numpy())
        return pd.DataFrame(
            {
                "latent": np.arange(codes.n_latents),
                "firing_rate": codes.fired().numpy() / len(codes),
                "largest": largest,
                "nearest_cosine": self.nearest,
                "encoder_cosine": self.encoder,
            }
        )

    def table(self) -> pd.DataFrame:
        """Nearest cosines of live latents and of random directions, one below the other."""
        whose = np.repeat(["trained", "random directions"], [int(self.live.sum()), len(self.random)])
        cosines = np.concatenate([self.nearest[self.live], self.random])
        return pd.DataFrame({"dictionary": whose, "nearest_cosine": cosines})
