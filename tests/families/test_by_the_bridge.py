"""Families do not know which way a model is computed: through a bridge they find the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.evidence.result import Result
from engine.families import (
    circuit_patching,
    direct_logit_attribution,
    logit_lens,
    polysemanticity_sae,
    tuned_lens,
)
from engine.lab.lab import Lab
from engine.lab.planted import planted_lab, planted_text
from tests.families.sparse_lab import sparse_lab

TOLERANCE = 1e-3  # of a number that rests on ranks or on many steps of training; most differ by 1e-6


def by_the_bridge(lab: Lab) -> Lab:
    """The lab with a model for which the engine has no blocks of its own."""
    anatomy = replace(lab.model.anatomy, style="bridge")
    return replace(lab, model=replace(lab.model, anatomy=anatomy))


def with_text(lab: Lab) -> Lab:
    return replace(lab, corpus=planted_text(lab.model))


def fitted(lab: Lab) -> Result:
    assert lab.corpus is not None
    return tuned_lens.run(lab, tuned_lens.Params(tokens=len(lab.corpus.ids), context_tokens=8, held_out=0.25))


def trained(lab: Lab) -> Result:
    params = polysemanticity_sae.Params(
        n_features=96, k=6, batch_size=128, lr=1e-2, epochs=1, context_tokens=16, held_out=0.2
    )
    return polysemanticity_sae.run(lab, params)


FAMILIES: dict[str, tuple[Callable[[], Lab], Callable[[Lab], Result]]] = {
    "logit_lens": (planted_lab, lambda lab: logit_lens.run(lab, logit_lens.Params())),
    "direct_logit_attribution": (
        planted_lab,
        lambda lab: direct_logit_attribution.run(lab, direct_logit_attribution.Params()),
    ),
    "circuit_patching": (
        planted_lab,
        lambda lab: circuit_patching.run(lab, circuit_patching.Params(prompts_per_relation=4)),
    ),
    "tuned_lens": (lambda: with_text(planted_lab()), fitted),
    "polysemanticity_sae": (sparse_lab, trained),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_finds_through_a_bridge_what_it_finds_on_the_plain_path(name: str) -> None:
    lab, measured = FAMILIES[name]
    plain = measured(lab())
    bridged = measured(by_the_bridge(lab()))
    assert set(bridged.measurements) == set(plain.measurements)
    for number, expected in plain.measurements.items():
        seen = bridged.measurements[number].value
        assert math.isclose(seen, expected.value, rel_tol=TOLERANCE, abs_tol=TOLERANCE), number
    assert not bridged.failed_checks
