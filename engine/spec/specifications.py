"""The multiverse of a claim: every combination of the choices that it should survive, as runs to measure.

A claim's `across` names parameters of experiments with the values that each may have. One combination is a
specification. It changes the experiments whose parameters it sets, and all that build on them; every other
experiment stays as the spec has it. A changed experiment is measured like a sweep point: its point holds what
is set otherwise than in the spec, `patching[metric=kl]`, and of an experiment that it builds on by full name,
`agreement[patching.metric=kl]`. What equals the spec's own value is left out, so that the combination of all
own values is the experiment itself, and claims share the runs of equal combinations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from engine.evidence.claims import parse
from engine.spec.models import Claim, Scalar, Spec
from engine.spec.points import FamilyCatalog, Point, params_at, point_label, points

MAX_SPECIFICATIONS = 1_000

Settings = tuple[tuple[str, Scalar], ...]
"""What a specification changes, by full name in alphabetical order: (("patching.metric", "kl"),)."""


@dataclass(frozen=True)
class Specification:
    """One combination: `choices` as the claim writes them, `settings` what of them differs from the spec."""

    choices: Mapping[str, Scalar]
    settings: Settings

    def number(self, name: str, spec: Spec) -> str:
        """The number that stands for `experiment.measurement` under this specification."""
        label, _, measurement = name.rpartition(".")
        return f"{self.label(label, spec)}.{measurement}"

    def label(self, label: str, spec: Spec) -> str:
        """`patching[metric=kl]` for `patching`; a sweep point keeps its own values in front."""
        experiment, bracket, inside = label.partition("[")
        point = settings_of(experiment, self.settings, spec)
        if not point:
            return label
        changed = point_label(experiment, point)
        return f"{experiment}[{inside.removesuffix(']')},{changed.partition('[')[2]}" if bracket else changed


def n_specifications(claim: Claim) -> int:
    """How many combinations a claim's choices have, without making them; 1 where it names none."""
    return math.prod(len(values) for values in claim.across.values())


def specifications(spec: Spec, claim: Claim, catalog: FamilyCatalog) -> list[Specification]:
    """Every combination of the claim's choices, the last one named varying fastest."""
    own = {key: own_value(spec, key, catalog) for key in claim.across}
    found = []
    for values in itertools.product(*claim.across.values()):
        choices = dict(zip(claim.across, values, strict=True))
        # In one order whatever the claim's is, so that equal combinations have one name.
        changed = tuple((key, choices[key]) for key in sorted(choices) if choices[key] != own[key])
        found.append(Specification(choices, changed))
    return found


def own_value(spec: Spec, key: str, catalog: FamilyCatalog) -> Scalar:
    """What the spec itself has for `experiment.parameter`, the family's default where it sets none."""
    name, _, parameter = key.partition(".")
    experiment = spec.experiments[name]
    # At any point of a sweep: a choice varies a parameter that the sweep does not.
    params = params_at(experiment, next(iter(points(experiment))), catalog)
    return params.model_dump(mode="json")[parameter]


def settings_of(experiment: str, settings: Settings, spec: Spec) -> Point:
    """What a specification changes for one experiment: its own parameters by name, others' in full."""
    changed: Point = {}
    for key, value in inherited(experiment, settings, spec):
        name, _, parameter = key.partition(".")
        changed[parameter if name == experiment else key] = value
    return changed


def upstream(spec: Spec, experiment: str) -> list[str]:
    """All experiments that one builds on, directly or not."""
    found: dict[str, None] = {}
    for used in spec.experiments[experiment].uses.values():
        found |= dict.fromkeys([used, *upstream(spec, used)])
    return list(found)


def specified_settings(spec: Spec, catalog: FamilyCatalog) -> dict[str, list[Settings]]:
    """By experiment, the settings of its runs beyond those that the spec has itself, each once.

    Only of experiments that a claim with choices names, and of those that these build on.
    """
    found: dict[str, list[Settings]] = {name: [] for name in spec.experiments}
    for claim in spec.claims.values():
        if not claim.across:
            continue
        named = {name.rpartition(".")[0].partition("[")[0] for name in claim_names(claim)}
        needed = {other for name in named for other in (name, *upstream(spec, name))}
        for specification in specifications(spec, claim, catalog):
            for experiment in needed:
                settings = inherited(experiment, specification.settings, spec)
                if settings and settings not in found[experiment]:
                    found[experiment].append(settings)
    return found


def inherited(experiment: str, settings: Settings, spec: Spec) -> Settings:
    """The part of the settings that changes an experiment: its own, and those of what it builds on."""
    closure = {experiment, *upstream(spec, experiment)}
    return tuple((key, value) for key, value in settings if key.partition(".")[0] in closure)


def claim_names(claim: Claim) -> list[str]:
    """Every number that a claim, or what it rests on, names, each once."""
    texts = (claim.holds, *claim.requires, *claim.valid_if)
    return list(dict.fromkeys(name for text in texts for name in parse(text).names))
