"""The house rules of imports: a room imports only rooms above it, and heavy libraries stay in theirs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ENGINE = Path(__file__).parent.parent / "engine"
ROOMS = "errors evidence spec models data lab families runs report publish demo commands cli"
FLOORS: dict[str, int] = {room: floor for floor, room in enumerate(ROOMS.split())}  # counted from the top
OWNERS = {
    "transformer_lens": "models",
    "transformers": "models",
    "altair": "report/charts",
    "jinja2": "report",
    "gradio": "demo",
}
WITH_TORCH_AT_HAND = {"models", "lab", "families", "data", "demo"}


def imports(node: ast.AST, later: bool = True) -> Iterator[str]:
    """Dotted names that a module imports; without `later`, only those that importing it imports."""
    lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    if not later and (lazy or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from imports(child, later)


def floor_of(room: str) -> int:
    """Where a room lies; the modules beside the rooms are below them all."""
    return FLOORS.get(room, len(FLOORS))


def broken_rules(path: Path, source: str) -> Iterator[str]:
    """What a module at `path` (relative to engine/) imports that its room may not."""
    room, family = (*path.with_suffix("").parts, "")[:2]  # a family may be a folder
    tree = ast.parse(source)
    for name in imports(tree):
        top, target, *rest = [*name.split("."), "", ""]
        if not path.as_posix().startswith(OWNERS.get(top, "")):
            yield f"only {OWNERS[top]} imports {top}"
        if top == "engine" and floor_of(target) > floor_of(room):
            yield f"{target} is not above {room}"
        if top == "engine" and target == room == "families" and rest[0] not in (family, ""):
            yield f"a family imports {rest[0]}"
        if top == "":
            yield "a relative import"
        if top == "unittest":
            yield "what tests are made with is imported"
    if room not in WITH_TORCH_AT_HAND and "torch" in {n.split(".")[0] for n in imports(tree, later=False)}:
        yield "torch is imported at import time"


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: str(p.relative_to(ENGINE)))
def test_every_module_keeps_the_rules(path: Path) -> None:
    inside = path.relative_to(ENGINE)
    assert len(inside.parts) == 1 or inside.parts[0] in FLOORS, "this folder is no room of the house"
    assert list(broken_rules(inside, path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("spec/load.py", "from engine.families import names", "families is not above spec"),
        ("lab/lens.py", "def f():\n    import transformers.models", "only models imports transformers"),
        ("families/a.py", "from engine.families import b", "a family imports b"),
        ("publish/build.py", "from engine.commands.console import say", "commands is not above publish"),
        ("families/a/part.py", "from engine.families.b.part import f", "a family imports b"),
        ("families/a.py", "import engine.runs.store.store", "runs is not above families"),
        ("runs/plan.py", "class A:\n    from torch import nn", "torch is imported at import time"),
        ("runs/plan.py", "from .store import Store", "a relative import"),
        ("report/render.py", "def f():\n    import altair", "only report/charts imports altair"),
        ("publish/serve.py", "from unittest.mock import patch", "what tests are made with is imported"),
    ],
)
def test_a_broken_rule_is_seen(path: str, source: str, rule: str) -> None:
    assert list(broken_rules(Path(path), source)) == [rule]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("runs/plan.py", "def f():\n    import torch"),
        ("runs/plan.py", "if TYPE_CHECKING:\n    import torch"),
        ("runs/plan.py", "import engine.errors"),
        ("cli.py", "from engine.commands.console import say"),
        ("lab/lens.py", "import torch"),
        ("families/a/__init__.py", "from engine.families.a.part import f"),
        ("families/a/part.py", "from engine.families.a.other import f"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert list(broken_rules(Path(path), source)) == []


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or not."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        left = [start]
        while left:
            new = graph[left.pop()] - found
            found |= new
            left += new
        return found

    reaches = {module: reached(module) for module in graph}
    groups = {
        frozenset(other for other in reaches[module] if module in reaches[other])
        for module in graph
        if module in reaches[module]
    }
    return sorted(sorted(group) for group in groups)


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    paths = {}
    for path in ENGINE.rglob("*.py"):
        parts = ("engine", *path.relative_to(ENGINE).with_suffix("").parts)
        paths[".".join(parts).removesuffix(".__init__")] = path
    return paths


def imported(name: str, source: str, known: set[str]) -> set[str]:
    """The modules of the package that a module imports, inside functions too, and not for types alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for dotted in imports(tree):
        package = dotted.rpartition(".")[0]
        found |= {dotted, package} & known
    return found - {name}


def test_no_module_imports_itself_by_way_of_others() -> None:
    paths = modules()
    graph = {n: imported(n, path.read_text(encoding="utf-8"), set(paths)) for n, path in paths.items()}
    assert circles(graph) == []


def test_a_circle_is_seen() -> None:
    known = {"engine.a", "engine.b", "engine.c"}
    later = "def f():\n    from engine.a import g"
    graph = {
        "engine.a": imported("engine.a", "from engine.b import f", known),
        "engine.b": imported("engine.b", later, known),
        "engine.c": imported("engine.c", "import engine.a\nif TYPE_CHECKING:\n    import engine.c", known),
    }
    assert circles(graph) == [["engine.a", "engine.b"]]


def test_a_class_name_means_one_thing() -> None:
    """A family's Params apart, of which each family has its own."""
    places: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name != "Params":
                places.setdefault(node.name, []).append(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
