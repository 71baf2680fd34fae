"""Which code a run executes, hashed so that comments, docstrings and layout do not count.

From a family's file the imports are followed, as written in the source (nothing is imported), through
the rooms that make numbers. An import for type checking counts like any other: it names the code that
the work is handed to. What does not count, and why:

- `errors.py` and rooms outside COUNTED_ROOMS: they say, plan and show, and change no number;
- models/cards.py, known.py and fetch.py: they decide which bytes arrive, and those are hashed by themselves;
- models/micro.py and a family's `calibrate`: they only test the method.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import EngineError

COUNTED_ROOMS = ("evidence", "models", "data", "lab", "families")
NOT_COUNTED = (
    *(f"models/{name}.py" for name in ("cards", "known", "fetch", "micro")),
    "families/__init__.py",
)
FORMAT = "1"  # part of every cache entry's name: change it when the normalisation changes


@dataclass(frozen=True)
class CodeFile:
    """One source file: the hash of what it does, and the modules of the package it imports."""

    hash: str
    imports: tuple[str, ...]


@dataclass
class CodeBook:
    """Reads source files once; `cache_file` remembers by content, so that a second plan parses nothing."""

    package: Path
    cache_file: Path | None = None
    known: dict[str, CodeFile] = field(default_factory=dict)
    grown: bool = False

    def __post_init__(self) -> None:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            # Whatever is wrong with the cache, it is only a cache: everything is parsed anew.
            entries = json.loads(self.cache_file.read_text(encoding="utf-8")) if self.cache_file else {}
            self.known = {name: CodeFile(e[0], tuple(e[1])) for name, e in entries.items()}

    def code_of(self, *files: Path) -> dict[str, str]:
        """The hash of every file that these files lead to, themselves included, by name under the project."""
        found: dict[Path, CodeFile] = {}
        waiting = [f for f in files if f.is_file()]
        followed: set[str] = set()
        while waiting:
            file = waiting.pop()
            if file not in found:
                found[file] = self.read(file)
                # A module is imported by many others: looked for on the disk once.
                new = set(found[file].imports) - followed
                waiting += self.files(sorted(new))
                followed |= new
        # A file without code, such as an empty `__init__`, changes no number by being there.
        nothing = digest("")
        return {self.name(f): c.hash for f, c in sorted(found.items()) if c.hash != nothing}

    def read(self, file: Path) -> CodeFile:
        """What one file does and imports; EngineError where it is not Python."""
        text = file.read_text(encoding="utf-8")
        # By content and not by date of change: a checkout touches files without changing them.
        entry = digest(f"{FORMAT} {self.name(file)}\n{text}")
        if entry not in self.known:
            try:
                self.known[entry] = read_code(text)
            except SyntaxError as error:
                where = f"{file}:{error.lineno or 1}"
                raise EngineError(f"this is not Python: {error.msg}", where=where) from None
            self.grown = True
        return self.known[entry]

    def files(self, modules: Iterable[str]) -> list[Path]:
        """The counted files behind dotted names; a name inside a module leads to that module only."""
        files = []
        for module in modules:
            package, *parts = module.split(".")
            # Libraries are told apart by their versions in provenance, not by the key.
            if package != self.package.name or parts[0] not in COUNTED_ROOMS:
                continue
            stem = self.package.joinpath(*parts)
            # Both, since a name may be a module or a package; a name inside of a module is neither, and falls
            # away.
            files += [p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()]
        return [f for f in files if f.relative_to(self.package).as_posix() not in NOT_COUNTED]

    def name(self, file: Path) -> str:
        """`engine/lab/patching.py`; a family kept elsewhere goes by its folder and name."""
        try:
            return file.relative_to(self.package.parent).as_posix()
        except ValueError:
            return f"{file.parent.name}/{file.name}"

    def save(self) -> None:
        """Write the cache, if it grew and has a place; a store that cannot be written goes without."""
        if not self.grown or self.cache_file is None:
            return
        with suppress(OSError):
            entries = {name: [c.hash, list(c.imports)] for name, c in self.known.items()}
            # In the same folder and then moved: another plan reads the old cache or the new one, never half
            # of one.
            handle, partial = tempfile.mkstemp(dir=self.cache_file.parent, prefix=".code-")
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(entries, out)
            Path(partial).replace(self.cache_file)
            self.grown = False


def digest(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_code(text: str) -> CodeFile:
    """The hash of a module without its words, and the modules that it imports."""
    tree = without_words(ast.parse(text))
    tree.body = [n for n in tree.body if not (isinstance(n, ast.FunctionDef) and n.name == "calibrate")]
    # `unparse` gives one text for every layout of the same code.
    return CodeFile(digest(ast.unparse(tree)), tuple(sorted(_imports(tree))))


def without_words(tree: ast.Module) -> ast.Module:
    """Code without docstrings and other strings that are only there to be read; changed in place."""
    return _WithoutWords().visit(tree)


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings and every other string that is only there to be read."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        # Attribute docstrings, the strings under a field or constant, go as well.
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        # A body that was a docstring alone would be no Python any more.
        if not isinstance(node, ast.Module) and getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _imports(tree: ast.AST) -> set[str]:
    """Dotted names with the packages they stand in, whose __init__ runs too; the house has none relative."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    # `engine.a.b` leads to engine.a, whose __init__ runs, and to engine.a.b.
    return {".".join(n.split(".")[:end]) for n in names for end in range(2, n.count(".") + 2)}
