"""Crosscoder: which features do several layers, or two models, share, and which has one of them alone?

1. Harvest the corpus's activations at two or more `sites`, or at one or more in this model and in a second
   one, `against`, that shares its tokenizer; hold out whole documents.
2. Train one BatchTopK crosscoder on all of these sources: a token's latents are the same in every one, and
   each latent has a decoder direction for each. Sources weigh the same, whatever their scale and width.
3. On held-out contexts: explained variance by source (about the training mean) and as the mean over tokens,
   l0 and live latents. Massive activations (`max_norm`) are neither trained nor measured on.
4. A live latent is shared where its smallest decoder norm is at least `shared_from` of its largest, exclusive
   where its second largest is at most `exclusive_below` of it. That is a convention about norms: of one whose
   directions hardly go together two latents may share a row. So it is read in a second way, too.
5. Latent scaling: an exclusive is real where its direction explains little of the other sources' errors and
   reconstructions (at most `error_ratio` and `reconstruction_ratio` of what it explains in its own). Into
   another model, whose basis is another, a ridge regression over training rows carries the direction.
6. Within one residual stream, `decoder_cosine` compares a latent's directions at the first and the last site,
   weighted by their norms; `aligned_fraction` is the share of live latents that are shared and whose two
   directions have a cosine of `aligned_from` or more.

Sources: Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing"; Minder et al.
2025, "Robustly identifying concepts introduced during chat fine-tuning using crosscoders". Units of sampling:
the held-out context; for shares of latents the latent of this one dictionary, which says nothing of another
seed (the family crosscoder_seeds does). Controls: `random_...`, a crosscoder of random directions with its
best scale; `pca_...`, as many principal components as latents are active; `shuffled_...`, one trained alike
on sources that are shuffled against each other, where no token has a feature in both; with `coder`, the
folder of an autoencoder of one source, `imported_explained_variance_N`: what it explains of that source, N.

Pitfalls:

- A latent may seem to belong to one source alone because the sparsity penalty shrank its other decoder, or
  because the feature was given to two latents (Minder et al. 2025, complete shrinkage and latent decoupling).
- A feature that two layers of one residual stream share may only have persisted: nothing need have been
  computed in between (Lindsey et al. 2024, on cross-layer features).
- Another seed gives another dictionary, so that shares of latents speak of this one (Paulo and Belrose 2025,
  for autoencoders).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from pydantic import Field, ValidationInfo, field_validator, model_validator

from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Check, Measurement, Result
from engine.families.crosscoder.evaluation import (
    ComponentSums,
    Evaluation,
    by_components,
    evaluate,
    random_crosscoder,
)
from engine.families.crosscoder.imported_source import ImportedSource, explained_by_imported, imported_source
from engine.families.crosscoder.latent_scaling import HeldOutSums, held_out
from engine.families.crosscoder.planted_sources import planted_sources
from engine.families.crosscoder.source_data import SourceData, source_data
from engine.families.crosscoder.sources import read_aligned
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.lab.sparse.crosscoder import Batch, Crosscoder, train
from engine.lab.sparse.trainer import TrainingOutcome
from engine.models.micro import micro_model
from engine.spec.family_params import HarvestParams, TrainingParams
from engine.spec.inputs import Inputs

inputs = Inputs(corpus=True, site_parameters=("sites",), second_model="against", coder_parameters=("coder",))

DEPTHS = ["blocks.25%.hook_resid_post", "blocks.75%.hook_resid_post"]
CLASSES = {
    "shared": "are shared by all sources",
    "exclusive": "are exclusive to one source by their norms",
    "real_exclusive": "are exclusive to one source by latent scaling too",
    "false_exclusive": "are exclusive by their norms and not by latent scaling",
}
ASIDE = " Sources shuffled against each other."


class Params(HarvestParams, TrainingParams):
    against: Annotated[str, Field(pattern=r"\S")] | None = None
    """A second model with the same tokenizer, as `qwen2.5-coder-1.5b-instruct`: its sites are sources too."""
    sites: Annotated[list[str], Field(min_length=1)] = DEPTHS
    """Hook sites, shallow to deep, two or more; with a second model one or more, read in both, and
    `blocks.50%.hook_resid_post` where left out. A relative depth is of each model's own."""
    shared_from: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A latent is shared from this smallest norm on, relative to its largest."""
    exclusive_below: Annotated[float, Field(ge=0, le=1)] = 0.2
    """A latent is exclusive up to this second largest norm, relative to its largest."""
    aligned_from: Annotated[float, Field(ge=-1, le=1)] = 0.7
    """A shared latent keeps its direction from this cosine on: 0.7 is where Paulo and Belrose (2025) call
    features of two dictionaries the same."""
    error_ratio: Annotated[float, Field(ge=0)] = 0.2
    """A real exclusive explains at most this share of its own source's factor in another one's error."""
    reconstruction_ratio: Annotated[float, Field(ge=0)] = 0.5
    """Likewise in another source's reconstruction. Limits but `aligned_from` are choices of this project."""
    coder: Annotated[str, Field(min_length=1)] | None = None
    """The folder of a sparse autoencoder of one of the sources, as SAELens writes it: a further control."""

    @model_validator(mode="before")
    @classmethod
    def _halfway(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Two models are compared half way up, where nothing else is said."""
        # Before validation: only what was given says whether `sites` was left out.
        return ({"sites": ["blocks.50%.hook_resid_post"]} if given.get("against") is not None else {}) | given

    @field_validator("sites")
    @classmethod
    def _several(cls, sites: list[str], info: ValidationInfo) -> list[str]:
        """One site of one model is nothing to compare."""
        if len(sites) < 2 and info.data.get("against") is None:
            raise ValueError("one site of one model: name two or more, or a second model as `against`")
        return sites


def run(lab: Lab, params: Params) -> Result:
    """Train one crosscoder and its null, and measure both on contexts that they never saw."""
    # 1. Harvest the sources; hold out whole documents.
    with lab.stage(0.3, "reading the corpus") as progress:
        aligned = read_aligned(lab, params.sites, params, against=params.against, progress=progress)
    imported = imported_source(lab, params.coder, aligned) if params.coder else None
    return study(source_data(aligned, params, params), params, lab, imported)


def study(data: SourceData, params: Params, lab: Lab, imported: ImportedSource | None = None) -> Result:
    """The crosscoder of some activations, its controls, and what they measure."""
    # 2. Train one on all sources; and one on sources whose rows are of different tokens.
    aside = data.misaligned(params.seed)
    with lab.stage(0.6, "training") as progress:
        outcome = trained_on(data, params, progress)
    # The same steps, seed and rows: only which rows go together differs.
    with lab.stage(0.9, "training on shuffled sources") as progress:
        null = trained_on(aside, params, progress)

    # 3. Explained variance by source, l0 and live latents on held-out contexts.
    with lab.stage(1.0, f"measuring on {data.n_contexts:,} held-out contexts"):
        found = evaluate(outcome.coder, data)
        shuffled = evaluate(null.coder, aside)
        sizes = data.widths, params.n_features, params.k
        # Another seed than the crosscoder's, whose starting directions it would be otherwise.
        drawn = random_crosscoder(next(data.train()), *sizes, seed=params.seed + 1)
        random = held_out(drawn, data.held(), data.n_contexts, drawn.dec)
    # Contexts of one document are alike: each number is measured for these documents and for more like them.
    ev = Evidence("context", groups=data.documents, group_unit="document" if data.documents else "")
    explained_variance(ev, found.held, random, data.sources)
    if imported is not None:
        explained_by_imported(ev, imported, data, found.coder.mean)
    explained_variance_per_token(ev, found.held, random, by_components(found.coder, data))
    sparsity(ev, found)
    ev.count("n_sources", len(data.sources), "Sources that are read and written.", unit="site")
    about = "Tokens left out of {} for a norm of more than max_norm times the median at any source."
    ev.count("massive_tokens_training", data.massive_training, about.format("training"), unit="token")
    ev.count("massive_tokens_held_out", data.massive_held_out, about.format("measuring"), unit="token")
    ev.count("tokens_held_out", int(found.held.n_rows.sum()), "Tokens measured on.", unit="token")

    # 4, 5. Which live latents are shared, exclusive, and exclusive for real; whose they are.
    latents = ev.over("latent", np.flatnonzero(found.live))
    of_shuffled = ev.over("latent", np.flatnonzero(shuffled.live))
    shares_of_classes(latents, of_shuffled, classes(found, params), classes(shuffled, params))
    # 6. Within one residual stream, how alike a latent's first and last direction are.
    if data.one_basis:
        directions(latents, of_shuffled, found, shuffled, params)
    norms(latents, of_shuffled, found, shuffled)

    per_latent(ev, found, data, classes(found, params))
    ev.table("training", training_table(outcome.history))
    ev.array("directions", found.coder.dec.numpy())  # "latent width", the sources' `widths` side by side
    ev.array("widths", np.array(data.widths))
    ev.array("firing_rate", found.firing_rate)
    return ev.result()


def trained_on(
    data: SourceData, params: Params, progress: Callable[..., None]
) -> TrainingOutcome[Crosscoder]:
    """One crosscoder; DataError where the rows are fewer than one batch."""
    if not data.n_steps:
        expected = f"{params.batch_size:,} tokens to train on, after those held out"
        raise DataError("the corpus is shorter than one batch", expected=expected, hint="more tokens")
    return train(
        data.train(),
        data.widths,
        params.n_features,
        params.k,
        n_steps=data.n_steps,
        lr=params.lr,
        seed=params.seed,
        # A tenth of the training, so that there are dead latents at all before it ends.
        dead_after_tokens=max(1, data.n_steps * params.batch_size // 10),
        progress=progress,
    )


def explained_variance(ev: Evidence, held: HeldOutSums, random: HeldOutSums, sources: list[str]) -> None:
    """Of all sources together, then of each, beside a crosscoder of random directions."""
    own: list[Measurement] = []
    chance: list[Measurement] = []
    for place, source in enumerate(["all sources", *sources], -1):
        # Place -1 is all sources together: their sums added up.
        columns = slice(None) if place < 0 else [place]
        name = "explained_variance" if place < 0 else f"explained_variance_{place}"
        about = f"Explained variance of {source} by {{}}, about the training mean."
        total = random.total[:, columns].sum(dim=1).numpy()
        left_over = random.residual[:, columns].sum(dim=1).numpy()
        said = about.format("a crosscoder of random directions")
        chance.append(ev.control(f"random_{name}", total - left_over, said, over=total))
        total = held.total[:, columns].sum(dim=1).numpy()
        left_over = held.residual[:, columns].sum(dim=1).numpy()
        said = about.format("the crosscoder")
        own.append(ev.finding(name, total - left_over, said, over=total, control=chance[-1]))
    rows = [
        {"site": source, "crosscoder": label, "explained_variance": m.value, "low": m.low, "high": m.high}
        for label, found in (("trained", own), ("random directions", chance))
        for source, m in zip(sources, found[1:], strict=True)
    ]
    ev.table("by_site", pd.DataFrame(rows)).bar(
        "explained_variance",
        "site",
        "explained_variance: explained variance",
        color="crosscoder",
        band=True,
        title="Explained variance by source",
        caption="Of all held-out tokens together, about the training mean; intervals over contexts.",
    )


def explained_variance_per_token(
    ev: Evidence, held: HeldOutSums, random: HeldOutSums, components: ComponentSums
) -> None:
    """The mean over tokens of the share explained of each, all sources together, and what PCA explains."""
    # By context and divided by tokens apart, so that contexts of unequal length are resampled rightly.
    tokens = held.n_rows.numpy()
    about = "Mean over tokens of 1 - |x - x'|^2 / |x - mean|^2, all sources together, by {}."
    name = "explained_variance_per_token"
    ev.control(f"random_{name}", random.per_token.numpy(), about.format("random directions"), over=tokens)
    said = about.format("as many principal components as latents are active")
    pca = ev.control(f"pca_{name}", components.per_token.numpy(), said, over=tokens)
    ev.finding(name, held.per_token.numpy(), about.format("the crosscoder"), over=tokens, control=pca)
    total = components.total.numpy()
    said = "Explained variance of all sources by as many principal components as latents are active."
    ev.control("pca_explained_variance", total - components.residual.numpy(), said, over=total)


def sparsity(ev: Evidence, found: Evaluation) -> None:
    """Active latents a token, and the share of latents that fire; a dead dictionary is not measured."""
    held = found.held
    ev.finding("l0", held.active.numpy(), "Active latents a token.", over=held.n_rows.numpy())
    ev.over("latent").finding("frac_alive", found.live, "Share of latents that fire when held out.")
    dead = 1 - float(found.live.mean())
    ev.check(Check("alive", dead, 1 - 0.5 / len(found.live), "Share of dead latents."))


def classes(found: Evaluation, params: Params) -> dict[str, Bool[np.ndarray, " live"]]:
    """Which live latents are shared, exclusive, and exclusive for real or falsely."""
    shared = found.relative.min(axis=1) >= params.shared_from
    # The largest is 1 by construction: whether a latent has one source is decided by the second largest.
    exclusive = np.sort(found.relative, axis=1)[:, -2] <= params.exclusive_below
    # Absolute: a direction that explains the negative of another source's error is there as well.
    real = np.abs(found.error_ratio) <= params.error_ratio
    real &= np.abs(found.reconstruction_ratio) <= params.reconstruction_ratio
    return {
        "shared": shared,
        "exclusive": exclusive,
        "real_exclusive": exclusive & real,
        "false_exclusive": exclusive & ~real,
    }


def shares_of_classes(
    latents: Evidence, of_shuffled: Evidence, found: dict[str, np.ndarray], shuffled: dict[str, np.ndarray]
) -> None:
    """The share of live latents in each class, beside that of the crosscoder of shuffled sources."""
    for name, says in CLASSES.items():
        about = f"Share of live latents that {says}."
        chance = of_shuffled.control(f"shuffled_{name}_fraction", shuffled[name], about + ASIDE)
        latents.finding(f"{name}_fraction", found[name], about, control=chance)


def directions(
    latents: Evidence, of_shuffled: Evidence, found: Evaluation, shuffled: Evaluation, params: Params
) -> None:
    """How alike a latent's directions at first and last site are: cosines, weighted by their norms."""
    about = "Cosine of a live latent's directions at first and last site, weighted by norm."
    products, lengths = shuffled.cosines()
    chance = of_shuffled.control("shuffled_decoder_cosine", products, about + ASIDE, over=lengths)
    products, lengths = found.cosines()
    latents.finding("decoder_cosine", products, about, over=lengths, control=chance)
    about = "Share of live latents that are shared by norm and whose first and last directions are alike."
    chance = of_shuffled.control("shuffled_aligned_fraction", aligned(shuffled, params), about + ASIDE)
    latents.finding("aligned_fraction", aligned(found, params), about, control=chance)


def aligned(found: Evaluation, params: Params) -> Bool[np.ndarray, " live"]:
    """Which live latents are shared by their norms and keep their direction: the stricter reading."""
    products, lengths = found.cosines()
    return classes(found, params)["shared"] & (products >= params.aligned_from * np.maximum(lengths, 1e-12))


def norms(latents: Evidence, of_shuffled: Evidence, found: Evaluation, shuffled: Evaluation) -> None:
    """Whose latents they are: the last source's share of the norms in first and last source."""
    about = "Last source's share of a live latent's norm in first and last source, mean."
    chance = of_shuffled.control("shuffled_last_share", shuffled.last_share(), about + ASIDE)
    latents.finding("last_share", found.last_share(), about, control=chance)
    labels = np.repeat(["trained", "sources shuffled"], [found.live.sum(), shuffled.live.sum()])
    shares = np.concatenate([found.last_share(), shuffled.last_share()])
    latents.table("norms", pd.DataFrame({"crosscoder": labels, "last_share": shares})).ecdf(
        "norms",
        "last_share: last source's share of the norm",
        color="crosscoder",
        title="Whose features they are",
        caption="The last source's share of each live latent's decoder norm: 0 is the first alone, 1 the "
        "last. The other crosscoder was trained on the same activations, sources shuffled against each "
        "other.",
    )


def per_latent(ev: Evidence, found: Evaluation, data: SourceData, members: dict[str, np.ndarray]) -> None:
    """A row for each live latent."""
    # `np.select` takes the first that holds; exclusives are told real from false, the rest is in between.
    kinds = [members["shared"], members["real_exclusive"], members["false_exclusive"]]
    columns = {
        "latent": np.flatnonzero(found.live),
        "firing_rate": found.firing_rate[found.live],
        "class": np.select(kinds, ["shared", "real exclusive", "false exclusive"], "in between"),
        "largest_at": np.array(data.sources)[found.norms.argmax(axis=1)],
        "last_share": found.last_share(),
        "error_ratio": found.error_ratio,
        "reconstruction_ratio": found.reconstruction_ratio,
    }
    if data.one_basis:
        products, lengths = found.cosines()
        columns["decoder_cosine"] = products / np.maximum(lengths, 1e-12)
    ev.table("per_latent", pd.DataFrame(columns)).scatter(
        "scaling",
        "error_ratio: in the error",
        "reconstruction_ratio: in the reconstruction",
        color="class",
        label="latent",
        title="Latent scaling",
        caption="How much of another source's error, and of its reconstruction, a latent's direction "
        "explains, relative to its own source. A real exclusive has both near 0.",
    )


def training_table(history: pd.DataFrame) -> pd.DataFrame:
    """The history of training; `dead` are the latents that AuxK had to revive at a step."""
    return history.drop(columns=["aux_loss", "dead"]).rename(columns={"aux_latents": "dead"})


def calibrate() -> list[Calibration]:
    """Two sources made of 12 shared and 6 exclusive features each, of one width, and of two in two bases."""
    return [*planted((24, 24), ""), *planted((24, 40), ", unequal widths")]


def planted(widths: tuple[int, int], kind: str) -> list[Calibration]:
    """A crosscoder with as many latents as there are planted features."""
    made = planted_sources(12, 6, widths=widths, rate=0.06)
    rows = made.draw(2000, 10**6)
    contexts = torch.arange(2000) // 50
    n_steps = 300

    def training() -> Iterator[Batch]:
        return (made.draw(96, seed) for seed in range(n_steps))

    data = SourceData(
        train=training,
        held=lambda: iter([(rows, contexts)]),
        n_steps=n_steps,
        n_contexts=40,
        sources=["first", "second"],
        widths=widths,
        one_basis=not kind,
    )
    params = Params(n_features=24, k=2, lr=1e-2, batch_size=96)
    found = study(data, params, Lab(micro_model())).measurements
    value = {name: m.value for name, m in found.items()}
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
