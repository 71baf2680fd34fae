"""Experiment kinds, found by name and imported on demand: a file each, or a folder with parts of its own.

A family module has a docstring (the method in numbered steps, its source, what each number means),
`class Params(BaseModel, extra="forbid")` with a docstring under each field, `run(lab, params) -> Result`
and `calibrate() -> list[Calibration]`. What a spec, a command list or a reference page needs of it is
read from its source, so that none of them pays for importing torch.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import SpecError, nearest

TYPE = type[Any]  # a pydantic model class
TORCH_FREE = {"__future__", "annotated_types", "enum", "math", "pydantic", "typing"}


def files(folder: Path = Path(__file__).parent) -> dict[str, Path]:
    """The file of every family in a folder, by name: `NAME.py`, or `NAME/__init__.py`."""
    found = {path.stem: path for path in folder.glob("*.py")}
    found |= {path.parent.name: path for path in folder.glob("*/__init__.py")}
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


def docstring(name: str) -> str:
    """The family's whole docstring, read without importing it."""
    return ast.get_docstring(_tree(name)) or ""


def about(name: str) -> str:
    """The first line of the family's docstring, read without importing it."""
    return docstring(name).partition("\n")[0]


@cache
def params_model(name: str) -> TYPE:
    """The family's `Params`, each field described by the docstring under it, read without importing torch.

    Runs only the family's torch-free imports, its plain constants and its pydantic classes; where
    `Params` leans on anything else, the family is imported after all.
    """
    tree = _tree(name)
    module = ast.Module(body=list(_declarations(tree)), type_ignores=[])
    namespace: dict[str, Any] = {"__name__": f"{__name__}.{name}"}
    try:
        exec(compile(module, str(source_path(name)), "exec"), namespace)
        params = namespace["Params"]
        params.model_rebuild(force=True, _types_namespace=namespace)
    except NameError:
        params = get(name).Params
    return _described(params, _field_docs(tree))


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(source_path(name).read_text(encoding="utf-8"))


def _declarations(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that `Params` may lean on: torch-free imports, literal constants, pydantic classes."""
    for node in tree.body:
        plain_import = isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in TORCH_FREE
        constant = isinstance(node, ast.Assign) and _is_declarative(node.value)
        if plain_import or constant or _is_pydantic(node):
            yield node


def _is_declarative(value: ast.expr) -> bool:
    """A literal, or a type such as `Literal["a", "b"]`."""
    return not any(isinstance(n, ast.Call | ast.Attribute | ast.Lambda) for n in ast.walk(value))


def _is_pydantic(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and any(ast.unparse(b) == "BaseModel" for b in node.bases)


def _field_docs(tree: ast.Module) -> dict[str, str]:
    """The string under each annotated field of `Params`."""
    body = next((n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Params"), [])
    docs = {}
    for field, after in pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[field.target.id] = " ".join(str(after.value.value).split())
    return docs


def _described(params: TYPE, docs: dict[str, str]) -> TYPE:
    for field, text in docs.items():
        params.model_fields[field].description = text
    params.model_rebuild(force=True)
    return params
