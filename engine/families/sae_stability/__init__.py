"""Seed stability: do SAEs that differ in the random seed alone learn the same features?

1. Take the runs this experiment uses as `saes`: one trained SAE for each seed of a sweep.
2. For every two seeds compare the decoder rows, and apart from them the encoder columns, by signed cosine:
   each feature with its best match in the other dictionary (the mean of both directions), and one to one.
3. The same for live latents only: those of each SAE that fire on held-out tokens, against those of the other.
4. `pw_mcc` is the mean one-to-one cosine of decoder rows over pairs of seeds. `fraction_090` is the share of
   features whose best match is at least 0.9; a table has it from 0.3 to 0.95. `shared_fraction` is the share
   of features whose decoder row and encoder column are assigned to the same feature, both from 0.7 on.
5. Average each number over the pairs; resample pairs by seed.

Sources: pw_mcc, Song et al. 2025, "Position: Mechanistic Interpretability Should Prioritize Feature
Consistency in SAEs"; shared features, Paulo and Belrose 2025, "Sparse Autoencoders Trained on the Same Data
Learn Different Features". Unit of sampling: the seed. Cosines run from -1 to 1. Names: `live_` for live
latents, then `encoder_` for encoder columns; without them, all latents and decoder rows. Controls:
`chance_...`, random directions of the same shape, say what a best match among so many gives by itself;
`permuted_...`, two copies of a seed's features with each coordinate permuted over the features, keep what
all features have in common and nothing else; `random_pairing_cosine` pairs the real features at random.
"""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from engine.evidence.bootstrap import count, measure
from engine.evidence.result import Calibration, Figure, Measurement, Result
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
from engine.lab.sparse.matching import Matching, chance_median, random_directions
from engine.models.micro import micro_model
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import Inputs, Uses

THRESHOLDS = [round(0.05 * step, 2) for step in range(6, 20)]
NUMBERS = {
    "median_best_match": ("best", "median"),
    "mean_best_match": ("best", "mean"),
    "fraction_090": ("best", "fraction"),
    "median_one_to_one": ("one_to_one", "median"),
    "mean_one_to_one": ("one_to_one", "mean"),
    "pw_mcc": ("one_to_one", "mean"),  # of decoder rows, its published name
    "fraction_090_one_to_one": ("one_to_one", "fraction"),
}
SAID = {"median": "Median", "mean": "Mean", "fraction": "Share of features from 0.9 on by"}


inputs = Inputs(uses={"saes": Uses("polysemanticity_sae", over="seed")})


class Params(FamilyParams):
    chance_draws: Annotated[int, Field(ge=2, le=100)] = 5
    """How many pairs of dictionaries of random directions give the level of chance."""
    most_one_to_one: Annotated[int, Field(ge=0)] = 8192
    """Wider dictionaries are compared by best match only: the assignment grows with the cube of the width (a
    second at 2,048 latents)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the random directions and the permutations."""


def run(lab: Lab, params: Params) -> Result:
    """Best and one-to-one matches over all pairs of seeds, on both sides, of all and of live latents."""
    saes = seed_dictionaries(lab.used_over("saes", "seed"))
    found = compare_seeds(
        saes,
        np.random.default_rng(params.seed),
        chance_draws=params.chance_draws,
        one_to_one=len(saes[0].live) <= params.most_one_to_one,
        progress=lab.progress,
    )
    return Result(
        findings=[*_counts(saes), *_matches(found), *_shared(found)],
        controls=[*_chance(found), *_permuted(found)],
        tables={
            "by_threshold": _by_threshold(found),
            "per_pair": _per_pair(found),
            "per_seed": _per_seed(found),
        },
        figures=FIGURES,
        arrays={"best_match": np.stack([m.a_to_b for m in found.matched["all", "decoder"]])},
    )


def _counts(saes: list[SeedDictionary]) -> list[Measurement]:
    alive, ids = [sae.live.mean() for sae in saes], [sae.seed for sae in saes]
    about = "Share of latents that fire on held-out tokens."
    return [
        count("n_seeds", len(saes), unit="seed", about="SAEs compared, which differ in the seed alone."),
        count("n_features", len(saes[0].live), unit="latent", about="Latents of each SAE."),
        measure("frac_alive", alive, unit="seed", ids=ids, bounds=(0, 1), about=about),
    ]


def _prefix(kind: Aspect) -> str:
    latents, side = kind
    return ("live_" if latents == "live" else "") + ("encoder_" if side == "encoder" else "")


def _chance_name(latents: str, name: str) -> str:
    """`chance_best_match` stands beside `median_best_match`; other names keep all their words."""
    plain = name.replace("median_best", "best").replace("pw_mcc", "mean_one_to_one")
    return f"chance_{'live_' if latents == 'live' else ''}{plain}"


def _values(matchings: list[Matching], name: str) -> list[float]:
    """A number of every pair; empty where it needs an assignment and none was made."""
    how, statistic = NUMBERS[name]
    made = how == "best" or matchings[0].assignment is not None
    return [getattr(m, how)(statistic) for m in matchings] if made else []


def _said(name: str) -> str:
    how, statistic = NUMBERS[name]
    return f"{SAID[statistic]} {'best' if how == 'best' else 'one-to-one'} match"


def _bounds(name: str) -> tuple[float, float]:
    return (0, 1) if "fraction" in name else (-1, 1)


def _matches(found: SeedComparison) -> list[Measurement]:
    rows = []
    for ((latents, side), matchings), name in product(found.matched.items(), NUMBERS):
        values = _values(matchings, name) if name != "pw_mcc" or side == "decoder" else []
        if values:
            about = f"{_said(name)}, {side} directions of {latents} latents, mean over pairs of seeds."
            full, control = _prefix((latents, side)) + name, _chance_name(latents, name)
            units = {"clusters": found.pairs, "bounds": _bounds(name), "control": control}
            rows.append(measure(full, values, unit="seed", about=about, **units))
    return rows


def _shared(found: SeedComparison) -> list[Measurement]:
    rows = []
    for latents in LATENTS:
        values = shared_fractions(found.matched[latents, "decoder"], found.matched[latents, "encoder"])
        about = f"Share of {latents} latents that both sides assign to the same one, from 0.7 on."
        name, control = _prefix((latents, "decoder")) + "shared_fraction", "shared_fraction"
        units = {"clusters": found.pairs, "bounds": (0, 1), "control": _chance_name(latents, control)}
        rows += [measure(name, values, unit="seed", about=about, **units)] if values else []
    return rows


def _chance(found: SeedComparison) -> list[Measurement]:
    """What random directions give, on either side, for as many as all latents and as the live ones."""
    rows = []
    for latents, matchings in found.random.items():
        numbers = {name: (_values(matchings, name), _said(name)) for name in NUMBERS if name != "pw_mcc"}
        agreed = shared_fractions(matchings, matchings[1:] + matchings[:1])
        numbers["shared_fraction"] = agreed, "Share of features that two assignments agree on"
        for name, (values, said) in numbers.items():
            about = f"{said}, of as many random directions as there are {latents} latents."
            full, units = _chance_name(latents, name), {"unit": "draw", "bounds": _bounds(name)}
            rows += [measure(full, values, about=about, **units)] if values else []
    return rows


def _permuted(found: SeedComparison) -> list[Measurement]:
    rows, ids = [], [sae.seed for sae in found.saes]
    for kind, name in product(found.permuted, ("median_best_match", "mean_one_to_one")):
        if values := _values(found.permuted[kind], name):
            about = f"{_said(name)}, {kind[1]} directions of {kind[0]} latents, each coordinate permuted."
            full = f"permuted_{_prefix(kind)}{name.replace('median_best', 'best')}"
            rows.append(measure(full, values, unit="seed", ids=ids, about=about))
    about = "Mean cosine of decoder rows paired at random."
    paired = measure("random_pairing_cosine", found.paired, unit="seed", clusters=found.pairs, about=about)
    return [*rows, paired]


def _by_threshold(found: SeedComparison) -> pd.DataFrame:
    """The share of features matched from each threshold on, trained and by chance; intervals over seeds."""
    rows, ids = [], [sae.seed for sae in found.saes]
    hows = ["best"] + ["one_to_one"] * (found.random["all"][0].assignment is not None)
    for side, how in product(SIDES, hows):
        series: list[tuple[str, list[Matching], Any]] = [
            *((f"{kind} latents", found.matched[kind, side], {"clusters": found.pairs}) for kind in LATENTS),
            ("random directions", found.random["all"], {}),
            ("permuted coordinates", found.permuted["all", side], {"ids": ids}),
        ]
        for (label, matchings, units), at in product(series, THRESHOLDS):
            values = [getattr(m, how)("fraction", at) for m in matchings]
            m = measure(label, values, unit="seed", bounds=(0, 1), **units)
            panel = f"{side}, {'best match' if how == 'best' else 'one to one'}"
            rows.append((panel, label, at, m.value, m.low, m.high))
    table = pd.DataFrame(rows, columns=["panel", "series", "threshold", "fraction", "low", "high"])
    return table.astype({"low": float, "high": float})


def _per_pair(found: SeedComparison) -> pd.DataFrame:
    columns = {
        _prefix(kind) + name: values
        for kind, name in product(found.matched, NUMBERS)
        if name != "pw_mcc" and (values := _values(found.matched[kind], name))
    }
    seeds = {"seed": [a for a, _ in found.pairs], "other_seed": [b for _, b in found.pairs]}
    return pd.DataFrame({**seeds, **columns})


def _per_seed(found: SeedComparison) -> pd.DataFrame:
    """Each seed's latents, and its numbers averaged over the other seeds."""
    rows = []
    for sae in found.saes:
        own = [place for place, pair in enumerate(found.pairs) if sae.seed in pair]
        row = {"seed": sae.seed, "latents": len(sae.live), "live": sae.size("live")}
        for latents, name in product(LATENTS, ("median_best_match", "mean_one_to_one")):
            if values := _values(found.matched[latents, "decoder"], name):
                row[_prefix((latents, "decoder")) + name] = np.mean([values[place] for place in own])
        rows.append(row)
    return pd.DataFrame(rows)


FIGURES = {
    "best_match": Figure(
        "line",
        "by_threshold",
        {
            "x": "threshold",
            "y": "fraction",
            "low": "low",
            "high": "high",
            "color": "series",
            "facet": "panel",
        },
        "Share of features with a match in the other seed, by how similar it must be",
        "Trained dictionaries against random directions of the same shape and against features whose "
        "coordinates were permuted; bands are 95 % intervals over seeds.",
        {"x_title": "cosine from", "y_title": "share of features", "color_title": "dictionaries"},
    ),
    "pairs": Figure(
        "heatmap",
        "per_pair",
        {"x": "seed", "y": "other_seed", "color": "median_best_match"},
        "Median best match of every two seeds",
        "Decoder rows, all latents, the mean of both directions.",
        {"y_title": "other seed", "color_title": "median cosine"},
    ),
}


def calibrate() -> list[Calibration]:
    """One dictionary in two orders, dictionaries that share half, dead latents, and random directions."""
    rng = np.random.default_rng(0)
    base, order = random_directions(96, 48, rng), rng.permutation(96)
    live = np.arange(96) < 64
    dead = {seed: np.where(live[:, None], base, random_directions(96, 48, rng)) for seed in range(4)}
    half = {seed: np.concatenate([base[:48], random_directions(48, 48, rng)]) for seed in range(4)}
    drawn = {seed: random_directions(96, 48, rng) for seed in range(4)}
    same = _found({0: base, 1: 2 * base[order]})
    chance, halves, unequal = _found(drawn), _found(half), _found(dead, live)
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


def _found(decoders: dict[int, np.ndarray], live: np.ndarray | None = None) -> dict[str, float]:
    """The family's numbers for dictionaries by seed whose encoder is the decoder transposed."""
    points: dict[Point, UsedRun] = {}
    for seed, decoder in decoders.items():
        rate = np.ones(len(decoder)) if live is None else live.astype(float)
        arrays = {"W_enc": decoder.T, "W_dec": decoder, "firing_rate": rate}
        points[(("seed", seed),)] = UsedRun(Result(arrays=arrays))
    result = run(Lab(micro_model(), uses={"saes": points}), Params())
    return {name: m.value for name, m in result.measurements.items()}
