"""A hash of the code that a panel answers with, read as text: nothing of it is imported, Gradio least of all.

From what a panel's `PANEL` names (its state, its answer, its spec, its words) the definitions that these
use are followed by their names, through the demo, the instruments and the families. What only draws a panel
is not among them, nor are docstrings and comments. So the hash changes where an answer may.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.runs.planning.code_hash import digest, without_words

PACKAGE = Path(__file__).parents[1]
ROOMS = ("demo", "lab", "families")
"""The rooms whose definitions count; libraries, models and data have versions and hashes of their own."""

MACHINERY = tuple(f"engine.demo.{name}" for name in ("charts", "limits", "live_model", "panel"))
"""What every panel runs in: it says who may ask for how much, and changes no number."""

ANSWERING = ("name", "title", "about", "state", "answer", "stream", "spec", "summary")
"""The fields of `PANEL` that an answer, or what is said of it, follows from."""

Definition = tuple[str, str]
"""A module by its dotted name, and a name at its top level."""


@dataclass(frozen=True)
class ModuleCode:
    """A module's top-level definitions by name, and where the names that it imports come from."""

    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, Definition] = field(default_factory=dict)


def panel_codes(package: Path = PACKAGE) -> dict[str, str]:
    """The hash of each panel's code, by the panel's name, in the order of their files."""
    reader = _CodeReader(package)
    found: dict[str, str] = {}
    for file in sorted((package / "demo" / "panels").glob("*.py")):
        module = f"{package.name}.demo.panels.{file.stem}"
        panel = reader.module(module).definitions.get("PANEL")
        call = getattr(panel, "value", None)
        if isinstance(call, ast.Call):
            said = {keyword.arg: keyword.value for keyword in call.keywords}
            found[ast.literal_eval(said["name"])] = reader.hash(
                module, [said[f] for f in ANSWERING if f in said]
            )
    return found


class _CodeReader:
    """Reads modules once and follows names through them."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.modules: dict[str, ModuleCode] = {}

    def hash(self, module: str, roots: Iterable[ast.expr]) -> str:
        """The hash of these expressions of a module and of every definition that they lead to."""
        roots = list(roots)
        found: dict[Definition, str] = {}
        waiting = [(module, name) for root in roots for name in _names(root)]
        while waiting:
            place = self._origin(*waiting.pop())
            if place is None or place in found:
                continue
            definition = self.modules[place[0]].definitions[place[1]]
            found[place] = ast.unparse(definition)
            waiting += [(place[0], name) for name in _names(definition)]
        told = [f"{where}.{name}\n{text}" for (where, name), text in sorted(found.items())]
        return digest("\n\n".join([*map(ast.unparse, roots), *told]))

    def _origin(self, module: str, name: str) -> Definition | None:
        """Where a name of a module is defined; None for a built-in, a parameter, or what does not count.

        `lens.read`, where `lens` is a module that was imported, is a name of that module.
        """
        while module not in MACHINERY:
            code = self.module(module)
            first, _, rest = name.partition(".")
            if not rest and name in code.definitions:
                return module, name
            if first not in code.imports:
                return None
            where, imported = code.imports[first]
            module, name = (f"{where}.{imported}", rest) if rest else (where, imported)
        return None

    def module(self, name: str) -> ModuleCode:
        if name not in self.modules:
            self.modules[name] = self._read(name)
        return self.modules[name]

    def _read(self, name: str) -> ModuleCode:
        package, *parts = name.split(".")
        code = ModuleCode()
        if package != self.package.name or not parts or parts[0] not in ROOMS:
            return code
        stem = self.package.joinpath(*parts)
        file = next((f for f in (stem.with_suffix(".py"), stem / "__init__.py") if f.is_file()), None)
        for statement in _statements(file.read_text(encoding="utf-8")) if file else ():
            if isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    code.imports[alias.asname or alias.name] = (statement.module or "", alias.name)
            for defined in _defined(statement):
                code.definitions[defined] = statement
        return code


def _statements(text: str) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if TYPE_CHECKING` left out."""
    body = without_words(ast.parse(text)).body
    yield from (statement for statement in body if not isinstance(statement, ast.If))


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names(code: ast.AST) -> list[str]:
    """The names that code reads, `module.name` too, without those of the annotations of functions."""
    notes = [note for node in ast.walk(code) for note in _annotations(node)]
    skipped = {id(part) for note in notes for part in ast.walk(note)}
    read: dict[str, None] = {}
    for node in ast.walk(code):
        if isinstance(node, ast.Name) and id(node) not in skipped:
            read[node.id] = None
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            read[f"{node.value.id}.{node.attr}"] = None
    return list(read)


def _annotations(node: ast.AST) -> list[ast.expr]:
    """What a function's parameters and its value are said to be."""
    if isinstance(node, ast.arg):
        return [node.annotation] if node.annotation else []
    returns = getattr(node, "returns", None)
    return [returns] if returns else []
