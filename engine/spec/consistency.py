"""Whether the parts of a spec fit each other and the families they name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from engine.errors import ClaimError, SpecError, nearest
from engine.evidence.claims import parse
from engine.spec.document import Loc, shown
from engine.spec.inputs import Inputs, Uses
from engine.spec.models import Claim, Experiment, Spec
from engine.spec.points import (
    FamilyCatalog,
    experiment_order,
    n_points,
    point_label,
    points,
    site_parameters,
    with_point,
)
from engine.spec.problems import Problem, problems_of, strictly
from engine.spec.sites import validate_site
from engine.spec.specifications import MAX_SPECIFICATIONS, claim_names, n_specifications, upstream

MAX_POINTS = 10_000


def inconsistencies(spec: Spec, data: dict[str, Any], catalog: FamilyCatalog) -> Iterator[Problem]:
    """Every problem that shows only when parts are read together; `data` is the spec as written."""
    yield from _repeated(spec.models, ("models",), "the model")
    yield from _repeated_names(spec)
    for name, experiment in spec.experiments.items():
        loc = ("experiments", name)
        yield from _sites(experiment, loc, catalog)
        yield from _models(spec, experiment, loc)
        yield from _sweep(experiment, data["experiments"][name], loc)
        yield from _family(experiment, loc, catalog)
        yield from _inputs(spec, experiment, loc, catalog)
    yield from _uses(spec)
    yield from _claims(spec)
    yield from _across(spec, catalog)
    yield from _assumptions(spec)


def _repeated(values: Sequence[Any], loc: Loc, what: str) -> Iterator[Problem]:
    # As JSON, since to Python 1, 1.0 and True are equal and here they are different values.
    written = [json.dumps(value) for value in values]
    for i, value in enumerate(written):
        if value in written[:i]:
            error = SpecError(f"{what} {shown(values[i])} is given twice", expected="each once")
            yield Problem((*loc, i), error)


def _repeated_names(spec: Spec) -> Iterator[Problem]:
    names = [(e.name, key) for key, e in spec.experiments.items() if e.name]
    for i, (name, key) in enumerate(names):
        if name in [n for n, _ in names[:i]]:
            error = SpecError(f"two experiments are called {name!r}", expected="a name of its own")
            yield Problem(("experiments", key, "name"), error)


def _sites(experiment: Experiment, loc: Loc, catalog: FamilyCatalog) -> Iterator[Problem]:
    """The experiment's own hook site, and those that its parameters name."""
    yield from _site(experiment.hook_site, (*loc, "hook_site"))
    for section, given in (("parameters", experiment.parameters), ("sweep", experiment.sweep)):
        for name, value in site_parameters(experiment.family, given, catalog).items():
            place = (*loc, section, name)
            if not isinstance(value, list):
                yield from _site(value, place)
                continue
            for i, site in enumerate(value):
                yield from _site(site, (*place, i))
            # Values of a sweep are told apart with all other sweeps.
            if section == "parameters":
                yield from _repeated(value, place, "the hook site")


def _site(site: Any, loc: Loc) -> Iterator[Problem]:
    # What is no text is told as the wrong kind of value, with the other parameters.
    if isinstance(site, str):
        try:
            validate_site(site)
        except SpecError as error:
            yield Problem(loc, error)


def _models(spec: Spec, experiment: Experiment, loc: Loc) -> Iterator[Problem]:
    chosen = experiment.models or []
    yield from _repeated(chosen, (*loc, "models"), "the model")
    for i, model in enumerate(chosen):
        if model not in spec.models:
            yield Problem((*loc, "models", i), _unknown("model of this spec", model, spec.models))
    for role, used in experiment.uses.items():
        # That it does not exist is told elsewhere, once.
        if used not in spec.experiments:
            continue
        there = spec.experiments[used].models or spec.models
        missing = [model for model in chosen or spec.models if model not in there]
        if missing:
            error = SpecError(
                f"{used} is not measured on {', '.join(missing)}",
                expected="what an experiment uses to be measured on all of its models",
            )
            yield Problem((*loc, "uses", role), error)


def _sweep(experiment: Experiment, written: dict[str, Any], loc: Loc) -> Iterator[Problem]:
    # In the data as written: the model has an empty sweep as its default too.
    if written.get("sweep") == {}:
        yield Problem((*loc, "sweep"), SpecError("an empty sweep", expected="parameter: [value, value, ...]"))
    # Counted without making the points: three axes of a thousand values would fill the memory.
    if (count := n_points(experiment)) > MAX_POINTS:
        most = f"at most {MAX_POINTS:,} runs"
        error = SpecError("the sweep is too large", expected=most, seen=f"{count:,}")
        yield Problem((*loc, "sweep"), error)
    for key, values in experiment.sweep.items():
        yield from _repeated(values, (*loc, "sweep", key), "the value")
        if key in experiment.parameters:
            error = SpecError(f"{key} is both set and swept", expected="it under parameters or under sweep")
            yield Problem((*loc, "sweep", key), error, True)


def _family(experiment: Experiment, loc: Loc, catalog: FamilyCatalog) -> Iterator[Problem]:
    if experiment.family not in catalog.names():
        yield Problem((*loc, "family"), _unknown("family", experiment.family, catalog.names()))
        return
    fields = list(catalog.params(experiment.family).model_fields)
    strange = [key for key in experiment.sweep if key not in fields]
    for key in strange:
        error = _unknown(f"parameter of {experiment.family}", key, fields)
        yield Problem((*loc, "sweep", key), error, True)
    # Parameters that do not exist would be refused at every point again.
    if not strange and n_points(experiment) <= MAX_POINTS:
        yield from _parameters(experiment, loc, catalog)


def _parameters(experiment: Experiment, loc: Loc, catalog: FamilyCatalog) -> Iterator[Problem]:
    """What the family refuses at any sweep point, each thing once."""
    model = catalog.params(experiment.family)
    # One wrong value is wrong at many points of a sweep.
    told = set()
    for point in points(experiment):
        given = with_point(experiment, point).parameters
        try:
            strictly(model, given)
        except ValidationError as error:
            for problem in problems_of(error, model, given):
                place = _written_at(problem.loc, experiment, point, loc)
                fault = problem.error
                # A rule between parameters has no key of its own: the point says which values broke it.
                if not problem.loc and point:
                    fault = SpecError(f"{fault.problem}, at {point_label('', point)}")
                if (place, fault.problem) not in told:
                    told.add((place, fault.problem))
                    yield Problem(place, fault, problem.on_key)


def _written_at(inner: Loc, experiment: Experiment, point: dict[str, Any], loc: Loc) -> Loc:
    """Where a parameter's value was written: under `sweep` if it is swept."""
    key = str(inner[0]) if inner else ""
    if key in point:
        return (*loc, "sweep", key, experiment.sweep[key].index(point[key]), *inner[1:])
    return (*loc, "parameters", *inner)


def _inputs(spec: Spec, experiment: Experiment, loc: Loc, catalog: FamilyCatalog) -> Iterator[Problem]:
    """What the family needs and is not named, and what is named and the family never reads."""
    inputs = catalog.inputs(experiment.family) if experiment.family in catalog.names() else None
    if inputs is None:
        return
    reads = {"prompts": inputs.prompts is not None, "corpus": inputs.corpus, "hook_site": inputs.site}
    handed_over = handed_over_by(spec, experiment, catalog)
    for key, is_read in reads.items():
        given = getattr(experiment, key)
        if is_read and given is None:
            error = SpecError(f"{experiment.family} needs {NOUNS[key]}", expected=EXAMPLES[key], seen="none")
            yield Problem(loc, error)
        # What the runs used hand over may be repeated, as `with_handed_over` writes it out; another value may
        # not.
        elif not is_read and given is not None and given != getattr(handed_over, key, None):
            yield Problem((*loc, key), _unread(experiment.family, key, inputs), True)
    yield from _roles(spec, experiment, loc, inputs)


NOUNS = {"prompts": "prompts", "corpus": "a corpus", "hook_site": "a hook site"}
EXAMPLES = {
    "prompts": "prompts: {name: facts}",
    "corpus": "corpus: {name: smollm2-samples, tokens: 200_000}",
    "hook_site": "hook_site: blocks.50%.hook_resid_post",
}


def _unread(family: str, key: str, inputs: Inputs) -> SpecError:
    """The error for an input that the family would ignore."""
    if any(uses.hands_over for uses in inputs.uses.values()) and key != "prompts":
        hint = "leave it out: it is that of the runs used"
    else:
        hint = "leave it out, or choose a family that reads it (engine families)"
    return SpecError(f"{family} reads no {key}", expected=_in_words(inputs), seen=key, hint=hint)


def _in_words(inputs: Inputs) -> str:
    """`a corpus, a hook site`: all that a family reads."""
    kinds = {"prompts": inputs.prompts, "corpus": inputs.corpus, "hook_site": inputs.site}
    named = [NOUNS[key] for key, is_read in kinds.items() if is_read]
    named += [f"hook sites as parameters: {{{name}: ...}}" for name in inputs.site_parameters]
    used = [f"uses: {{{role}: a {uses.family} experiment}}" for role, uses in inputs.uses.items()]
    return ", ".join([*named, *used]) or "nothing but the model"


def _roles(spec: Spec, experiment: Experiment, loc: Loc, inputs: Inputs) -> Iterator[Problem]:
    """Whether the experiments used are those that the family builds on."""
    family = experiment.family
    for role in experiment.uses:
        if role not in inputs.uses:
            yield Problem((*loc, "uses", role), _unknown(f"role of {family}", role, inputs.uses), True)
    for role, uses in inputs.uses.items():
        if role not in experiment.uses and uses.optional:
            continue
        if role not in experiment.uses:
            expected = f"uses: {{{role}: EXPERIMENT}}, of the family {uses.family}"
            error = SpecError(f"{family} builds on another experiment as {role!r}", expected=expected)
            yield Problem(loc, error)
            continue
        used = spec.experiments.get(experiment.uses[role])
        if used is not None and (error := _unfit(family, role, uses, used)):
            yield Problem((*loc, "uses", role), error)


def _unfit(family: str, role: str, uses: Uses, used: Experiment) -> SpecError | None:
    """Why an experiment cannot be used in a role; None where it can."""
    if used.family != uses.family:
        expected = f"a {uses.family} experiment"
        return SpecError(f"{family} builds on {uses.family} as {role!r}", expected=expected, seen=used.family)
    swept_as_wanted = list(used.sweep) == ([uses.over] if uses.over else [])
    if swept_as_wanted and (not uses.over or n_points(used) > 1):
        return None
    swept = ", ".join(f"{key} over {len(values)}" for key, values in used.sweep.items()) or "no sweep"
    if not uses.over:
        return SpecError(f"{family} builds on one run as {role!r}", expected="no sweep", seen=swept)
    return SpecError(
        f"{family} compares runs that differ in {uses.over} alone",
        expected=f"an experiment with sweep: {{{uses.over}: [...]}} of two values or more",
        seen=swept,
        hint=f"for each value of anything else, one experiment and one of {family} that uses it",
    )


def handed_over_by(spec: Spec, experiment: Experiment, catalog: FamilyCatalog) -> Experiment | None:
    """The experiment used whose text and hook site this one reads; None where its family reads its own."""
    inputs = catalog.inputs(experiment.family) if experiment.family in catalog.names() else None
    for role, uses in (inputs.uses if inputs else {}).items():
        if uses.hands_over:
            return spec.experiments.get(experiment.uses.get(role, ""))
    return None


def with_handed_over(spec: Spec, catalog: FamilyCatalog) -> Spec:
    """The spec in which every experiment names the text and the hook site that it reads."""
    experiments = dict(spec.experiments)
    # In this order what hands over has already been given its own.
    for name in experiment_order(spec):
        experiment = experiments[name]
        used = handed_over_by(spec.model_copy(update={"experiments": experiments}), experiment, catalog)
        if used is not None:
            read = {"corpus": used.corpus, "hook_site": used.hook_site}
            experiments[name] = experiment.model_copy(update=read)
    return spec.model_copy(update={"experiments": experiments})


def _uses(spec: Spec) -> Iterator[Problem]:
    uses = [(key, role, used) for key, e in spec.experiments.items() for role, used in e.uses.items()]
    strangers = [use for use in uses if use[2] not in spec.experiments]
    for key, role, used in strangers:
        yield Problem(("experiments", key, "uses", role), _unknown("experiment", used, spec.experiments))
    # An order is only defined where all that is used exists.
    if strangers:
        return
    try:
        experiment_order(spec)
    except SpecError as error:
        first = error.seen.split(" uses ")[0]
        yield Problem(("experiments", first, "uses"), error)


def _claims(spec: Spec) -> Iterator[Problem]:
    texts: list[tuple[Loc, str]] = []
    for claim_id, claim in spec.claims.items():
        loc = ("claims", claim_id)
        texts.append(((*loc, "holds"), claim.holds))
        for key in ("requires", "valid_if"):
            texts += [((*loc, key, i), text) for i, text in enumerate(getattr(claim, key))]
    # Too many labels to list; that the sweep is too large is told already.
    if any(n_points(e) > MAX_POINTS for e in spec.experiments.values()):
        return
    labels = {name: [point_label(name, p) for p in points(e)] for name, e in spec.experiments.items()}
    for loc, text in texts:
        try:
            names = parse(text).names
        except ClaimError as error:
            yield Problem(loc, error)
            continue
        yield from itertools.chain.from_iterable(_number(name, loc, labels) for name in dict.fromkeys(names))
    yield from _key_numbers(spec, labels)


def _key_numbers(spec: Spec, labels: dict[str, list[str]]) -> Iterator[Problem]:
    """Whether key numbers and their controls are of this spec, each number once and none its own control."""
    loc = ("key_numbers",)
    yield from _repeated([key.number for key in spec.key_numbers], loc, "the key number")
    for i, key in enumerate(spec.key_numbers):
        yield from _number(key.number, (*loc, i, "number"), labels)
        if key.control is None:
            continue
        yield from _number(key.control, (*loc, i, "control"), labels)
        if key.control == key.number:
            error = SpecError(f"{key.number} is its own control", expected="another number", seen=key.control)
            yield Problem((*loc, i, "control"), error)


def _across(spec: Spec, catalog: FamilyCatalog) -> Iterator[Problem]:
    """Whether the choices of each claim are parameters of what it rests on, with values that these take."""
    for claim_id, claim in spec.claims.items():
        loc = ("claims", claim_id, "across")
        if claim.share < 1 and not claim.across:
            error = SpecError("a share of specifications, of which there is one", expected="across: {...}")
            yield Problem(("claims", claim_id, "share"), error, True)
        if (count := n_specifications(claim)) > MAX_SPECIFICATIONS:
            most = f"at most {MAX_SPECIFICATIONS:,} specifications"
            yield Problem(loc, SpecError("too many combinations", expected=most, seen=f"{count:,}"))
            continue
        wrong = [problem for key in claim.across for problem in _choice(spec, claim, key, loc, catalog)]
        yield from wrong or _combinations(spec, claim, loc, catalog)


def _choice(spec: Spec, claim: Claim, key: str, loc: Loc, catalog: FamilyCatalog) -> Iterator[Problem]:
    """Whether `experiment.parameter` can be chosen for a claim."""
    name, _, parameter = key.partition(".")
    yield from _repeated(claim.across[key], (*loc, key), "the value")
    if name not in spec.experiments:
        yield Problem((*loc, key), _unknown("experiment", name, spec.experiments), True)
        return
    experiment = spec.experiments[name]
    # An unknown family is told elsewhere, once.
    if experiment.family not in catalog.names():
        return
    fields = list(catalog.params(experiment.family).model_fields)
    if parameter not in fields:
        error = _unknown(f"parameter of {experiment.family}", parameter, fields)
        yield Problem((*loc, key), error, True)
    elif parameter in experiment.sweep:
        expected = "a parameter that is not swept, or the sweep's points by name in the claim"
        yield Problem((*loc, key), SpecError(f"{name} is swept over {parameter}", expected=expected), True)
    elif name not in _rests_on(spec, claim):
        hint = f"name a number of {name}, or of what builds on it, in the claim"
        error = SpecError(f"the claim rests on nothing of {name}", expected="what can change it", hint=hint)
        yield Problem((*loc, key), error, True)


def _rests_on(spec: Spec, claim: Claim) -> set[str]:
    """The experiments whose numbers a claim names, and those that these build on."""
    # A claim that cannot be parsed, or circles of experiments, are told elsewhere.
    try:
        experiment_order(spec)
        named = {name.split("[")[0].rpartition(".")[0] or name.split("[")[0] for name in claim_names(claim)}
    except (ClaimError, SpecError, KeyError):
        return set(spec.experiments)
    known = [name for name in named if name in spec.experiments]
    return {other for name in known for other in (name, *upstream(spec, name))}


def _combinations(spec: Spec, claim: Claim, loc: Loc, catalog: FamilyCatalog) -> Iterator[Problem]:
    """What a family refuses of the values that are chosen for it, each thing once."""
    for name in dict.fromkeys(key.partition(".")[0] for key in claim.across):
        experiment = spec.experiments[name]
        if experiment.family not in catalog.names():
            continue
        chosen = {k.partition(".")[2]: v for k, v in claim.across.items() if k.partition(".")[0] == name}
        swept = experiment.model_copy(update={"sweep": experiment.sweep | chosen})
        for problem in _parameters(swept, ("",), catalog):
            place = problem.loc[1:]
            # `_parameters` finds a chosen value under the sweep that was made of it; what it finds elsewhere
            # is wrong with the experiment itself, and told there.
            if place[:1] == ("sweep",) and place[1] in chosen:
                yield Problem((*loc, f"{name}.{place[1]}", *place[2:]), problem.error, problem.on_key)
            elif place == ("parameters",):
                yield Problem(loc, problem.error)


def _assumptions(spec: Spec) -> Iterator[Problem]:
    """What is said to stress an assumption must be there: a claim or an experiment of this spec."""
    known = [*spec.claims, *spec.experiments]
    for i, assumption in enumerate(spec.assumptions):
        loc = ("assumptions", i, "stressed_by")
        yield from _repeated(assumption.stressed_by, loc, "what stresses it")
        for j, name in enumerate(assumption.stressed_by):
            if name not in known:
                yield Problem((*loc, j), _unknown("claim or experiment", name, known))


def _number(name: str, loc: Loc, labels: dict[str, list[str]]) -> Iterator[Problem]:
    """Whether `experiment.measurement` names an experiment, and a sweep point where there are several."""
    label, _, measurement = name.rpartition(".")
    # `layer0[seed=3]` is a point of the experiment layer0.
    experiment = label.split("[")[0]
    if not label or not measurement:
        expected = "experiment.measurement, as in lens.commit_layer"
        yield Problem(loc, SpecError(f"{name!r} is not the name of a number", expected=expected))
    elif experiment not in labels:
        yield Problem(loc, _unknown("experiment", experiment, labels))
    elif label not in labels[experiment]:
        error = SpecError(
            f"{name} names no run",
            expected=f"{_first_few(labels[experiment])}, then .{measurement}",
            near=[f"{near}.{measurement}" for near in nearest(label, labels[experiment])],
        )
        yield Problem(loc, error)


def _first_few(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + (f" (one of {len(labels)})" if len(labels) > 5 else "")


def _unknown(what: str, name: str, valid: Any) -> SpecError:
    names = list(valid)
    return SpecError(
        f"unknown {what} {name!r}",
        expected="one of " + ", ".join(names) if names else f"a {what}, of which there are none",
        seen=repr(name),
        near=nearest(name, names),
    )
