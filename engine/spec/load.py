"""From a spec file to a `Spec` that can be planned: every mistake named by line, column and path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from engine.errors import SpecError
from engine.spec.consistency import inconsistencies, with_handed_over
from engine.spec.document import Document, Loc, Writer, dotted, read_document, shown
from engine.spec.models import Experiment, Spec
from engine.spec.points import FamilyCatalog
from engine.spec.problems import Problem, problems_of, strictly, unknown_key, value_at

SHOWN_PROBLEMS = 10
EXPERIMENT_KEYS = [key for key in Experiment.model_fields if key not in ("models", "uses")]
SPEC_KEYS = ["model", *Spec.model_fields]
FLAT_KEYS = [*EXPERIMENT_KEYS, *(key for key in SPEC_KEYS if key != "experiments")]


def load_spec(path: str | Path, catalog: FamilyCatalog) -> Spec:
    """The spec in a YAML or JSON file, whole or in the flat form of a single experiment.

    Raises one SpecError that tells every problem found, in the order of the file.
    """
    return spec_of(read_document(Path(path)), catalog)


def spec_of(document: Document, catalog: FamilyCatalog) -> Spec:
    """The spec that a document says; SpecError as `load_spec` raises it."""
    problems = _top_level_problems(document)
    # Each stage only where the one before found nothing: later problems would follow from earlier ones.
    if not problems:
        document = _with_models(_whole(document))
        spec, problems = _shaped(document)
        if spec and not problems:
            problems = list(inconsistencies(spec, document.value, catalog))
        if spec and not problems:
            return with_handed_over(spec, catalog)
    raise _error(problems, document)


def dump(spec: Spec) -> str:
    """YAML text that loads back to an equal spec, defaults left out."""
    plain = spec.model_dump(mode="json", exclude_defaults=True)
    return yaml.dump(plain, Dumper=Writer, sort_keys=False, allow_unicode=True, width=100)


def written_at(path: Path, value: Any, places: Iterable[Loc]) -> str:
    """`file:line:column: path` of the first of these places with this value; else the file alone."""
    if not path.is_file():  # a spec that was given in Python
        return str(path)
    # In the whole form, since places are asked for as that form has them.
    document = _with_models(_whole(read_document(path)))
    for loc in places:
        if loc in document.values and value_at(document.value, loc) == value:
            return document.where(loc)
    return str(path)


def places_in(path: Path) -> Callable[[Loc], str]:
    """`file:line:column: path` of any location in a spec, as its whole form has them.

    The file is read when the first place is asked for, which is where something is wrong. Of a spec that was
    given in Python, and has no file, the path alone.
    """

    @cache
    def document() -> Document:
        return _with_models(_whole(read_document(path)))

    def place(loc: Loc) -> str:
        return document().where(loc) if path.is_file() else dotted(loc)

    return place


def is_flat(data: dict) -> bool:
    """Whether this is a single experiment (`family: ...` at the top) and not a whole spec."""
    return "family" in data and "experiments" not in data


def _top_level_problems(document: Document) -> list[Problem]:
    data = document.value
    if not isinstance(data, dict):
        expected = "keys such as title, question, models and experiments"
        return [Problem((), SpecError("this is not a spec", expected=expected, seen=shown(data)))]
    valid = FLAT_KEYS if is_flat(data) else SPEC_KEYS
    problems = [unknown_key((key,), valid) for key in data if key not in valid]
    if "model" in data and "models" in data:
        problems.append(Problem(("model",), SpecError("both model and models", expected="one of them"), True))
    elif "model" in data and not isinstance(data["model"], str):
        error = SpecError(
            "the wrong kind of value",
            expected="one model's name",
            seen=shown(data["model"]),
            hint="for several models write `models: [NAME, NAME]`",
        )
        problems.append(Problem(("model",), error))
    elif "models" not in data and "model" not in data:
        error = SpecError("no model is named", expected="models: [NAME, ...], or model: NAME")
        problems.append(Problem((), error))
    return problems


def _whole(document: Document) -> Document:
    """The flat form as the whole form that it stands for; every value keeps its place."""
    data = document.value
    if not is_flat(data):
        return document
    name = data.get("name", data["family"])
    key = experiment_key(data)
    inner = ("experiments", key)
    experiment = {k: v for k, v in data.items() if k in EXPERIMENT_KEYS}
    rest = {k: v for k, v in data.items() if k not in EXPERIMENT_KEYS}
    value = {"title": str(name), "question": "", **rest, "experiments": {key: experiment}}

    def moved(loc: Loc) -> Loc:
        # Only where it hangs changes: line and column stay those of the file.
        return (*inner, *loc) if loc and loc[0] in EXPERIMENT_KEYS else loc

    root = document.values[()]
    values = {moved(loc): place for loc, place in document.values.items()}
    keys = {moved(loc): place for loc, place in document.keys.items()}
    return Document(document.file, value, values | {inner[:1]: root, inner: root}, keys)


def experiment_key(data: dict[str, Any]) -> str:
    """What the experiment of the flat form is called in claims: by its `name`, else by its family."""
    name = data.get("name", data["family"])
    return _as_name(name) if isinstance(name, str) else "experiment"


def _as_name(text: str) -> str:
    """The nearest text that can stand in a claim."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", text)
    return plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"


def _with_models(document: Document) -> Document:
    """`model: NAME` as `models: [NAME]`."""
    if "model" not in document.value:
        return document
    value = dict(document.value)
    value["models"] = [value.pop("model")]
    place = document.values[("model",)]
    return Document(
        document.file, value, document.values | {("models",): place, ("models", 0): place}, document.keys
    )


def _shaped(document: Document) -> tuple[Spec | None, list[Problem]]:
    try:
        return strictly(Spec, document.value), []
    except ValidationError as error:
        return None, problems_of(error, Spec, document.value)


def _error(problems: Iterable[Problem], document: Document) -> SpecError:
    """One error for all problems: itself if it is alone, else a list in the order of the file."""
    placed = [(document.place(p.loc, p.on_key), _placed(p, document)) for p in problems]
    # By place, so that a person can go down the file.
    errors = [error for _, error in sorted(placed, key=lambda pair: (pair[0].line, pair[0].column))]
    if len(errors) == 1:
        return errors[0]
    told = "\n".join(str(error) for error in errors[:SHOWN_PROBLEMS])
    more = len(errors) - SHOWN_PROBLEMS
    tail = f"\nand {more} more" if more > 0 else ""
    return SpecError(f"{len(errors)} problems\n{told}{tail}", where=document.file)


def _placed(problem: Problem, document: Document) -> SpecError:
    error = problem.error
    return type(error)(
        error.problem,
        where=document.where(problem.loc, problem.on_key),
        expected=error.expected,
        seen=error.seen,
        near=error.near,
        hint=error.hint,
    )
