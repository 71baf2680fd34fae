"""Feature splitting: does one latent of a narrow dictionary become several in a wider one?

1. Take the dictionaries this experiment uses, `saes`: one polysemanticity_sae swept over n_features.
2. Encode with each the contexts that were held out from them; a latent that fires on none of them is left
   out.
3. A latent of the wider dictionary is a child of the latent of the narrower one whose decoder direction is
   nearest, where their cosine is `min_cosine` or more and the parent fires on at least `min_given` of the
   child's tokens. A parent with two children or more has split; one whose nearest child has a cosine of 0.9
   or more is kept.
4. The numbers compare the narrowest dictionary with the widest; the table `by_pair` each with the next, and
   `by_width` says how good each dictionary is, beside as many principal components as it has active latents.

Sources: Bricken et al. 2023, "Towards Monosemanticity" (splitting); Chanin et al. 2024, arXiv 2409.14507
(absorption: the tokens of a split parent that none of its children covers). Unit of sampling: the live latent
of the narrower dictionary, or of the wider one where it says so. Controls: a wider dictionary of random
directions with the same k (`random_`), and the wider one's own directions with firing dealt out anew among
its latents (`permuted_`).

Pitfalls:

- A parent without one child to cover it may be absorbed: its children fire in its place on some tokens
  (Chanin et al. 2024).
- Wider dictionaries also have features that the narrow one lacks altogether; a tree of splits is not all
  there is (Leask et al. 2025, "Sparse Autoencoders Do Not Find Canonical Units of Analysis").
- Sparsity itself rewards splitting, so that children need not be units of the model (Bussmann et al. 2025,
  "Learning Multi-Level Features with Matryoshka Sparse Autoencoders").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.families.feature_splitting.kinship import Kinship, kinship, relabelled
from engine.lab.harvest import handed_over, harvested
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.lab.sparse.coder import Coder, random_coder
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.held_out import HeldOutActivations, hold_out
from engine.lab.sparse.run_arrays import coder_of
from engine.lab.sparse.synthetic import known_dictionary, sparse_batches, split_features, tied_coder
from engine.spec.family_params import SeedParams
from engine.spec.inputs import Inputs, Uses

inputs = Inputs(uses={"saes": Uses("polysemanticity_sae", over="n_features", hands_over=True)})

KEPT = 0.9
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Params(SeedParams):
    min_cosine: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A child's decoder direction has at least this cosine with its parent's."""
    min_given: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The parent fires on at least this share of the child's tokens."""

    def children(self, kin: Kinship) -> np.ndarray:
        """How many children each live parent has."""
        return kin.children(self.min_cosine, self.min_given)


def run(lab: Lab, params: Params) -> Result:
    """Children of the narrowest dictionary in the widest, by chance, and from each width to the next."""
    # 1. Take the dictionaries, narrowest first.
    coders = dictionaries(lab)
    narrow = min(coders)
    wide = max(coders)

    # 2. Encode the same held-out contexts with each.
    with lab.stage(0.3, "reading the corpus") as progress:
        held = held_out_as_trained(lab, coders[narrow].d, progress)
    with lab.stage(0.8, "encoding") as progress:
        codes = encoded(held, coders, progress)

    # 3, 4. Find parents and children of the narrowest in the widest; the same by chance.
    with lab.stage(1.0, "relating the dictionaries"):
        kin = related(coders[narrow], codes[narrow], coders[wide], codes[wide])
        # As wide and as sparse as the dictionary it stands beside, and centred by the same bias.
        drawn = random_coder(coders[wide].d, wide, coders[wide].k, seed=params.seed, mean=coders[wide].b_dec)
        random = related(coders[narrow], codes[narrow], drawn, held.codes(drawn))
        # Directions as trained, firing of other latents: a child that still passes both tests does so by
        # chance.
        dealt = relabelled(codes[wide], params.seed)
        permuted = related(coders[narrow], codes[narrow], coders[wide], dealt)
    if not len(kin.live_parents):
        raise DataError(
            f"no latent of the narrowest dictionary, {narrow:,} wide, is live",
            expected="latents that fire on held-out tokens",
            seen=f"0 of {narrow:,}",
        )
    ev = Evidence("latent", kin.live_parents)
    splits(ev, kin, random, permuted, params)
    of_children(ev, kin, params)
    ev.count("n_features_narrow", narrow, "Width of the narrowest dictionary.")
    ev.count("n_features_wide", wide, "Width of the widest dictionary.")

    per_parent(ev, kin, params)
    by_cosine(ev, {"trained": kin, "random": random, "permuted": permuted}, params)
    by_pair(ev, coders, codes, params)
    by_width(ev, lab)
    return ev.result()


def dictionaries(lab: Lab) -> dict[int, Coder]:
    """The dictionaries by width, narrowest first."""
    by_width = lab.used_over("saes", "n_features")
    coders = [coder_of(result.arrays, f"the run of {width} latents") for width, result in by_width.items()]
    # By the width of the arrays themselves, whatever the sweep's label says.
    return {coder.n_features: coder for coder in sorted(coders, key=lambda c: c.n_features)}


def held_out_as_trained(lab: Lab, d: int, progress: Callable[..., None]) -> HeldOutActivations:
    """What the dictionaries were measured on: their text, their hook site, their split."""
    # The text and the split of those runs and no others: contexts they were trained on are not held out.
    params = handed_over(lab, "saes")
    acts = harvested(lab, [lab.hook_site], params, progress)
    if acts.d != d:
        raise DataError(
            f"the dictionaries were not trained at {lab.hook_site}",
            expected=f"activations of {d} dimensions",
            seen=f"{acts.d}",
        )
    return hold_out(lab, acts, params)[1]


def encoded(
    held: HeldOutActivations, coders: Mapping[int, Coder], progress: Callable[..., None]
) -> dict[int, Codes]:
    """The held-out tokens in the codes of each dictionary, by width."""
    codes = {}
    for done, (width, coder) in enumerate(coders.items()):
        progress(done / len(coders), f"encoding with {width:,} latents")
        codes[width] = held.codes(coder)
    return codes


def related(parent: Coder, parent_codes: Codes, child: Coder, child_codes: Codes) -> Kinship:
    """Two dictionaries' latents on the same tokens."""
    return kinship(parent.W_dec, parent_codes, child.W_dec, child_codes)


def splits(ev: Evidence, kin: Kinship, random: Kinship, permuted: Kinship, params: Params) -> None:
    """How many live parents split, into how many children, beside both levels of chance."""
    numbers: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
        "frac_split": ("Share of live parents with two children or more", lambda n: n >= 2),
        "children_per_parent": ("Mean number of children of a live parent", lambda n: n),
    }
    for name, (about, of) in numbers.items():
        said = f"{about}; random directions in the wider dictionary."
        chance = ev.control(f"random_{name}", of(params.children(random)), said)
        ev.control(f"permuted_{name}", of(params.children(permuted)), f"{about}; firing dealt out anew.")
        ev.finding(name, of(params.children(kin)), f"{about}.", control=chance)
    about = "Share of live parents for which the wider dictionary has a latent at a cosine of {} or more."
    ev.finding("frac_kept", kept(kin), about.format(KEPT))


def kept(kin: Kinship) -> np.ndarray:
    """Which live parents have a child in nearly the same direction."""
    return kin.best_child_cosine[kin.live_parents] >= KEPT


def of_children(ev: Evidence, kin: Kinship, params: Params) -> None:
    """How many children have a parent, and how much of the split parents' firing children cover."""
    live = np.flatnonzero(kin.live_children)
    if not len(live):
        return
    has_parent = kin.is_child(params.min_cosine, params.min_given)[live]
    about = "Share of live latents of the wider dictionary that have a parent."
    ev.over("latent", live).finding("frac_with_parent", has_parent, about)
    split = params.children(kin) >= 2
    if split.any():
        covered = kin.covered(params.min_cosine, params.min_given)
        about = "Share of a split parent's tokens on which at least one of its children fires; mean."
        ev.where(split).finding("covered_by_children", covered, about)


def per_parent(ev: Evidence, kin: Kinship, params: Params) -> None:
    """A row for each live parent."""
    parents = kin.live_parents
    columns = {
        "parent": parents,
        "children": params.children(kin),
        "best_child_cosine": kin.best_child_cosine[parents],
        "covered": kin.covered(params.min_cosine, params.min_given),
        "fired_tokens": kin.parent_fired[parents],
    }
    ev.table("per_parent", pd.DataFrame(columns)).ecdf(
        "children",
        "children",
        title="Children of a parent",
        caption="Share of live parents with at most that many children in the wider dictionary.",
    )


def by_cosine(ev: Evidence, dictionaries: Mapping[str, Kinship], params: Params) -> None:
    """The share of parents that split, by the cosine that a child must have."""
    rows = [
        {
            "dictionary": who,
            "min_cosine": cosine,
            "frac_split": float((kin.children(cosine, params.min_given) >= 2).mean()),
        }
        for who, kin in dictionaries.items()
        for cosine in THRESHOLDS
    ]
    ev.table("by_cosine", pd.DataFrame(rows)).line(
        "splits",
        "min_cosine: least cosine of a child with its parent",
        "frac_split: share of parents that split",
        color="dictionary",
        title="How many parents split",
        caption="Share of live parents with two children or more, by the cosine that a child must have.",
    )


def by_pair(ev: Evidence, coders: Mapping[int, Coder], codes: Mapping[int, Codes], params: Params) -> None:
    """Each width's dictionary with the next one's."""
    rows = []
    # By width, narrowest first, as `dictionaries` has sorted them.
    for narrow, wide in pairwise(coders):
        kin = related(coders[narrow], codes[narrow], coders[wide], codes[wide])
        row = {"narrower": narrow, "wider": wide, "live_parents": len(kin.live_parents)}
        if len(kin.live_parents):
            parents = ev.over("latent", kin.live_parents)
            children = params.children(kin)
            split: Measurement = parents.measured("frac_split", children >= 2)
            row |= {"frac_split": split.value, "low": split.low, "high": split.high}
            row["children_per_parent"] = parents.measured("children_per_parent", children).value
            row["frac_kept"] = parents.measured("frac_kept", kept(kin)).value
        rows.append(row)
    ev.table("by_pair", pd.DataFrame(rows))


QUALITY = (
    "explained_variance",
    "explained_variance_per_token",
    "pca_explained_variance",
    "pca_explained_variance_per_token",
)


def by_width(ev: Evidence, lab: Lab) -> None:
    """How good each dictionary is, as its own run measured it; a run made by hand has measured nothing."""
    rows = []
    for width, result in lab.used_over("saes", "n_features").items():
        found = result.measurements
        if all(name in found for name in QUALITY):
            rows.append({"n_features": width} | {name: found[name].value for name in QUALITY})
    if rows:
        ev.table("by_width", pd.DataFrame(rows).sort_values("n_features", ignore_index=True))


def calibrate() -> list[Calibration]:
    """Of 40 planted features the wider dictionary splits 20 in two; firing dealt out anew splits none."""
    parents = known_dictionary(64, 40, seed=1)
    children = split_features(parents, 20, children=2, cosine=0.85, seed=2)
    x = next(sparse_batches(children, active=2, batch_size=6000, n_batches=1, seed=3))
    narrow = tied_coder(parents, 4)
    wide = tied_coder(children, 4)
    narrow_codes = narrow.codes(x)
    wide_codes = wide.codes(x)
    kin = related(narrow, narrow_codes, wide, wide_codes)
    shuffled = related(narrow, narrow_codes, wide, relabelled(wide_codes, seed=4))
    split = float((Params().children(kin) >= 2).mean())
    by_chance = float((Params().children(shuffled) >= 2).mean())
    # The order in which `split_features` lays out the children of each parent.
    mothers = torch.arange(40).repeat_interleave(torch.tensor([2] * 20 + [1] * 20)).numpy()
    right = float((kin.nearest == mothers).mean())
    return [
        known_answer("planted splits", "Share of parents that split.", split, 0.5),
        known_answer("planted parents", "Share of children given to their own parent.", right, 1),
        known_answer("splits by chance", "The same, firing dealt out anew.", by_chance, 0, 0.05),
    ]
