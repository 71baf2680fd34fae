"""A sweep laid over the experiment of a spec: `--axis parameters.k=8,16,32` as a spec of its own.

Parameters become the experiment's `sweep:`. A hook site or an amount of data is no parameter, so each of its
values becomes an experiment of its own, named after it. What the experiment uses comes along; claims,
headline and key numbers, which speak of the original's numbers, do not.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import SpecError, nearest
from engine.spec.consistency import inconsistencies, with_handed_over
from engine.spec.document import dotted, read_values, shown
from engine.spec.load import dump
from engine.spec.models import Scalar, Spec
from engine.spec.points import FamilyCatalog
from engine.spec.problems import Problem, problems_of, strictly

PARAMETERS = "parameters."
OTHER_AXES = ("hook_site", "corpus.tokens", "prompts.limit")  # each value is an experiment of its own
WRITTEN_BY = "# Written by `mech sweep`; written anew when the same file is named again."
SCHEMA = Path("site") / "schema" / "investigation.json"


@dataclass(frozen=True)
class Axis:
    """What varies, as `parameters.k`, and the values it takes."""

    key: str
    values: tuple[Scalar, ...]


def parse_axis(text: str) -> Axis:
    """`KEY=VALUE,VALUE,...`, each value typed as in YAML; SpecError where it is not that."""
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not key or not values.strip():
        raise SpecError(
            "this is no axis",
            where=f"--axis {text}",
            expected="KEY=VALUE,VALUE,..., as in parameters.k=8,16,32",
            seen=repr(text),
        )
    found = read_values(values, f"--axis {key}")
    for value in found:
        if not isinstance(value, bool | int | float | str):
            expected = "numbers, text, true or false"
            raise SpecError(
                "this cannot be swept", where=f"--axis {key}", expected=expected, seen=shown(value)
            )
    return Axis(key, tuple(found))


def chosen_experiment(spec: Spec, name: str | None, where: str) -> str:
    """The experiment to sweep: the named one, or the only one."""
    names = list(spec.experiments)
    if name in names:
        return name
    if name is None and len(names) == 1:
        return names[0]
    problem = f"no experiment {name!r}" if name else f"it has {len(names)} experiments"
    near = nearest(name or "", names)
    raise SpecError(problem, where=where, expected=f"--experiment, one of {', '.join(names)}", near=near)


def swept_spec(spec: Spec, name: str, axes: Sequence[Axis], catalog: FamilyCatalog) -> Spec:
    """The experiment `name` of a spec, and what it uses, over every combination of the axes' values.

    Raises SpecError for a key that is no parameter of its family, with the nearest names, and for values
    that the family refuses.
    """
    _require_axes(axes, list(catalog.params(spec.experiments[name].family).model_fields))
    whole = spec.model_dump(mode="json", exclude_defaults=True)
    plain = whole["experiments"][name]
    for axis in axes:
        if parameter := _parameter(axis):
            # A parameter may not be both set and swept.
            plain.get("parameters", {}).pop(parameter, None)
            plain.setdefault("sweep", {})[parameter] = list(axis.values)
    experiments = {used: whole["experiments"][used] for used in _upstream(spec, name)}
    experiments |= dict(_varied(name, plain, [axis for axis in axes if not _parameter(axis)]))
    keys = ", ".join(_parameter(axis) or axis.key for axis in axes)
    kept = {key: whole[key] for key in ("question", "models", "tags") if key in whole}
    return checked(
        {"title": f"{spec.title}, over {keys}", "question": "", **kept, "experiments": experiments}, catalog
    )


def checked(plain: dict[str, Any], catalog: FamilyCatalog) -> Spec:
    """Plain data as a spec that holds together; SpecError for the first thing that does not."""
    try:
        spec = strictly(Spec, plain)
    except ValidationError as error:
        raise _told(problems_of(error, Spec, plain)[0]) from None
    for problem in inconsistencies(spec, plain, catalog):
        raise _told(problem)
    return with_handed_over(spec, catalog)


def relocated(spec: Spec, source: Path, target: Path) -> Spec:
    """The spec for another folder: paths of data files beside the old one lead there from the new one."""
    plain = spec.model_dump(mode="json", exclude_defaults=True)
    for experiment in plain["experiments"].values():
        for data in (experiment.get("prompts"), experiment.get("corpus")):
            name = data.get("name") if data else None
            if name and (file := source / name).is_file():
                # Only of files that are there: a packaged set has a name and no path.
                data["name"] = os.path.relpath(file, target)
    return strictly(Spec, plain)


def write_spec(path: Path, spec: Spec, root: Path) -> None:
    """Write a spec that a command made; SpecError rather than write over a file that a person wrote."""
    if path.exists() and WRITTEN_BY not in path.read_text(encoding="utf-8", errors="replace"):
        hint = "name another file"
        raise SpecError("there is a file that `mech sweep` did not write", where=str(path), hint=hint)
    schema = root.resolve() / SCHEMA
    lines = [WRITTEN_BY, dump(spec)]
    if (root / "mkdocs.yml").is_file():
        lines.insert(0, f"# yaml-language-server: $schema={os.path.relpath(schema, path.resolve().parent)}")
    try:
        # Written beside and moved: an editor or a build never reads half a spec.
        partial = path.with_name(f".{path.name}.new")
        partial.write_text("\n".join(lines), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise SpecError(f"it cannot be written: {error.strerror}", where=str(path)) from None


def _parameter(axis: Axis) -> str:
    return axis.key.removeprefix(PARAMETERS) if axis.key.startswith(PARAMETERS) else ""


def _require_axes(axes: Sequence[Axis], fields: list[str]) -> None:
    valid = [*(PARAMETERS + field for field in fields), *OTHER_AXES]
    for i, axis in enumerate(axes):
        if axis.key not in valid:
            raise SpecError(
                f"{axis.key!r} cannot be swept",
                where=f"--axis {axis.key}",
                expected="one of " + ", ".join(valid),
                # `k` is most often meant as `parameters.k`, which is far from it in spelling.
                near=nearest(axis.key, valid) or nearest(PARAMETERS + axis.key, valid),
            )
        if axis.key in [other.key for other in axes[:i]]:
            raise SpecError("the axis is given twice", where=f"--axis {axis.key}", expected="each once")


def _upstream(spec: Spec, name: str) -> list[str]:
    """The experiments that one uses, directly or not, each before what uses it."""
    found: list[str] = []
    for used in spec.experiments[name].uses.values():
        found += [n for n in [*_upstream(spec, used), used] if n not in found]
    return found


def _varied(name: str, plain: dict[str, Any], axes: list[Axis]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The experiment once for each combination of hook sites and amounts of data, with a name for each."""
    for values in itertools.product(*(axis.values for axis in axes)):
        varied = dict(plain)
        words = [name]
        for axis, value in zip(axes, values, strict=True):
            group, _, key = axis.key.partition(".")
            if key and not plain.get(group):
                expected = f"{group}: NAME in the spec, whose {key} can then vary"
                raise SpecError(
                    f"the experiment has no {group}", where=f"--axis {axis.key}", expected=expected
                )
            varied[group] = {**varied[group], key: value} if key else value
            words.append(f"{key}_{value}" if key else str(value))
        # Several experiments cannot have one name.
        if len(words) > 1:
            varied.pop("name", None)
        yield _name_of(words), varied


def _name_of(words: Iterable[str]) -> str:
    """Words as the name of an experiment: `layer0_blocks_6_hook_resid_pre`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", "_".join(words).replace("%", "pct"))


def _told(problem: Problem) -> SpecError:
    error = problem.error
    told = {"expected": error.expected, "seen": error.seen, "near": error.near, "hint": error.hint}
    return type(error)(error.problem, where=f"the sweep: {dotted(problem.loc)}", **told)
