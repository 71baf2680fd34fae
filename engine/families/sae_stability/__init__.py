"""Seed stability: do SAEs that differ in the random seed alone learn the same features?

1. Take the runs this experiment uses as `saes`: one trained SAE for each seed of a sweep.
2. For every two seeds compare the decoder rows, and apart from them the encoder columns, by signed cosine:
   each feature with its best match in the other dictionary (the mean of both directions), and one to one.
3. The same for live latents only: those of each SAE that fire on held-out tokens, against those of the other.
4. `pw_mcc` is the mean one-to-one cosine of decoder rows over pairs of seeds. `fraction_090` is the share of
   features whose best match is at least 0.9; a table has it from 0.3 to 0.95. `shared_fraction` is the share
   of features whose decoder row and encoder column are assigned to the same feature, both from 0.7 on.
5. Average each number over the pairs; resample pairs by seed.
6. How good the dictionaries are (explained variance, beside principal components), and how much of their
   random start they still are (`start_cosine`): agreement grows with the steps that part them from it.
7. Where the SAEs kept checkpoints, `pw_mcc` at each of them (table `by_step`), and what the last half of the
   steps added: `pw_mcc_gain`, `explained_variance_gain`. A training that has converged adds nothing.
8. With `coder`, the folder of a dictionary that was trained elsewhere on the same model and hook site: the
   best match of each seed's latents in it (`in_imported_best_match`, `in_imported_fraction_090`), and of its
   latents in each seed (`of_imported_...`). Random directions, as many as each has, give chance.

Sources: pw_mcc, Song et al. 2025, "Position: Mechanistic Interpretability Should Prioritize Feature
Consistency in SAEs"; shared features, Paulo and Belrose 2025, "Sparse Autoencoders Trained on the Same Data
Learn Different Features". Unit of sampling: the seed. Cosines run from -1 to 1. Names: `live_` for live
latents, then `encoder_` for encoder columns; without them, all latents and decoder rows. Controls:
`chance_...`, random directions of the same shape, say what a best match among so many gives by itself;
`permuted_...`, two copies of a seed's features with each coordinate permuted over the features, keep what
all features have in common and nothing else; `random_pairing_cosine` pairs the real features at random.

Pitfalls:

- Agreement grows with training and falls with width, so that one number is not the stability of SAEs as such
  (Paulo and Belrose 2025, on width; Song et al. 2025, on training).
- Pairs of seeds share seeds and are no independent samples (Snijders and Borgatti 1999).
- Two dictionaries with different directions may still span the same subspace, and one latent may be made of
  several (Leask et al. 2025, "Sparse Autoencoders Do Not Find Canonical Units of Analysis").
"""

from __future__ import annotations

from itertools import product
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.families.sae_stability.checkpoints import CurvePoint, agreement_by_step
from engine.families.sae_stability.imported import compare_with_imported, of_imported
from engine.families.sae_stability.seed_pairs import (
    LATENTS,
    SIDES,
    Aspect,
    SeedComparison,
    SeedDictionary,
    compare_seeds,
    seed_dictionaries,
    shared_fractions,
)
from engine.lab.lab import Lab, Point, UsedRun
from engine.lab.profiles import known_answer
from engine.lab.sparse.imported_coder import imported_coder
from engine.lab.sparse.matching import Matching, chance_median, random_directions
from engine.models.micro import micro_model
from engine.spec.family_params import SeedParams
from engine.spec.inputs import Inputs, Uses

inputs = Inputs(
    uses={"saes": Uses("polysemanticity_sae", over="seed")},
    coder_parameters=("coder",),
)

THRESHOLDS = [round(0.05 * step, 2) for step in range(6, 20)]
NUMBERS = {
    "median_best_match": ("best", "median"),
    "mean_best_match": ("best", "mean"),
    "fraction_090": ("best", "fraction"),
    "median_one_to_one": ("one_to_one", "median"),
    "mean_one_to_one": ("one_to_one", "mean"),
    "fraction_090_one_to_one": ("one_to_one", "fraction"),
}
"""What is computed of a pair's matched cosines: which match, and which statistic of it."""
SAID = {"median": "Median", "mean": "Mean", "fraction": "Share of features from 0.9 on by"}

QUALITY = {
    "pca_explained_variance": ("control", "Explained variance by as many principal components as k"),
    "pca_explained_variance_per_token": ("control", "Mean over tokens of it, by as many components as k"),
    "start_cosine": ("control", "Cosine of a decoder row with its own random start, mean over latents"),
    "explained_variance": ("finding", "Explained variance of all held-out tokens together"),
    "explained_variance_per_token": (
        "finding",
        "Explained variance of each held-out token, mean over tokens",
    ),
}
"""What is taken over from the runs used, each with its role."""


class Params(SeedParams):
    chance_draws: Annotated[int, Field(ge=2, le=100)] = 5
    """How many pairs of dictionaries of random directions give the level of chance."""
    most_one_to_one: Annotated[int, Field(ge=0)] = 8192
    """Wider dictionaries are compared by best match only: the assignment grows with the cube of the width (a
    second at 2,048 latents)."""
    coder: Annotated[str, Field(min_length=1)] | None = None
    """The folder of a dictionary that was trained elsewhere, as SAELens writes it: each seed is compared with
    it too."""


def run(lab: Lab, params: Params) -> Result:
    """Best and one-to-one matches over all pairs of seeds, on both sides, of all and of live latents."""
    # 1. Take one trained SAE for each seed.
    used = lab.used_over("saes", "seed")
    saes = seed_dictionaries(used)
    imported = imported_coder(lab, params.coder, site_of_seeds(lab))[0] if params.coder else None
    # 2, 3. Compare every two, decoder rows and encoder columns, of all latents and of live ones.
    with lab.stage(0.6, "comparing seeds") as progress:
        found = compare_seeds(
            saes,
            np.random.default_rng(params.seed),
            chance_draws=params.chance_draws,
            # Cubic in the width: beyond this, best matches only.
            one_to_one=len(saes[0].live) <= params.most_one_to_one,
            progress=progress,
        )
    # 4, 5. Each number averaged over pairs, which are resampled by seed; first of all what chance gives.
    # Pairs that share a seed are not independent: intervals resample seeds, not pairs.
    ev = Evidence("seed", clusters=found.pairs)
    by_seed = ev.over("seed", [sae.seed for sae in saes])
    # Over draws and not over seeds, of which chance has none.
    chance = of_random_directions(ev.over("draw"), found)
    of_permuted_features(by_seed, found)
    about = "Mean cosine of decoder rows paired at random."
    ev.control("random_pairing_cosine", found.paired, about)
    of_pairs(ev, found, chance)
    of_shared_features(ev, found, chance)
    about = "SAEs compared, which differ in the seed alone."
    ev.count("n_seeds", len(saes), about)
    ev.count("n_features", len(saes[0].live), "Latents of each SAE.", unit="latent")
    alive = [sae.live.mean() for sae in saes]
    by_seed.finding("frac_alive", alive, "Share of latents that fire on held-out tokens.", bounds=(0, 1))

    # 6. How good the dictionaries are, and how far from their start.
    of_quality(by_seed, list(used.values()))
    # 7. The same at earlier steps of the same trainings.
    with lab.stage(0.9, "comparing checkpoints") as progress:
        curve = agreement_by_step(used, found.pairs, params.most_one_to_one, progress)
    if curve:
        by_step(ev, by_seed, curve, chance)
    # 8. A dictionary that was trained elsewhere.
    if imported is not None:
        with lab.stage(1.0, "comparing with the imported dictionary") as progress:
            beside = compare_with_imported(
                saes,
                imported,
                # Draws of its own: those above are the same with it and without.
                np.random.default_rng([params.seed, 8]),
                chance_draws=params.chance_draws,
                progress=progress,
            )
        of_imported(ev, by_seed, saes, beside)

    by_threshold(ev, by_seed, found)
    per_pair(ev, found)
    ev.table("per_seed", per_seed(saes, found))
    ev.array("best_match", np.stack([m.a_to_b for m in found.matched["all", "decoder"]]))
    return ev.result()


def site_of_seeds(lab: Lab) -> str | None:
    """Where the SAEs used were trained; they agree in this."""
    return next(iter(lab.used_runs("saes").values())).experiment.get("hook_site")


def prefixed(aspect: Aspect, name: str) -> str:
    """`live_encoder_median_best_match`; all latents and decoder rows go without saying."""
    latents, side = aspect
    return ("live_" if latents == "live" else "") + ("encoder_" if side == "encoder" else "") + name


def chance_name(latents: str, name: str) -> str:
    """`chance_best_match` stands beside `median_best_match`; other names keep all their words."""
    return f"chance_{prefixed((latents, 'decoder'), name.replace('median_best', 'best'))}"


def values_of(matchings: list[Matching], name: str) -> list[float]:
    """A number of every pair; empty where it needs an assignment and none was made."""
    how, statistic = NUMBERS[name]
    made = how == "best" or matchings[0].assignment is not None
    return [getattr(m, how)(statistic) for m in matchings] if made else []


def said_of(name: str) -> str:
    """What a number is, in words."""
    how, statistic = NUMBERS[name]
    return f"{SAID[statistic]} {'best' if how == 'best' else 'one-to-one'} match"


def bounds_of(name: str) -> tuple[float, float]:
    """The ends of the scale of a number: shares from 0, cosines from -1."""
    return (0, 1) if "fraction" in name else (-1, 1)


def of_random_directions(draws: Evidence, found: SeedComparison) -> dict[str, Measurement]:
    """What random directions give, on either side, for as many as all latents and as the live ones."""
    chance = {}
    for latents, matchings in found.random.items():
        numbers = {name: (values_of(matchings, name), said_of(name)) for name in NUMBERS}
        # Two draws have no two sides: each is taken as the decoder's assignment, the next as the encoder's.
        agreed = shared_fractions(matchings, matchings[1:] + matchings[:1])
        numbers["shared_fraction"] = agreed, "Share of features that two assignments agree on"
        for name, (values, said) in numbers.items():
            if values:
                about = f"{said}, of as many random directions as there are {latents} latents."
                full = chance_name(latents, name)
                chance[full] = draws.control(full, values, about, bounds=bounds_of(name))
    return chance


def of_permuted_features(by_seed: Evidence, found: SeedComparison) -> None:
    """What features have in common that share nothing but their coordinates' values."""
    for aspect, name in product(found.permuted, ("median_best_match", "mean_one_to_one")):
        values = values_of(found.permuted[aspect], name)
        if values:
            latents, side = aspect
            about = f"{said_of(name)}, {side} directions of {latents} latents, each coordinate permuted."
            plain = name.replace("median_best", "best")
            by_seed.control(f"permuted_{prefixed(aspect, plain)}", values, about)


def of_pairs(ev: Evidence, found: SeedComparison, chance: dict[str, Measurement]) -> None:
    """Every number on both sides, of all and of live latents."""
    for (aspect, matchings), name in product(found.matched.items(), NUMBERS):
        latents, side = aspect
        values = values_of(matchings, name)
        names = [name] if values else []
        if name == "mean_one_to_one" and side == "decoder":
            names = [*names, "pw_mcc"] if values else []  # its published name
        for each in names:
            about = f"{said_of(name)}, {side} directions of {latents} latents, mean over pairs of seeds."
            control = chance[chance_name(latents, name)]
            ev.finding(prefixed(aspect, each), values, about, bounds=bounds_of(name), control=control)


def of_shared_features(ev: Evidence, found: SeedComparison, chance: dict[str, Measurement]) -> None:
    """Features whose decoder row and encoder column are assigned to the same feature."""
    for latents in LATENTS:
        values = shared_fractions(found.matched[latents, "decoder"], found.matched[latents, "encoder"])
        if values:
            about = f"Share of {latents} latents that both sides assign to the same one, from 0.7 on."
            name = prefixed((latents, "decoder"), "shared_fraction")
            control = chance[chance_name(latents, "shared_fraction")]
            ev.finding(name, values, about, bounds=(0, 1), control=control)


def of_quality(by_seed: Evidence, used: list[Result]) -> None:
    """What the SAEs' own runs measured of them, mean over seeds."""
    controls: dict[str, Measurement] = {}
    for name, (role, about) in QUALITY.items():
        # A result made by hand, as a calibration's, has measured nothing.
        if not all(name in result.measurements for result in used):
            continue
        values = [result.measurements[name].value for result in used]
        said = f"{about}, mean over seeds."
        if role == "control":
            controls[name] = by_seed.control(name, values, said, bounds=(-1, 1))
        else:
            by_seed.finding(name, values, said, control=controls.get(f"pca_{name}"))


def by_step(ev: Evidence, by_seed: Evidence, curve: list[CurvePoint], chance: dict[str, Measurement]) -> None:
    """pw_mcc against the steps taken, beside chance, the own start and how good the dictionaries were."""
    about = "What the last half of the steps added to {}."
    halfway, last = curve[-2:]
    agreed = np.array(last.pw_mcc) - np.array(halfway.pw_mcc)
    ev.finding("pw_mcc_gain", agreed, about.format("pw_mcc"), bounds=(-2, 2))
    explained = np.array(last.explained_variance) - np.array(halfway.explained_variance)
    said = about.format("the explained variance per token")
    by_seed.finding("explained_variance_gain", explained, said)
    rows = []
    for point in curve:
        m = ev.measured("pw_mcc", point.pw_mcc, bounds=(-1, 1))
        rows.append(
            {
                "step": point.step,
                "tokens": point.tokens,
                "lr": point.lr,
                "pw_mcc": m.value,
                "low": m.low,
                "high": m.high,
                "chance": chance[chance_name("all", "mean_one_to_one")].value,
                "start_cosine": float(np.mean(point.start_cosine)),
                "explained_variance_per_token": float(np.mean(point.explained_variance)),
            }
        )
    ev.table("by_step", pd.DataFrame(rows)).line(
        "curve",
        "step: optimisation steps",
        "pw_mcc",
        band=True,
        title="Agreement of seeds along training",
        caption="pw_mcc of the same trainings after 1/2, 1/4, ... of the steps; the learning rate falls to "
        "zero over the last fifth. The band is the 95 % interval over seeds, where there are enough.",
        log_x=True,
    )


def by_threshold(ev: Evidence, by_seed: Evidence, found: SeedComparison) -> None:
    """The share of features matched from each threshold on, trained and by chance; intervals over seeds."""
    hows = {"best": "best match"}
    if found.random["all"][0].assignment is not None:
        hows["one_to_one"] = "one to one"
    rows = []
    for side, how in product(SIDES, hows):
        series = [
            *((f"{latents} latents", found.matched[latents, side], ev) for latents in LATENTS),
            ("random directions", found.random["all"], ev.over("seed")),
            ("permuted coordinates", found.permuted["all", side], by_seed),
        ]
        for (label, matchings, over), at in product(series, THRESHOLDS):
            values = [getattr(m, how)("fraction", at) for m in matchings]
            m = over.measured(label, values, bounds=(0, 1))
            rows.append((f"{side}, {hows[how]}", label, at, m.value, m.low, m.high))
    table = pd.DataFrame(rows, columns=["panel", "series", "threshold", "fraction", "low", "high"])
    ev.table("by_threshold", table).line(
        "best_match",
        "threshold: cosine from",
        "fraction: share of features",
        color="series: dictionaries",
        facet="panel",
        band=True,
        title="Share of features with a match in the other seed, by how similar it must be",
        caption="Trained dictionaries against random directions of the same shape and against features whose "
        "coordinates were permuted; bands are 95 % intervals over seeds.",
    )


def per_pair(ev: Evidence, found: SeedComparison) -> None:
    """Every number of every two seeds."""
    table = pd.DataFrame(found.pairs, columns=["seed", "other_seed"])
    for aspect, name in product(found.matched, NUMBERS):
        values = values_of(found.matched[aspect], name)
        if values:
            table[prefixed(aspect, name)] = values
    ev.table("per_pair", table).heatmap(
        "pairs",
        "seed",
        "other_seed: other seed",
        color="median_best_match: median cosine",
        title="Median best match of every two seeds",
        caption="Decoder rows, all latents, the mean of both directions.",
    )


def per_seed(saes: list[SeedDictionary], found: SeedComparison) -> pd.DataFrame:
    """Each seed's latents, and its numbers averaged over the other seeds."""
    rows = []
    for sae in saes:
        own = [place for place, pair in enumerate(found.pairs) if sae.seed in pair]
        row = {"seed": sae.seed, "latents": len(sae.live), "live": sae.size("live")}
        for latents, name in product(LATENTS, ("median_best_match", "mean_one_to_one")):
            values = values_of(found.matched[latents, "decoder"], name)
            if values:
                mean = np.mean([values[place] for place in own])
                row[prefixed((latents, "decoder"), name)] = mean
        rows.append(row)
    return pd.DataFrame(rows)


def calibrate() -> list[Calibration]:
    """One dictionary in two orders, dictionaries that share half, dead latents, and random directions."""
    rng = np.random.default_rng(0)
    base = random_directions(96, 48, rng)
    order = rng.permutation(96)
    live = np.arange(96) < 64
    # Live latents shared by all seeds, dead ones drawn anew for each: only the numbers of live ones must be
    # 1.
    dead = {seed: np.where(live[:, None], base, random_directions(96, 48, rng)) for seed in range(4)}
    half = {seed: np.concatenate([base[:48], random_directions(48, 48, rng)]) for seed in range(4)}
    drawn = {seed: random_directions(96, 48, rng) for seed in range(4)}
    # Twice as long and in another order: cosines see neither.
    same = numbers_of({0: base, 1: 2 * base[order]})
    chance = numbers_of(drawn)
    halves = numbers_of(half)
    unequal = numbers_of(dead, live)
    close = "Features of two halves: one of all seeds, one of each seed's own."
    theory = "The median best match of random directions, against its exact distribution."
    return [
        known_answer(
            "one dictionary, reordered", "pw_mcc of a dictionary with itself.", same["pw_mcc"], 1, 1e-5
        ),
        known_answer("half shared", close, halves["shared_fraction"], 0.5, 0.01),
        known_answer("half shared, best match", close, halves["fraction_090"], 0.5, 0.01),
        known_answer("dead latents differ", "pw_mcc of live latents.", unequal["live_pw_mcc"], 1, 1e-5),
        known_answer("random", theory, chance["median_best_match"], chance_median(96, 48), 0.01),
        known_answer("random, shared", "None is shared.", chance["shared_fraction"], 0, 0.005),
    ]


def numbers_of(decoders: dict[int, np.ndarray], live: np.ndarray | None = None) -> dict[str, float]:
    """The family's numbers for dictionaries by seed whose encoder is the decoder transposed."""
    points: dict[Point, UsedRun] = {}
    for seed, decoder in decoders.items():
        rate = np.ones(len(decoder)) if live is None else live.astype(float)
        arrays = {"W_enc": decoder.T, "W_dec": decoder, "firing_rate": rate}
        points[(("seed", seed),)] = UsedRun(Result(arrays=arrays))
    result = run(Lab(micro_model(), uses={"saes": points}), Params())
    return {name: m.value for name, m in result.measurements.items()}
