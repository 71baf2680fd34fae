"""Sparse probing: in how many coordinates can a concept be read, and do SAE latents read it better?

1. Run the model over labelled texts of two labels; each text gets one vector at `site`: that of its last
   token, or the mean or maximum over its tokens (`pooling`). With a dictionary of that site (`uses: {sae:
   ...}`, or `coder`) it gets its codes as well, made token by token.
2. Divide the clusters (topics) of the texts in two halves: one trains, the other is held out. Coordinates,
   weights and penalties are chosen on the first; every number below is measured on the second.
3. Fit the dense probe to all coordinates: logistic regression, its penalty chosen by cross-validation across
   training clusters, and the difference of the two kinds' means.
4. Rank the coordinates one by one; fit a logistic regression to the best k, for k = 1, 2, 4, ... `max_k`.
   A residual stream's coordinates are those of its basis, at `mlp.hook_post` they are the MLP's neurons.
5. Do steps 3 and 4 with the latents of the dictionary in place of coordinates.
6. Measure the area under the ROC curve (AUC: the chance that a text of the one label scores higher than a
   text of the other; 0.5 says nothing), and how much more one probe has than another, text by text.

Sources: Gurnee et al. 2023, "Finding Neurons in a Haystack" (probes of k neurons); Kantamneni et al. 2025,
"Are Sparse Autoencoders Useful? A Case Study in Sparse Probing" (latents against a dense probe). Unit of
sampling: the text, in clusters by topic; the AUC's interval is that of DeLong et al. 1988, over texts and
over clusters. That a probe reads a concept does not say that the model uses it. Controls: k coordinates at
random (`random_`) and training labels permuted within clusters (`shuffled_`), means of `control_draws` draws.

Pitfalls:

- A probe may learn the task itself in place of reading it; labels at random show how much (Hewitt and Liang
  2019, "Designing and Interpreting Probes with Control Tasks").
- That a concept can be read does not say that the model uses it (Belinkov 2022, "Probing Classifiers").
- A probe for truth may follow whatever goes together with truth in its training topics, and fail on others
  (Levinstein and Herrmann 2023, "Still No Lie Detector for Language Models").
- Latents look better than they are beside a weak baseline (Kantamneni et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from pydantic import Field

from engine.data.labelled import LabelledTexts
from engine.data.prompts import PromptSet
from engine.errors import DataError, SpecError, nearest
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.lab.directions import auc_samples
from engine.lab.lab import Lab
from engine.lab.probes import (
    Probe,
    Vectors,
    coordinate_aucs,
    logistic_probe,
    mean_difference_probe,
    one_thread,
    ranked_coordinates,
    shuffled_labels,
)
from engine.lab.profiles import known_answer
from engine.lab.site_vectors import readable_site
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.imported_coder import imported_coder
from engine.lab.sparse.run_arrays import coder_of
from engine.lab.split import selection_half, split_in_words
from engine.lab.text_vectors import text_vectors
from engine.models.micro import micro_from_weights, micro_model, random_weights
from engine.spec.family_params import PoolingName, SeedParams, SelectionName
from engine.spec.inputs import LABELLED, Inputs, Uses
from engine.spec.sites import MLP_POST, split_site

inputs = Inputs(
    prompts=LABELLED,
    site_parameters=("site",),
    uses={"sae": Uses("polysemanticity_sae", optional=True)},
    coder_parameters=("coder",),
)

SHOWN_COORDINATES = 8


class Params(SeedParams):
    site: Annotated[str, Field(min_length=1)]
    """The hook site that is probed: a residual stream, `blocks.50%.mlp.hook_post` for an MLP's neurons."""
    coder: Annotated[str, Field(min_length=1)] | None = None
    """The folder of a SAELens dictionary of that site, in place of one that was trained here."""
    pooling: PoolingName = "last"
    """Which vector stands for a text: that of its last token, or the mean or maximum over its tokens."""
    positive: str | None = None
    """The label that probes score highly; the last one of the alphabet when left out."""
    select_by: SelectionName = "mean_difference"
    """What coordinates are ranked by: the difference of means over the spread within a label, or own AUC."""
    dense: Literal["logistic", "mean_difference"] = "logistic"
    """The dense probe that others are compared with; the difference of means is measured in any case."""
    max_k: Annotated[int, Field(ge=1, le=1024)] = 64
    """The most coordinates that a sparse probe has; the numbers of them are the powers of two up to it."""
    control_draws: Annotated[int, Field(ge=1)] = 5
    """Draws of random coordinates, and of shuffled labels, that the controls are averaged over."""


@dataclass(frozen=True)
class ProbedTexts:
    """What every probe is fitted to and measured on: labels and clusters, and which texts train."""

    positive: Bool[np.ndarray, " text"]
    clusters: np.ndarray
    trains: Bool[np.ndarray, " text"]

    @property
    def held_out(self) -> Bool[np.ndarray, " text"]:
        return ~self.trains

    def logistic(
        self, vectors: Vectors, coordinates: np.ndarray | None = None, labels: np.ndarray | None = None
    ) -> Probe:
        """A logistic regression on the training texts; on other `labels` of theirs where these are given."""
        positive = self.positive[self.trains] if labels is None else labels
        return logistic_probe(vectors[self.trains], positive, self.clusters[self.trains], coordinates)

    def areas(self, vectors: Vectors, probe: Probe) -> Float[np.ndarray, " held_out"]:
        """A value for each held-out text whose mean is the probe's AUC on them."""
        return auc_samples(probe.scores(vectors[self.held_out]), self.positive[self.held_out])


@dataclass(frozen=True)
class SparseProbes:
    """Of one basis, by k: the values behind the AUC of the best k coordinates and of the controls.

    `dense` is logistic regression on all of them, `shuffled_dense` the same on labels that say nothing;
    `order` has the coordinates as they were ranked.
    """

    best: dict[int, np.ndarray]
    random: dict[int, np.ndarray]
    shuffled: dict[int, np.ndarray]
    dense: np.ndarray
    shuffled_dense: np.ndarray
    dense_probe: Probe
    order: np.ndarray


def run(lab: Lab, params: Params) -> Result:
    """The AUC of dense and sparse probes on held-out clusters, of coordinates and of latents."""
    # 1. One vector for each text, and its codes.
    site = readable_site(lab.model, params.site)
    coder = dictionary_of(lab, params, site)
    texts = lab.labelled()
    positive = positive_texts(texts, params.positive)
    with lab.stage(0.4, f"reading {len(texts)} texts"):
        encode = coder.encode if coder else None
        vectors, codes = text_vectors(lab.model, texts.tokens, texts.last, site, params.pooling, encode)

    # 2. Two halves of the clusters: one trains, the other is held out.
    column = texts.cluster_column
    probed = ProbedTexts(positive, texts.clusters, selection_half(texts.ids, texts.clusters))
    ev = Evidence("text", texts.ids, groups=texts.clusters if column else None, group_unit=column)
    words = split_in_words(texts.clusters, probed.trains, column)
    measuring = ev.where(probed.held_out, chosen_on=words).of(np.flatnonzero(probed.held_out))
    counts(ev, texts, probed, vectors)

    with one_thread():
        # 3, 4. Dense and sparse probes of the site's own coordinates.
        with lab.stage(0.7 if codes is not None else 1.0, "probing coordinates") as progress:
            found = sparse_probes(probed, vectors, params, progress)
        differences = mean_difference_probe(vectors[probed.trains], positive[probed.trains])
        # 5. The same of the dictionary's latents.
        latents = None
        if codes is not None:
            with lab.stage(1.0, "probing latents") as progress:
                latents = sparse_probes(probed, codes, params, progress)

    # 6. AUC of each, and how much more one has than another.
    dense_probe = found.dense_probe if params.dense == "logistic" else differences
    dense = probed.areas(vectors, dense_probe)
    of_dense(measuring, found, dense, probed.areas(vectors, differences))
    of_k(measuring, found, "")
    for k, best in found.best.items():
        gain(measuring, f"dense_over_k{k}", dense - best, f"The dense probe's, less that of the best {k}")
    if latents is not None and codes is not None:
        of_latents(measuring, latents, found, dense)
        ev.count("latents", codes.shape[1], "Latents of the dictionary.", unit="latent")

    bases = {basis_of(params.site): found} | ({"SAE latents": latents} if latents else {})
    by_k(measuring, bases, dense)
    chosen(ev, probed, {basis_of(params.site): (found, vectors), "SAE latents": (latents, codes)})
    scores(ev, texts, probed, dense_probe, vectors)
    return ev.result()


def dictionary_of(lab: Lab, params: Params, site: str) -> Coder | None:
    """The SAE of the run used, or of the folder named; None without either. SpecError for one of another
    site."""
    if "sae" not in lab.uses:
        return imported_coder(lab, params.coder, site)[0] if params.coder else None
    if params.coder:
        raise SpecError(
            "two dictionaries are given", expected="uses: {sae: ...} or coder: PATH", seen="both of them"
        )
    (used,) = lab.used_runs("sae").values()
    trained_at = used.experiment.get("hook_site", site)
    if trained_at != site:
        raise SpecError(
            "the SAE was trained at another hook site than the one that is probed",
            expected=f"site: {trained_at}",
            seen=site,
        )
    return coder_of(used.result.arrays, "the run used as sae")


def positive_texts(texts: LabelledTexts, name: str | None) -> Bool[np.ndarray, " text"]:
    """True where a text has the label that probes score highly; DataError unless there are two labels."""
    if len(texts.labels) != 2:
        raise DataError(
            f"a probe tells two labels apart, and these texts have {len(texts.labels)}",
            expected="two labels",
            seen=", ".join(texts.labels),
            hint="a prompt set with the rows of two labels, or one label renamed to `other`",
        )
    name = texts.labels[-1] if name is None else name
    if name not in texts.labels:
        raise DataError(
            f"no text has the label {name!r}",
            expected=" or ".join(texts.labels),
            seen=f"positive: {name}",
            near=nearest(name, texts.labels),
        )
    return texts.label.cpu().numpy() == texts.labels.index(name)


def sparse_probes(
    probed: ProbedTexts, vectors: Vectors, params: Params, progress: Callable[..., None]
) -> SparseProbes:
    """Dense and best-k probes of one basis, and what they give at random."""
    generator = np.random.default_rng(params.seed)
    d = vectors.shape[1]
    sizes = [1 << power for power in range(params.max_k.bit_length()) if 1 << power <= d]
    training = vectors[probed.trains]
    labels = probed.positive[probed.trains]

    def at(order: np.ndarray, k: int, shuffled: np.ndarray | None = None) -> np.ndarray:
        return probed.areas(vectors, probed.logistic(vectors, order[:k], shuffled))

    order = ranked_coordinates(training, labels, params.select_by)
    dense_probe = probed.logistic(vectors)
    best = {k: at(order, k) for k in sizes}
    random: dict[int, list[np.ndarray]] = {k: [] for k in sizes}
    by_chance: dict[int, list[np.ndarray]] = {k: [] for k in sizes}
    dense_by_chance = []
    for draw in range(params.control_draws):
        progress((draw + 1) / (params.control_draws + 1))
        drawn = generator.permutation(d)
        # Ranked anew by the shuffled labels: the choice of coordinates is a part of what may find chance.
        shuffled = shuffled_labels(labels, probed.clusters[probed.trains], generator)
        reordered = ranked_coordinates(training, shuffled, params.select_by)
        dense_by_chance.append(probed.areas(vectors, probed.logistic(vectors, None, shuffled)))
        for k in sizes:
            random[k].append(at(drawn, k))
            by_chance[k].append(at(reordered, k, shuffled))
    return SparseProbes(
        best,
        {k: np.mean(areas, axis=0) for k, areas in random.items()},
        {k: np.mean(areas, axis=0) for k, areas in by_chance.items()},
        probed.areas(vectors, dense_probe),
        np.mean(dense_by_chance, axis=0),
        dense_probe,
        order,
    )


def counts(ev: Evidence, texts: LabelledTexts, probed: ProbedTexts, vectors: Vectors) -> None:
    """How many texts there are on either side, and how many coordinates."""
    ev.count("texts_used", len(texts), "Labelled texts that the model read.")
    ev.count("texts_dropped", len(texts.dropped), "Texts that are longer than the model reads.")
    ev.count("texts_training", int(probed.trains.sum()), "Texts that coordinates and weights were chosen on.")
    ev.count("texts_held_out", int(probed.held_out.sum()), "Texts that every AUC is measured on.")
    unit = texts.cluster_column or "text"
    for part, rows in (("training", probed.trains), ("held_out", probed.held_out)):
        about = f"Clusters ({unit}) of the texts that {'train' if part == 'training' else 'are held out'}."
        ev.count(f"clusters_{part}", len(set(probed.clusters[rows].tolist())), about, unit=unit)
    ev.count("coordinates", vectors.shape[1], "Coordinates at the site.", unit="coordinate")


def of_dense(ev: Evidence, found: SparseProbes, dense: np.ndarray, differences: np.ndarray) -> None:
    """The probes of all coordinates."""
    about = "AUC of logistic regression on all coordinates, trained on shuffled labels."
    chance = ev.control("shuffled_dense_auc", found.shuffled_dense, about, bounds=(0, 1))
    about = "AUC of the dense probe (`dense`), which reads all coordinates."
    ev.finding("dense_auc", dense, about, bounds=(0, 1), control=chance)
    about = "AUC of the difference of the two kinds' means."
    ev.finding("mean_difference_auc", differences, about, bounds=(0, 1), control=chance)


def of_k(ev: Evidence, found: SparseProbes, what: str) -> dict[int, Measurement]:
    """The probes of the best k coordinates, or latents, beside those of as many at random."""
    noun = "latents" if what else "coordinates"
    drawn = {}
    for k, best in found.best.items():
        about = f"AUC of logistic regression on {k} {noun} at random."
        drawn[k] = ev.control(f"random_{what}k{k}_auc", found.random[k], about, bounds=(0, 1))
        about = f"AUC on the best {k} {noun} of training labels that were shuffled within clusters."
        ev.control(f"shuffled_{what}k{k}_auc", found.shuffled[k], about, bounds=(0, 1))
        about = f"AUC of logistic regression on the best {k} {noun}."
        ev.finding(f"{what}k{k}_auc", best, about, bounds=(0, 1), control=drawn[k])
    return drawn


def of_latents(ev: Evidence, latents: SparseProbes, found: SparseProbes, dense: np.ndarray) -> None:
    """The probes of latents, and how much more they have than those of the site's own coordinates."""
    about = "AUC of logistic regression on all latents, trained on shuffled labels."
    chance = ev.control("shuffled_latent_dense_auc", latents.shuffled_dense, about, bounds=(0, 1))
    about = "AUC of logistic regression on all latents."
    ev.finding("latent_dense_auc", latents.dense, about, bounds=(0, 1), control=chance)
    of_k(ev, latents, "latent_")
    gain(ev, "latents_over_dense", latents.dense - dense, "All latents', less that of the dense probe")
    for k, best in latents.best.items():
        about = f"The best {k} latents', less that of the dense probe"
        gain(ev, f"latent_k{k}_over_dense", best - dense, about)
        if k in found.best:
            about = f"The best {k} latents', less that of the best {k} coordinates"
            gain(ev, f"latent_k{k}_over_coordinates", best - found.best[k], about)


def gain(ev: Evidence, name: str, areas: np.ndarray, about: str) -> None:
    """How much more AUC one probe has than another on the same texts."""
    ev.finding(name, areas, f"AUC: {about[0].lower()}{about[1:]}, on the same texts.", bounds=(-1, 1))


def basis_of(site: str) -> str:
    """What the coordinates of a site are called."""
    kind = split_site(site)[1]
    if kind == MLP_POST:
        return "MLP neurons"
    return "residual coordinates" if kind.short.startswith("resid") else f"coordinates of {kind.short}"


def by_k(ev: Evidence, bases: dict[str, SparseProbes], dense: np.ndarray) -> None:
    """AUC by k in each basis, beside the dense probe and what chance gives."""
    rows = []
    for basis, found in bases.items():
        series = {
            "best k": found.best,
            "random k": found.random,
            "best k, shuffled labels": found.shuffled,
            # The same at every k, so that lines can be compared with it anywhere.
            "dense probe": dict.fromkeys(found.best, dense),
        }
        for name, by_size in series.items():
            for k, areas in by_size.items():
                m = ev.measured(name, areas, bounds=(0, 1))
                rows.append((basis, name, k, m.value, m.low, m.high))
    table = pd.DataFrame(rows, columns=["basis", "probe", "k", "auc", "low", "high"])
    ev.table("auc_by_k", table.astype({"low": float, "high": float})).line(
        "auc_by_k",
        "k: coordinates of the probe",
        "auc: AUC on held-out clusters",
        color="probe",
        facet="basis",
        band=True,
        title="How many coordinates a concept is read from",
        caption="AUC on held-out clusters of the best k coordinates, of k at random, of the best k by labels "
        "that say nothing, and of the dense probe of all coordinates; bands are 95 % intervals.",
        log_x=True,
        rule=0.5,
    )


def chosen(
    ev: Evidence,
    probed: ProbedTexts,
    bases: dict[str, tuple[SparseProbes | None, Vectors | None]],
) -> None:
    """The coordinates that were ranked first, each with its own AUC on either side."""
    rows = []
    for basis, (found, vectors) in bases.items():
        if found is None or vectors is None:
            continue
        first = found.order[:SHOWN_COORDINATES]
        sides = [
            coordinate_aucs(vectors[r][:, first], probed.positive[r])
            for r in (probed.trains, probed.held_out)
        ]
        for place, (coordinate, trained, held_out) in enumerate(zip(first, *sides, strict=True), 1):
            rows.append((basis, place, int(coordinate), float(trained), float(held_out)))
    columns = ["basis", "rank", "coordinate", "auc_training", "auc_held_out"]
    ev.table("chosen", pd.DataFrame(rows, columns=columns))


def scores(
    ev: Evidence, texts: LabelledTexts, probed: ProbedTexts, dense_probe: Probe, vectors: Vectors
) -> None:
    """What the dense probe says of each held-out text."""
    kept = texts.table[["id", "label"]].assign(cluster=texts.clusters, score=dense_probe.scores(vectors))
    ev.table("scores", kept.loc[probed.held_out].reset_index(drop=True)).strip(
        "scores",
        "label",
        "score: score of the dense probe",
        title="What the dense probe says of texts of held-out clusters",
        caption="A point for each text, the median as a bar; above 0 the probe says the positive label.",
    )


def planted_lab(concept: Literal["neuron", "spread"], *, n_texts: int = 240, d: int = 64) -> Lab:
    """Texts of one word each, whose embedding holds their label: in coordinate 5 alone, or a bit in each.

    Everything else in an embedding is noise. The words come in twelve clusters, half of each of either label.
    """
    generator = torch.Generator().manual_seed(0)
    words = [f"w{i}" for i in range(n_texts)]
    model = micro_model(n_layers=1, d_model=d, vocab_words=words)
    sign = torch.tensor([1.0, -1.0]).repeat(n_texts // 2)
    embedding = torch.randn(n_texts, d, generator=generator)
    if concept == "neuron":
        embedding[:, 5] = sign * embedding[:, 5].abs()
    else:
        # Each coordinate differs by 0.7 of its spread: d' of all together is 0.7 sqrt(d).
        embedding += 0.35 * sign[:, None]
    weights = random_weights(model.anatomy, seed=0)
    table = weights["model.embed_tokens.weight"].clone()
    table[[model.text.token_to_id(word) for word in words]] = embedding
    weights |= {"model.embed_tokens.weight": table}
    rows = pd.DataFrame(
        {
            "id": words,
            "text": words,
            "label": ["yes" if s > 0 else "no" for s in sign.tolist()],
            "topic": [f"topic{i // 2 % 12}" for i in range(n_texts)],
        }
    )
    prompts = PromptSet(concept, rows, concept, "built in code", cluster_column="topic", kind=LABELLED)
    planted = micro_from_weights(weights, model.anatomy, model.text, name=f"planted-{concept}")
    return Lab(planted, prompts)


def calibrate() -> list[Calibration]:
    """A concept of one neuron is found at k = 1; one that is spread over all, by the dense probe alone."""
    params = Params(site="blocks.0.hook_resid_pre", max_k=16, control_draws=2)
    results = {concept: run(planted_lab(concept), params) for concept in ("neuron", "spread")}
    neuron, spread = ({n: m.value for n, m in r.measurements.items()} for r in results.values())
    first = int(results["neuron"].tables["chosen"]["coordinate"].iloc[0])
    about = "Of a concept that all coordinates hold a bit of"
    least = "0.9 or more"
    return [
        known_answer("planted neuron", "The coordinate that is ranked first.", first, 5),
        known_answer("planted neuron, k = 1", "Its AUC on held-out clusters.", neuron["k1_auc"], 1, 1e-9),
        known_answer("random coordinate", "AUC of one at random.", neuron["random_k1_auc"], 0.5, 0.1),
        known_answer("shuffled labels", "Of all coordinates.", neuron["shuffled_dense_auc"], 0.5, 0.15),
        Calibration("spread, dense", f"{about}: the dense probe.", least, spread["dense_auc"], 0.9, 1.0),
        Calibration("spread, k = 1", f"{about}: one.", "0.8 at most", spread["k1_auc"], 0.5, 0.8),
    ]
