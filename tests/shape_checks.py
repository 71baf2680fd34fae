"""Annotations of the engine's numerical rooms, checked at every call while tests run.

jaxtyping's import hook wraps each function and dataclass of these rooms, and beartype holds every argument
and result to its annotation: `Float[Tensor, "batch pos d_model"]` means three axes, and one size of `batch`
in whatever one call takes and returns. Of a list one item is looked at, drawn at random; an axis that may
differ from item to item has a name that begins with an underscore. Worker processes import the rooms without
the hook, and so do benchmarks. `JAXTYPING_DISABLE=1` turns it off.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import config, install_import_hook
from pydantic import ValidationInfo

ROOMS = ("engine.evidence", "engine.models", "engine.data", "engine.lab", "engine.families")
# The claim language recurses over a tree of few arrays: the wrappers' frames would be many.
UNCHECKED = ("engine.evidence.claims", "engine.evidence.claim_tree", "engine.evidence.normal_form")
HOW = BeartypeConf(
    is_pep484_tower=True,  # `float` takes an int, as it does for a type checker
    hint_overrides=FrozenDict({ValidationInfo: object}),  # a protocol that isinstance refuses
)


def install() -> None:
    """Check the rooms from now on; they must not have been imported yet."""
    if config.jaxtyping_disable:
        return
    early = [name for name in sys.modules if name.startswith(ROOMS)]
    if early:
        raise RuntimeError(f"imported before its annotations could be checked: {', '.join(early)}")
    install_import_hook(ROOMS, f"{__name__}.checked")
    sys.meta_path[0] = _Finder(sys.meta_path[0])


def checked(function: Callable) -> Callable:
    """The function with its arguments and result checked; the hook finds it by its name."""
    return beartype(conf=HOW)(function)


class _Finder(MetaPathFinder):
    """The hook's finder, with the names that a module imports for annotations alone added to it."""

    def __init__(self, hook) -> None:
        self.hook = hook
        self.waiting: list[ModuleType] = []

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname in UNCHECKED:
            return None
        spec = self.hook.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def add_names(self) -> None:
        """Import for real what modules import under TYPE_CHECKING: beartype looks names up at the first call.

        A module that imports one which is itself still being imported waits for the next module.
        """
        waiting, self.waiting = self.waiting, []
        for module in waiting:
            try:
                with warnings.catch_warnings(action="ignore"):
                    exec(_annotation_imports(module), module.__dict__)
            except ImportError:
                self.waiting.append(module)


class _Loader(Loader):
    def __init__(self, loader, finder: _Finder) -> None:
        self.loader = loader
        self.finder = finder

    def __getattr__(self, name: str):
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.finder.waiting.append(module)
        self.finder.add_names()


def _annotation_imports(module: ModuleType) -> str:
    """The bodies of a module's `if TYPE_CHECKING:`."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and _is_type_checking(node.test)]
    return "\n".join(ast.unparse(statement) for block in blocks for statement in block.body)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
