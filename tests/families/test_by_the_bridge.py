"""Families do not know which way a model is computed: through a bridge they find the same numbers."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from engine.evidence.result import Result
from engine.families import (
    caa_steering,
    circuit_patching,
    crosscoder,
    crosscoder_seeds,
    direct_logit_attribution,
    feature_splitting,
    logit_lens,
    method_agreement,
    polysemanticity_sae,
    refusal_direction,
    sae_evaluation,
    sae_stability,
    sparse_probing,
    tuned_lens,
)
from engine.families.caa_steering.planted_steering import INSTRUCTION, planted_steering
from engine.families.caa_steering.planted_steering import SITE as STEERED
from engine.lab.lab import Lab, Point, UsedRun
from engine.lab.planted import planted_lab, planted_text
from engine.lab.planted_gate import TEMPLATE, gate_lab
from engine.lab.sparse.run_arrays import coder_of
from engine.lab.sparse.saelens import write_saelens
from tests.families.sparse_lab import SITE, sparse_lab

TOLERANCE = 1e-3  # of a number that rests on ranks or on many steps of training; most differ by 1e-6
SAE = polysemanticity_sae.Params(
    n_features=96, k=6, batch_size=128, lr=1e-2, epochs=1, context_tokens=16, held_out=0.2
)
CROSSCODER = crosscoder.Params(
    sites=["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"],
    n_features=16,
    k=2,
    lr=1e-2,
    batch_size=64,
    epochs=1,
    context_tokens=16,
    held_out=0.2,
)


def by_the_bridge(lab: Lab) -> Lab:
    """The lab with a model for which the engine has no blocks of its own."""
    anatomy = replace(lab.model.anatomy, style="bridge")
    return replace(lab, model=replace(lab.model, anatomy=anatomy))


def is_bridged(lab: Lab) -> bool:
    return not lab.model.is_plain


def with_text(lab: Lab) -> Lab:
    return replace(lab, corpus=planted_text(lab.model))


def steered(lab: Lab) -> Result:
    told = caa_steering.Params(
        instruction=INSTRUCTION,
        layer=STEERED,
        coefficients=[4.0],
        open_prompts=4,
        new_tokens=2,
    )
    return caa_steering.run(lab, told)


def gated(lab: Lab) -> Result:
    # The planted model's tokenizer is made in code, and made anew where the model is replaced.
    lab.model.tokenizer.chat_template = TEMPLATE
    # Orthogonal weights are written into blocks of the engine's own, which a bridge has none of.
    told = refusal_direction.Params(
        positive_control="", weights=False, max_new_tokens=2, screen_prompts=4, n_random=2, n_shuffled=1
    )
    return refusal_direction.run(lab, told)


def probed(lab: Lab) -> Result:
    told = sparse_probing.Params(site="blocks.0.hook_resid_pre", max_k=4, control_draws=2)
    return sparse_probing.run(lab, told)


def fitted(lab: Lab) -> Result:
    assert lab.corpus is not None
    return tuned_lens.run(lab, tuned_lens.Params(tokens=len(lab.corpus.ids), context_tokens=8, held_out=0.25))


def trained(lab: Lab, **changed: int) -> Result:
    return polysemanticity_sae.run(lab, SAE.model_copy(update=changed))


def crosscoder_of(lab: Lab, seed: int = 0) -> Result:
    return crosscoder.run(replace(lab, hook_site=None), CROSSCODER.model_copy(update={"seed": seed}))


def swept(runs: Mapping[int, Result], parameter: str) -> dict[Point, UsedRun]:
    """Runs of the planted text, by the parameter in which they differ."""
    experiment = {"parameters": SAE.model_dump()}
    return {((parameter, value),): UsedRun(result, experiment) for value, result in runs.items()}


def evaluated(lab: Lab) -> Result:
    """A dictionary that was trained on the plain path, brought along."""
    coder = coder_of(found("polysemanticity_sae", bridged=False).arrays, "it")
    with tempfile.TemporaryDirectory() as folder:
        write_saelens(coder, Path(folder), model_name=lab.model.name, hook_name=SITE, k=SAE.k)
        params = sae_evaluation.Params(coder=folder, context_tokens=16, held_out=0.2, shown_latents=5)
        return sae_evaluation.run(lab, params)


def stable(lab: Lab) -> Result:
    saes = swept({0: found("polysemanticity_sae", bridged=is_bridged(lab)), 1: trained(lab, seed=1)}, "seed")
    return sae_stability.run(replace(lab, uses={"saes": saes}), sae_stability.Params())


def split(lab: Lab) -> Result:
    saes = swept({width: trained(lab, n_features=width) for width in (24, 48)}, "n_features")
    return feature_splitting.run(replace(lab, uses={"saes": saes}), feature_splitting.Params())


def seeds(lab: Lab) -> Result:
    crosscoders = swept({0: found("crosscoder", bridged=is_bridged(lab)), 1: crosscoder_of(lab, 1)}, "seed")
    return crosscoder_seeds.run(replace(lab, uses={"crosscoders": crosscoders}), crosscoder_seeds.Params())


def agreed(lab: Lab) -> Result:
    parts = {"lens": "logit_lens", "attribution": "direct_logit_attribution", "patching": "circuit_patching"}
    uses = {role: {(): UsedRun(found(family, bridged=is_bridged(lab)))} for role, family in parts.items()}
    return method_agreement.run(replace(lab, uses=uses), method_agreement.Params())


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
    "method_agreement": (planted_lab, agreed),
    "polysemanticity_sae": (sparse_lab, trained),
    "sae_evaluation": (sparse_lab, evaluated),
    "sae_stability": (sparse_lab, stable),
    "feature_splitting": (sparse_lab, split),
    "crosscoder": (sparse_lab, crosscoder_of),
    "crosscoder_seeds": (sparse_lab, seeds),
    "caa_steering": (lambda: planted_steering(listens=True), steered),
    "sparse_probing": (lambda: sparse_probing.planted_lab("neuron"), probed),
    "refusal_direction": (lambda: gate_lab(gates=True), gated),
}


@cache
def found(name: str, *, bridged: bool) -> Result:
    """What a family finds, measured once: others build on it."""
    lab, measured = FAMILIES[name]
    return measured(by_the_bridge(lab()) if bridged else lab())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_finds_through_a_bridge_what_it_finds_on_the_plain_path(name: str) -> None:
    plain = found(name, bridged=False)
    bridged = found(name, bridged=True)
    assert set(bridged.measurements) == set(plain.measurements)
    for number, expected in plain.measurements.items():
        seen = bridged.measurements[number].value
        assert math.isclose(seen, expected.value, rel_tol=TOLERANCE, abs_tol=TOLERANCE), number
    assert not bridged.failed_checks
