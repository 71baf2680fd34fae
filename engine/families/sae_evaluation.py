"""Dictionary evaluation: a sparse autoencoder that exists already, measured like one that is trained here.

1. Read the dictionary in the SAELens folder `coder`. It must be one of this model and hook site.
2. Run the model over the corpus; keep the activations at the hook site, BOS excluded. Hold contexts out;
   leave out massive activations, of more than `max_norm` times the median norm, here and everywhere below.
   The other contexts train nothing: controls are fitted to them.
3. On held-out contexts: explained variance (of all tokens together, as SAELens 6 defines it, and as the mean
   over tokens, its earlier definition), l0 (active latents a token), frac_alive (latents that fire there).
4. Splice it into the model: ce_loss_score is the share of the loss between zeros at the site (0) and the
   model's own activations (1) that it keeps; kl is KL(clean, spliced) in nats a token.
5. Geometry: for each live latent the cosine with its nearest other decoder direction, and with its encoder.
6. With `other`, a second folder of the same model and site: the best match of each live latent's decoder row
   among the live ones of the other dictionary, by signed cosine, both ways (`best_match` of this
   dictionary's latents, `other_best_match` of the other's): median, and share from 0.9 on.

It is the measuring part of polysemanticity_sae: a dictionary that was trained there, exported, and measured
here on the same text has the same numbers. Sources: Karvonen et al. 2025, SAEBench (ce_loss_score); the best
match is that of sae_stability. Unit of sampling: the held-out context, or the latent. Controls, on the same
contexts: a dictionary of random directions (`random_`) and principal components (`pca_`), each with the k of
a Top-K or, for architectures without one, with as many latents as this dictionary has active on a token of
the other contexts; for step 6 as many random directions as both have live latents (`chance_`).

Pitfalls:

- A few activations, often those of the first token, are so large that explained variance is of them alone
  (Sun et al. 2024, "Massive Activations in Large Language Models").
- A score of loss between zero ablation and the unchanged model crowds near 1, since zero ablation is very bad
  (Gao et al. 2024, section 4.1).
- Latents with close directions need not fire on the same tokens: decoder and encoder may match different
  counterparts (Paulo and Belrose 2025).
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Result
from engine.lab.activations import Activations
from engine.lab.harvest import harvested
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.dictionary_evidence import (
    Contenders,
    counts_of_tokens,
    explained_variance,
    geometry,
    shown_contexts,
    sparsity,
    splicing,
)
from engine.lab.sparse.held_out import hold_out
from engine.lab.sparse.imported_coder import imported_coder
from engine.lab.sparse.matching import (
    NEAR,
    Dictionary,
    OtherDictionary,
    chance_median,
    match,
    random_directions,
)
from engine.lab.sparse.metrics import reconstruction
from engine.lab.sparse.saelens_config import SaelensConfig
from engine.lab.sparse.synthetic import known_dictionary
from engine.spec.family_params import HarvestParams, SeedParams
from engine.spec.inputs import Inputs

inputs = Inputs(corpus=True, site=True, coder_parameters=("coder", "other"))

BATCH_TOKENS = 1024
L0_BATCHES = 16
"""Batches of contexts that are not measured on, by which the controls' k is chosen where none is said."""


class Params(HarvestParams, SeedParams):
    coder: Annotated[str, Field(min_length=1)]
    """The folder of the dictionary: cfg.json and sae_weights.safetensors, as SAELens writes them."""
    other: Annotated[str, Field(min_length=1)] | None = None
    """The folder of a second dictionary of the same hook site, whose latents are matched with the first's."""
    control_k: Annotated[int, Field(gt=0)] | None = None
    """Active latents of the controls. Left out: the folder's own k, or the dictionary's mean L0, rounded."""
    spliced_contexts: Annotated[int, Field(gt=1)] = 40
    """Held-out contexts that the reconstructions are spliced into."""
    shown_latents: Annotated[int, Field(gt=0)] = 24
    """Latents whose top contexts are listed: live ones, evenly spaced by how often they fire."""


def run(lab: Lab, params: Params) -> Result:
    """Measure a dictionary on contexts that take no part in its controls, beside these."""
    # 1. Read the dictionary, before a model's forward is paid for.
    coder, config = imported_coder(lab, params.coder, lab.hook_site)
    other = imported_coder(lab, params.other, lab.hook_site)[0] if params.other else None

    # 2. Keep the activations at the hook site; hold contexts out; leave out massive activations.
    with lab.stage(0.6, "reading the corpus") as progress:
        acts = harvested(lab, [lab.hook_site], params, progress)
    control_rows, held, massive = hold_out(lab, acts, params)
    ev = Evidence("context", held.names, groups=held.documents, group_unit="document")
    k = params.control_k or config.k or active_latents(coder, control_rows, params.seed)
    contenders = Contenders.of(coder, k, control_rows, BATCH_TOKENS, params.seed)

    # 3. Explained variance, l0 and frac_alive on held-out contexts.
    with lab.stage(0.7, f"measuring on {len(held.names):,} held-out contexts"):
        codes = held.codes(coder)
        explained_variance(ev, held, contenders)
        sparsity(ev, held, codes)

    # 4. Splice it into the model.
    with lab.stage(0.9, "splicing the reconstructions into the model"):
        splicing(ev, lab, held, contenders.by, params.spliced_contexts)

    # 5. Geometry of the live latents.
    geometry(ev, coder, codes, contenders.chance)

    # 6. Match its live latents with those of another dictionary.
    if other is not None:
        with lab.stage(1.0, "matching the latents of both dictionaries"):
            theirs = held.codes(other)
            matched(ev, live_rows(coder, codes), live_rows(other, theirs), params.seed)

    shown_contexts(ev, lab, held, codes, params.shown_latents)
    counts_of_tokens(ev, held, massive)
    described(ev, coder, config, k)
    ev.array("W_enc", coder.W_enc.numpy())
    ev.array("W_dec", coder.W_dec.numpy())
    ev.array("firing_rate", (codes.fired().numpy() / len(codes)).astype(np.float32))
    return ev.result()


def active_latents(coder: Coder, rows: Activations, seed: int) -> int:
    """How many latents are active on a token, rounded, one at least: the k that controls are given.

    Of contexts that are not measured on, so that the controls are not fitted to what they are measured by.
    """
    some = islice(rows.batches(rows.site, BATCH_TOKENS, seed), L0_BATCHES)
    active = torch.cat([coder.codes(batch).starts.diff() for batch in some])
    return max(1, round(active.double().mean().item()))


def live_rows(coder: Coder, codes: Codes) -> Dictionary:
    """Decoder rows of the latents that fire; of all where none does, which a check tells."""
    live = codes.fired() > 0
    return (coder.W_dec[live] if live.any() else coder.W_dec).numpy()


def matched(ev: Evidence, own: Dictionary, other: OtherDictionary, seed: int) -> None:
    """The best match of each latent in the other dictionary, both ways, beside random directions."""
    generator = np.random.default_rng(seed)
    d = own.shape[1]
    drawn = [random_directions(len(rows), d, generator) for rows in (own, other)]
    # The assignment one to one would say nothing more here: it is between seeds that it is a published name.
    found = match(own, other, one_to_one=False)
    chance = match(drawn[0], drawn[1], one_to_one=False)
    sides = [("", found.a_to_b, chance.a_to_b), ("other_", found.b_to_a, chance.b_to_a)]
    rows = []
    for prefix, cosines, by_chance in sides:
        whose = "the other dictionary" if prefix else "this dictionary"
        latents = ev.over(f"{prefix}latent".replace("_", " "))
        directions = ev.over(f"{prefix}random direction".replace("_", " "))
        about = "Cosine of a live latent's decoder row with its best match, median over {}."
        random = directions.control(
            f"chance_{prefix}best_match",
            by_chance,
            about.format("as many random directions"),
            statistic="median",
        )
        said = about.format(f"latents of {whose}")
        latents.finding(f"{prefix}best_match", cosines, said, statistic="median", control=random)
        about = f"Share of live latents of {whose} with a match from {NEAR} on{{}}."
        near = directions.control(
            f"chance_{prefix}fraction_090",
            by_chance >= NEAR,
            about.format(", for as many random directions"),
        )
        latents.finding(f"{prefix}fraction_090", cosines >= NEAR, about.format(""), control=near)
        for series, values in ((f"latents of {whose}", cosines), (f"random, for {whose}", by_chance)):
            rows.append(pd.DataFrame({"series": series, "best_match": values.astype(float)}))
    ev.table("best_match", pd.concat(rows, ignore_index=True)).ecdf(
        "best_match",
        "best_match: cosine with the best match in the other dictionary",
        color="series: latents",
        title="How much of each dictionary is in the other",
        caption="Share of live latents whose best match has at most this cosine, and of random directions.",
    )


def described(ev: Evidence, coder: Coder, config: SaelensConfig, k: int) -> None:
    """What the folder holds, as it says itself."""
    ev.count("n_features", coder.n_features, "Latents of the dictionary.", unit="latent")
    ev.count("control_k", k, "Active latents, or components, of the controls.", unit="latent")
    zero = int((coder.W_dec.norm(dim=1) == 0).sum())
    ev.count("zero_rows", zero, "Latents whose decoder row is zero: they add nothing.", unit="latent")
    said = {
        "architecture": config.architecture,
        "width of the activations": f"{config.d:,}",
        "latents": f"{config.n_features:,}",
        "k": str(config.k) if config.k else "none",
        "model": config.model or "not said",
        "hook site": config.hook_site or "not said",
        "made for": config.made_for or "the same",
    }
    ev.table("dictionary", pd.DataFrame({"what": list(said), "the folder says": list(said.values())}))


def calibrate() -> list[Calibration]:
    """An orthonormal basis explains all; one half of it half; its latents are found in themselves."""
    d = 64
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(0))).Q
    # Positive coordinates only, which are what a Top-K keeps.
    x = torch.rand(2048, d, generator=torch.Generator().manual_seed(1)) @ basis

    def explained(rows: torch.Tensor) -> float:
        coder = Coder(rows.T.contiguous(), torch.zeros(len(rows)), rows, torch.zeros(d), "topk", len(rows))
        context = torch.arange(len(x))
        # About 0, so that half of the coordinates hold half of the squares.
        return reconstruction([(x, context)], coder.reconstruct, torch.zeros(d), len(x)).explained_variance

    features = known_dictionary(48, 96, seed=2).numpy()
    ev = Evidence("context")
    drawn = random_directions(96, 48, np.random.default_rng(3))
    matched(ev, features, np.concatenate([features[::-1][:24], drawn[:24]]), seed=4)
    found = {name: m.value for name, m in ev.result().measurements.items()}
    half = "Of 48 latents of another dictionary, 24 are also in this one."
    theory = "The median best match of random directions, against its exact distribution."
    return [
        known_answer("basis", "Explained variance by an orthonormal basis.", explained(basis), 1, 1e-5),
        known_answer("half a basis", "By the half of it.", explained(basis[: d // 2]), 0.5, 0.02),
        known_answer("shared half", half, found["other_fraction_090"], 0.5, 1e-9),
        known_answer("random", theory, found["chance_best_match"], chance_median(48, 48), 0.03),
    ]
