"""Seeds that were trained here beside a dictionary trained elsewhere: how much of each is in the other.

The two may have different numbers of latents, so that both directions are told and not their mean: a best
match among more directions is larger by itself, which is what chance says for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.evidence.builder import Evidence
from engine.evidence.result import Measurement
from engine.families.sae_stability.seed_pairs import SIDES, SeedDictionary
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.matching import (
    NEAR,
    Dictionary,
    Matching,
    OtherDictionary,
    match,
    random_directions,
    summary,
)

WAYS = {
    "in_imported": "{own} with its best match in the imported dictionary",
    "of_imported": "a latent of the imported dictionary with its best match in {own}",
}
OWN = {"": "a latent of a seed", "live_": "a live latent of a seed"}
LATENTS = (("", "all"), ("live_", "live"))
"""Which latents of a seed are compared, by the prefix of their numbers."""
NUMBERS = (("best_match", "median"), ("fraction_090", "fraction"))
"""What is computed of the cosines, by the end of its name."""


@dataclass(frozen=True)
class ImportedComparison:
    """Each seed against the imported dictionary, by (prefix, side); pairs of random directions of its shapes.

    `n_rows` are the latents of the imported dictionary that have a decoder and an encoder direction.
    """

    matched: dict[tuple[str, str], list[Matching]]
    random: dict[str, list[Matching]]
    n_rows: int


def compare_with_imported(
    saes: Sequence[SeedDictionary],
    coder: Coder,
    generator: np.random.Generator,
    *,
    chance_draws: int,
    progress: Callable[..., None] = lambda fraction, message="": None,
) -> ImportedComparison:
    """Best matches of every seed's latents, all and live ones, on both sides, and what chance gives.

    Which latents of the imported dictionary are live is not known without a text: those whose directions are
    zero are left out, all others count.
    """
    rows = coder.W_dec.numpy()
    columns = coder.W_enc.T.numpy()
    kept = (np.abs(rows).max(axis=1) > 0) & (np.abs(columns).max(axis=1) > 0)
    theirs = {"decoder": rows[kept], "encoder": columns[kept]}
    matched: dict[tuple[str, str], list[Matching]] = {}
    for done, sae in enumerate(saes):
        progress(0.8 * done / len(saes), f"seed {sae.seed}")
        for prefix, latents in LATENTS:
            for side in SIDES:
                found = _best(sae.of((latents, side)), theirs[side])
                matched.setdefault((prefix, side), []).append(found)
    progress(0.8, "random directions")
    d = rows.shape[1]
    sizes = {prefix: round(np.mean([sae.size(latents) for sae in saes])) for prefix, latents in LATENTS}
    random = {
        prefix: [
            _best(random_directions(n, d, generator), random_directions(int(kept.sum()), d, generator))
            for _ in range(chance_draws)
        ]
        for prefix, n in sizes.items()
    }
    return ImportedComparison(matched, random, int(kept.sum()))


def _best(own: Dictionary, theirs: OtherDictionary) -> Matching:
    # One to one says little of dictionaries of different widths, and costs the cube of them.
    return match(own, theirs, one_to_one=False)


def of_imported(
    ev: Evidence, by_seed: Evidence, saes: Sequence[SeedDictionary], found: ImportedComparison
) -> None:
    """Median best match and share from 0.9 on, both ways, mean over seeds, each beside chance."""
    chance = _chance(ev.over("draw"), found)
    table = pd.DataFrame({"seed": [sae.seed for sae in saes]})
    for (prefix, side), matchings in found.matched.items():
        for way in WAYS:
            for name, statistic in NUMBERS:
                values = [summary(_cosines(m, way), statistic, NEAR) for m in matchings]
                full = f"{prefix}{'encoder_' if side == 'encoder' else ''}{way}_{name}"
                about = f"{_said(prefix, way, statistic)}, {side} directions, mean over seeds."
                control = chance[f"{prefix}{way}_{name}"]
                bounds = (0, 1) if statistic == "fraction" else (-1, 1)
                by_seed.finding(full, values, about, bounds=bounds, control=control)
                table[full] = values
    ev.count("imported_latents", found.n_rows, "Latents of the imported dictionary.", unit="latent")
    ev.table("imported_per_seed", table)


def _chance(draws: Evidence, found: ImportedComparison) -> dict[str, Measurement]:
    """What random directions give, as many as each side has latents."""
    chance = {}
    for prefix, matchings in found.random.items():
        for way in WAYS:
            for name, statistic in NUMBERS:
                values = [summary(_cosines(m, way), statistic, NEAR) for m in matchings]
                about = f"{_said(prefix, way, statistic)}, random directions of the same numbers."
                bounds = (0, 1) if statistic == "fraction" else (-1, 1)
                full = f"chance_{prefix}{way}_{name}"
                chance[f"{prefix}{way}_{name}"] = draws.control(full, values, about, bounds=bounds)
    return chance


def _cosines(matching: Matching, way: str) -> np.ndarray:
    return matching.a_to_b if way == "in_imported" else matching.b_to_a


def _said(prefix: str, way: str, statistic: str) -> str:
    what = WAYS[way].format(own=OWN[prefix])
    return f"{'Median cosine of' if statistic == 'median' else f'Share from {NEAR} on of'} {what}"
