"""Feature splitting: does one latent of a narrow dictionary become several in a wider one?

1. Take the dictionaries this experiment uses, `saes`: one polysemanticity_sae swept over n_features.
2. Encode the same held-out contexts with each; a latent that fires on none of them is left out.
3. A latent of the wider dictionary is a child of the latent of the narrower one whose decoder direction is
   nearest, where their cosine is `min_cosine` or more and the parent fires on at least `min_given` of the
   child's tokens. A parent with two children or more has split; one whose nearest child has a cosine of 0.9
   or more is kept.
4. The numbers compare the narrowest dictionary with the widest; the table `by_pair` each with the next.

Sources: Bricken et al. 2023, "Towards Monosemanticity" (splitting); Chanin et al. 2024, arXiv 2409.14507
(absorption: the tokens of a split parent that none of its children covers). Unit of sampling: the live latent
of the narrower dictionary, or of the wider one where it says so. Controls: a wider dictionary of random
directions with the same k (`random_`), and the wider one's own directions with firing dealt out anew among
its latents (`permuted_`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.errors import DataError
from engine.evidence.bootstrap import count, measure
from engine.evidence.result import Calibration, Figure, Measurement, Result
from engine.families.feature_splitting.kinship import Kinship, kinship, relabelled
from engine.lab.harvest import harvested
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.lab.sparse.coder import Coder, random_coder
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.held_out import HeldOutActivations
from engine.lab.sparse.receipts import sae_receipts
from engine.lab.sparse.run_arrays import coder_of
from engine.lab.sparse.synthetic import known_dictionary, sparse_batches, split_features, tied_coder
from engine.spec.family_params import FamilyParams
from engine.spec.inputs import Inputs, Uses

KEPT = 0.9
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CHANCE = {"random": "random directions in the wider dictionary", "permuted": "firing dealt out anew"}


inputs = Inputs(uses={"saes": Uses("polysemanticity_sae", over="n_features", hands_over=True)})


class Params(FamilyParams):
    min_cosine: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A child's decoder direction has at least this cosine with its parent's."""
    min_given: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The parent fires on at least this share of the child's tokens."""
    tokens: Annotated[int, Field(gt=0)] | None = None
    """As the dictionaries were given it, so that the same contexts are held out."""
    context_tokens: Annotated[int, Field(gt=1)] = 128
    """As the dictionaries were given it."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """As the dictionaries were given it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the random directions and the permutation."""


def run(lab: Lab, params: Params) -> Result:
    """Children of the narrowest dictionary in the widest, by chance, and from each width to the next."""
    coders = _coders(lab)
    held = _held_out(lab, params, next(iter(coders.values())).d)
    codes = {}
    for done, (width, coder) in enumerate(coders.items()):
        lab.progress(0.3 + 0.5 * done / len(coders), f"encoding with {width:,} latents")
        codes[width] = held.codes(coder)
    narrow, wide = min(coders), max(coders)
    lab.progress(0.8, "chance")
    kin = related(coders[narrow], codes[narrow], coders[wide], codes[wide])
    by_chance = _by_chance(coders, codes, held, params.seed)
    if not len(kin.live_parents):
        raise DataError(
            f"no latent of the narrowest dictionary, {narrow:,} wide, is live",
            expected="latents that fire on held-out tokens",
            seen=f"0 of {narrow:,}",
        )
    found = _evidence(kin, params, "", "")
    return Result(
        findings=[
            *found,
            _kept(kin),
            *_of_children(kin, params),
            count("n_features_narrow", narrow, unit="latent", about="Width of the narrowest dictionary."),
            count("n_features_wide", wide, unit="latent", about="Width of the widest dictionary."),
        ],
        controls=[m for who, other in by_chance.items() for m in _evidence(other, params, who, CHANCE[who])],
        checks=sae_receipts(lab.model, held.texts(8)[0]),
        tables=_tables({"trained": kin, **by_chance}, coders, codes, params),
        figures=FIGURES,
    )


def _coders(lab: Lab) -> dict[int, Coder]:
    """The dictionaries by width, narrowest first."""
    by_width = lab.used_over("saes", "n_features")
    coders = [coder_of(result.arrays, f"the run of {width} latents") for width, result in by_width.items()]
    return {coder.n_features: coder for coder in sorted(coders, key=lambda c: c.n_features)}


def _held_out(lab: Lab, params: Params, d: int) -> HeldOutActivations:
    acts = harvested(lab, [lab.hook_site], tokens=params.tokens, context_tokens=params.context_tokens)
    if acts.d != d:
        raise DataError(
            f"the dictionaries were not trained at {lab.hook_site}",
            expected=f"activations of {d} dimensions",
            seen=f"{acts.d}",
        )
    return HeldOutActivations.of(acts.split(params.held_out)[1], acts.site)


def related(parent: Coder, parent_codes: Codes, child: Coder, child_codes: Codes) -> Kinship:
    """Two dictionaries' latents on the same tokens."""
    return kinship(parent.W_dec, parent_codes, child.W_dec, child_codes)


def _by_chance(
    coders: Mapping[int, Coder], codes: Mapping[int, Codes], held: HeldOutActivations, seed: int
) -> dict[str, Kinship]:
    """The narrowest dictionary against random directions, and against the widest's own, relabelled."""
    narrow, wide = min(coders), max(coders)
    drawn = random_coder(coders[wide].d, wide, coders[wide].k, seed=seed, mean=coders[wide].b_dec)
    shuffled = relabelled(codes[wide], seed)
    return {
        "random": related(coders[narrow], codes[narrow], drawn, held.codes(drawn)),
        "permuted": related(coders[narrow], codes[narrow], coders[wide], shuffled),
    }


def _evidence(kin: Kinship, params: Params, who: str, how: str) -> list[Measurement]:
    """Splits and children of the live parents, of the dictionary itself or by chance."""
    children = kin.children(params.min_cosine, params.min_given)
    ids, by = kin.live_parents, f"; {how}" if how else ""

    def over_parents(name: str, values: np.ndarray, about: str) -> Measurement:
        control = "" if who else f"random_{name}"
        full = f"{who}_{name}" if who else name
        return measure(full, values, unit="latent", ids=ids, about=f"{about}{by}.", control=control)

    return [
        over_parents("frac_split", children >= 2, "Share of live parents with two children or more"),
        over_parents("children_per_parent", children, "Mean number of children of a live parent"),
    ]


def _kept(kin: Kinship) -> Measurement:
    kept, about = kin.best_child_cosine[kin.live_parents] >= KEPT, f"a latent at a cosine of {KEPT} or more"
    text = f"Share of live parents for which the wider dictionary has {about}."
    return measure("frac_kept", kept, unit="latent", ids=kin.live_parents, about=text)


def _of_children(kin: Kinship, params: Params) -> list[Measurement]:
    """How many children have a parent, and how much of the split parents' firing children cover."""
    thresholds = params.min_cosine, params.min_given
    about = "Share of live latents of the wider dictionary that have a parent."
    live = np.flatnonzero(kin.live_children)
    if not len(live):
        return []
    has_parent = kin.is_child(*thresholds)[live]
    found = [measure("frac_with_parent", has_parent, unit="latent", ids=live, about=about)]
    split = kin.children(*thresholds) >= 2
    if split.any():
        about = "Share of a split parent's tokens on which at least one of its children fires; mean."
        covered, ids = kin.covered(*thresholds)[split], kin.live_parents[split]
        found.append(measure("covered_by_children", covered, unit="latent", ids=ids, about=about))
    return found


def _tables(
    kin: Mapping[str, Kinship], coders: Mapping[int, Coder], codes: Mapping[int, Codes], params: Params
) -> dict[str, pd.DataFrame]:
    trained, thresholds = kin["trained"], (params.min_cosine, params.min_given)
    by_cosine = [
        {
            "dictionary": who,
            "min_cosine": cosine,
            "frac_split": float((k.children(cosine, params.min_given) >= 2).mean()),
        }
        for who, k in kin.items()
        for cosine in THRESHOLDS
    ]
    by_pair = []
    for narrow, wide in pairwise(coders):
        pair = related(coders[narrow], codes[narrow], coders[wide], codes[wide])
        row = {"narrower": narrow, "wider": wide, "live_parents": len(pair.live_parents)}
        if len(pair.live_parents):
            split, children = _evidence(pair, params, "", "")
            row |= {"frac_split": split.value, "low": split.low, "high": split.high}
            row |= {"children_per_parent": children.value, "frac_kept": _kept(pair).value}
        by_pair.append(row)
    parents = trained.live_parents
    per_parent = pd.DataFrame(
        {
            "parent": parents,
            "children": trained.children(*thresholds),
            "best_child_cosine": trained.best_child_cosine[parents],
            "covered": trained.covered(*thresholds),
            "fired_tokens": trained.parent_fired[parents],
        }
    )
    return {
        "per_parent": per_parent,
        "by_cosine": pd.DataFrame(by_cosine),
        "by_pair": pd.DataFrame(by_pair).astype({"low": float, "high": float}, errors="ignore"),
    }


FIGURES = {
    "splits": Figure(
        "line",
        "by_cosine",
        {"x": "min_cosine", "y": "frac_split", "color": "dictionary"},
        "How many parents split",
        "Share of live parents with two children or more, by the cosine that a child must have.",
        {"x_title": "least cosine of a child with its parent", "y_title": "share of parents that split"},
    ),
    "children": Figure(
        "ecdf",
        "per_parent",
        {"x": "children"},
        "Children of a parent",
        "Share of live parents with at most that many children in the wider dictionary.",
    ),
}


def calibrate() -> list[Calibration]:
    """Of 40 planted features the wider dictionary splits 20 in two; firing dealt out anew splits none."""
    parents = known_dictionary(64, 40, seed=1)
    children = split_features(parents, 20, children=2, cosine=0.85, seed=2)
    x = next(sparse_batches(children, active=2, batch_size=6000, n_batches=1, seed=3))
    narrow, wide = tied_coder(parents, 4), tied_coder(children, 4)
    codes = narrow.codes(x), wide.codes(x)
    kin = related(narrow, codes[0], wide, codes[1])
    shuffled = related(narrow, codes[0], wide, relabelled(codes[1], seed=4))
    params = Params()
    split, by_chance = (
        float((k.children(params.min_cosine, params.min_given) >= 2).mean()) for k in (kin, shuffled)
    )
    mothers = torch.arange(40).repeat_interleave(torch.tensor([2] * 20 + [1] * 20)).numpy()
    right = float((kin.nearest == mothers).mean())
    return [
        known_answer("planted splits", "Share of parents that split.", split, 0.5),
        known_answer("planted parents", "Share of children given to their own parent.", right, 1),
        known_answer("splits by chance", "The same, firing dealt out anew.", by_chance, 0, 0.05),
    ]
