"""Experiment kinds, found by name and imported on demand: a file each, or a folder with parts of its own.

A family module has

- a docstring: the method in numbered steps, its source, what each number means; at its end under `Pitfalls:`
  how the method misleads, each with its source,
- `inputs`, what it reads (engine/spec/inputs.py),
- `class Params(FamilyParams)` with a docstring under each field,
- `run(lab, params) -> Result` and `calibrate() -> list[Calibration]`.

What a spec, a command or a reference page needs of it is its declaration: docstring, inputs and Params, read
by executing those statements of the file alone, so that none of them pays for importing torch.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from engine.errors import ResultError, SpecError, nearest
from engine.spec.inputs import Inputs

FOLDER = Path(__file__).parent
PITFALLS = "\n\nPitfalls:\n"
"""What the pitfalls of a family stand under, at the end of its docstring."""
LIGHT = (
    "__future__",
    "enum",
    "math",
    "pydantic",
    "typing",
    "engine.spec.inputs",
    "engine.spec.family_params",
)
"""What a declaration may import from: nothing here loads torch."""


@dataclass(frozen=True)
class Declaration:
    """What a family says of itself before it is run."""

    docstring: str
    inputs: Inputs
    params: type[BaseModel]

    @property
    def about(self) -> str:
        """The first line of the docstring: what the family measures."""
        return self.docstring.partition("\n")[0]

    @property
    def method(self) -> str:
        """The docstring without its first line and without the pitfalls: steps, sources, units, controls."""
        _, _, rest = self.docstring.partition("\n")
        return rest.partition(PITFALLS)[0].strip()

    @property
    def pitfalls(self) -> str:
        """How the method misleads, with sources, as a Markdown list; empty where the docstring has none."""
        return self.docstring.partition(PITFALLS)[2].strip()


@cache
def files(folder: Path = FOLDER) -> dict[str, Path]:
    """The file of every family in a folder, by name: `NAME.py`, or `NAME/__init__.py`."""
    found = {path.stem: path for path in folder.glob("*.py")}
    found |= {path.parent.name: path for path in folder.glob("*/__init__.py")}
    # A leading underscore keeps a file of shared parts from being a family.
    return {name: found[name] for name in sorted(found) if not name.startswith("_")}


def names() -> list[str]:
    """Every family, by name."""
    return list(files())


def get(name: str) -> ModuleType:
    """The family's module; SpecError with the nearest names where there is none."""
    source_path(name)
    return importlib.import_module(f"{__name__}.{name}")


def source_path(name: str) -> Path:
    """The family's file; SpecError with the nearest names where there is none."""
    known = files()
    if name not in known:
        raise SpecError(
            f"no family {name!r}", expected="one of " + ", ".join(known), seen=name, near=nearest(name, known)
        )
    return known[name]


@cache
def declaration(name: str) -> Declaration:
    """What the family declares; ResultError where inputs or Params is missing or needs more than LIGHT."""
    path = source_path(name)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # pydantic finds the docstrings under the fields by the file's name, which the compiled code carries.
    code = compile(ast.Module(body=list(_declared(tree)), type_ignores=[]), str(path), "exec")
    namespace: dict[str, Any] = {"__name__": f"{__name__}.{name}"}
    try:
        exec(code, namespace)
        params = namespace["Params"]
        # Annotations are strings in these files: they are resolved among the names that were executed.
        params.model_rebuild(force=True, _types_namespace=namespace)
        return Declaration(ast.get_docstring(tree) or "", namespace["inputs"], params)
    except (NameError, KeyError) as error:
        raise ResultError(
            "this family does not declare what a spec must know of it",
            where=str(path),
            expected="inputs = Inputs(...), class Params(FamilyParams), of constants and engine.spec alone",
            seen=str(error),
        ) from error


def docstring(name: str) -> str:
    """The family's whole docstring."""
    return declaration(name).docstring


def about(name: str) -> str:
    """What the family measures, in one line."""
    return declaration(name).about


def params_model(name: str) -> type[BaseModel]:
    """The family's `Params`, each field described by the docstring under it."""
    return declaration(name).params


def inputs(name: str) -> Inputs:
    """What an experiment of the family must name, and may."""
    return declaration(name).inputs


def _declared(tree: ast.Module) -> Iterator[ast.stmt]:
    """What a declaration consists of: light imports, literal constants, `inputs`, classes of parameters."""
    for node in tree.body:
        light_import = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(LIGHT)
        constant = isinstance(node, ast.Assign) and (_is_literal(node.value) or _names(node) == ["inputs"])
        if light_import or constant or _is_parameters(node):
            yield node


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _is_literal(value: ast.expr) -> bool:
    """A literal, or a type such as `Literal["a", "b"]`."""
    # Calls could run anything, attributes need a module that may not be light.
    return not any(isinstance(n, ast.Call | ast.Attribute | ast.Lambda) for n in ast.walk(value))


def _is_parameters(node: ast.stmt) -> bool:
    """A class of parameters, or of values nested in them."""
    if not isinstance(node, ast.ClassDef):
        return False
    bases = [ast.unparse(base) for base in node.bases]
    return any(base == "BaseModel" or base.endswith("Params") for base in bases)
