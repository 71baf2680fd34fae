"""Sweep points, the parameters at each of them, and the order that experiments run in."""

from __future__ import annotations

import graphlib
import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from pydantic import BaseModel

from engine.errors import SpecError
from engine.spec.inputs import PAIRS, Inputs, PromptKind
from engine.spec.models import Experiment, PromptChoice, Scalar, Spec
from engine.spec.problems import strictly

Point = dict[str, Scalar]


class FamilyCatalog(Protocol):
    """What a spec must know of the families, which it may not import."""

    def names(self) -> list[str]: ...

    def params(self, name: str) -> type[BaseModel]: ...

    def inputs(self, name: str) -> Inputs | None:
        """What the family reads; None where it does not say, and any input is let through."""
        ...


def points(experiment: Experiment) -> list[Point]:
    """The product of the swept values, the last parameter fastest; [{}] without a sweep."""
    values = itertools.product(*experiment.sweep.values())
    return [dict(zip(experiment.sweep, chosen, strict=True)) for chosen in values]


def n_points(experiment: Experiment) -> int:
    """How many sweep points there are, without making them."""
    # The empty product is 1: no sweep is one point.
    return math.prod(len(values) for values in experiment.sweep.values())


def point_label(name: str, point: Mapping[str, object]) -> str:
    """`lens`, or `layer0[seed=3]` at a sweep point, as reports and claims name it."""
    inside = ",".join(f"{key}={value}" for key, value in point.items())
    return f"{name}[{inside}]" if inside else name


def with_point(experiment: Experiment, point: Mapping[str, Scalar]) -> Experiment:
    """The experiment at one sweep point: its values among the parameters, and no sweep.

    A point may also say what another experiment, which this one builds on, was given (`patching.metric`).
    """
    own = {key: value for key, value in point.items() if "." not in key}
    return experiment.model_copy(update={"parameters": experiment.parameters | own, "sweep": {}})


def params_at(experiment: Experiment, point: Mapping[str, Scalar], catalog: FamilyCatalog) -> BaseModel:
    """The family's parameters at one sweep point, validated, defaults filled in."""
    given = with_point(experiment, point).parameters
    return strictly(catalog.params(experiment.family), given)


def normalised(experiment: Experiment, point: Mapping[str, Scalar], catalog: FamilyCatalog) -> dict[str, Any]:
    """All that the experiment asks for at one point, as plain data with every default filled in.

    Two experiments that would measure the same thing are equal here, however they are written; what
    only names them (`name`, `models`) is left out. Made for hashing.
    """
    # As JSON, so that hashes do not depend on how Python shows a value.
    plain = experiment.model_dump(mode="json", exclude={"name", "models", "sweep", "parameters"})
    if experiment.prompts and experiment.prompts.rows:
        # By its hash and not in full: what is asked is stored and published with every run.
        plain["prompts"]["rows"] = f"{len(experiment.prompts.rows)} rows, {experiment.prompts.rows_hash}"
    parameters = params_at(experiment, point, catalog).model_dump(mode="json")
    # A dictionary that is not given is left out: hashes are those from before a family could be given one.
    unset = [name for name in coder_fields(experiment.family, catalog) if parameters[name] is None]
    return plain | {"parameters": {name: value for name, value in parameters.items() if name not in unset}}


def prompt_kind(family: str, catalog: FamilyCatalog) -> PromptKind:
    """The kind of prompts that a family reads; pairs where it does not say."""
    inputs = catalog.inputs(family) if family in catalog.names() else None
    return (inputs.prompts if inputs else None) or PAIRS


def families_reading(kinds: Collection[str], catalog: FamilyCatalog) -> list[str]:
    """The families that read prompts of one of these kinds."""
    found = {name: catalog.inputs(name) for name in catalog.names()}
    return [name for name, inputs in found.items() if inputs and inputs.prompts in kinds]


def second_model_field(family: str, catalog: FamilyCatalog) -> str:
    """The parameter by which an experiment names a model to read beside its own; empty where there is none.

    A published run may be of a family that is not known here any more, of which nothing can be said.
    """
    inputs = catalog.inputs(family) if family in catalog.names() else None
    return inputs.second_model if inputs else ""


def coder_fields(family: str, catalog: FamilyCatalog) -> tuple[str, ...]:
    """The parameters by which an experiment names dictionaries that were trained elsewhere."""
    inputs = catalog.inputs(family) if family in catalog.names() else None
    return inputs.coder_parameters if inputs else ()


def prompt_parameters(
    family: str, parameters: Mapping[str, Any], catalog: FamilyCatalog
) -> dict[str, tuple[PromptChoice, PromptKind]]:
    """The prompt sets that an experiment's parameters name beside its own prompts, each as which kind."""
    inputs = catalog.inputs(family) if family in catalog.names() else None
    kinds = inputs.prompt_parameters if inputs else {}
    named = {field: parameters.get(field) for field in kinds}
    return {field: (PromptChoice(name=name), kinds[field]) for field, name in named.items() if name}


def site_parameters(family: str, parameters: Mapping[str, Any], catalog: FamilyCatalog) -> dict[str, Any]:
    """Those of an experiment's parameters that name hook sites, each as it is written: a text or a list."""
    inputs = catalog.inputs(family) if family in catalog.names() else None
    names = inputs.site_parameters if inputs else ()
    return {name: parameters[name] for name in names if parameters.get(name) not in (None, [])}


def experiment_order(spec: Spec) -> list[str]:
    """The experiments by name, each after those it uses; SpecError where they go in a circle."""
    # Lists and not sets, so that the order is the same in every process.
    graph = {name: list(dict.fromkeys(e.uses.values())) for name, e in spec.experiments.items()}
    try:
        return list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        # graphlib lists a circle from what is used to what uses it.
        circle = error.args[1][::-1]
        raise SpecError(
            "experiments use each other in a circle",
            expected="each experiment to use only others that do not lead back to it",
            seen=" uses ".join(circle),
        ) from None
