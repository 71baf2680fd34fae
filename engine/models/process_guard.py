"""A bridge may change the module tree that it is given, and nothing else of the process.

TransformerLens wraps some architectures by replacing functions of transformers' own classes: Apertus's
activation, the cache of keys and values for code of an earlier version, masks of a modeling module. Every
other model of the process would compute with them. Here what was replaced is put back after a bridge was
booted, and settings of torch that numbers depend on have to be as they were.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

from engine.errors import ModelError

WATCHED = ("transformers.activations", "transformers.cache_utils", "transformers.masking_utils")
"""Modules whose functions every model may call, beside the one that a model's own class is from."""
MISSING = object()


@contextlib.contextmanager
def process_as_before(hf: Any) -> Iterator[list[str]]:
    """The classes and functions that other models compute with are, afterwards, those of before.

    Yields the names of what was put back, filled on leaving. ModelError where a setting of torch has changed.
    """
    modules = [sys.modules[name] for name in (*WATCHED, type(hf).__module__) if name in sys.modules]
    before = {holder: dict(vars(holder)) for module in modules for holder in _holders(module)}
    settings = _settings()
    restored: list[str] = []
    try:
        yield restored
    finally:
        for holder, held in before.items():
            restored += _put_back(holder, held)
    changed = [name for name, value in _settings().items() if value != settings[name]]
    if changed:
        raise ModelError(
            "booting a bridge changed settings of torch for the whole process", seen=", ".join(changed)
        )


def _holders(module: ModuleType) -> list[Any]:
    """The module and its own classes: where a function can be replaced for everybody."""
    classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    return [module, *(kind for kind in classes if kind.__module__.startswith("transformers"))]


def _put_back(holder: Any, held: dict[str, Any]) -> list[str]:
    """Functions of a module or class that are others than before, replaced by those; their names."""
    restored = []
    now = dict(vars(holder))
    for name in [*held, *(name for name in now if name not in held)]:
        old = held.get(name, MISSING)
        new = now.get(name, MISSING)
        # Data such as counters and caches may change; what is computed with are functions. What a class was
        # given beside them goes too: a mark that says it is patched would be wrong now.
        added = old is MISSING and isinstance(holder, type) and not name.startswith("__")
        if new is old or not (added or _computes(old) or _computes(new)):
            continue
        if old is MISSING:
            delattr(holder, name)
        else:
            setattr(holder, name, old)
        restored.append(f"{getattr(holder, '__qualname__', holder.__name__)}.{name}")
    return restored


def _computes(value: Any) -> bool:
    return inspect.isroutine(value) or isinstance(value, (classmethod, staticmethod, property))


def _settings() -> dict[str, Any]:
    """What the numbers of any forward in this process depend on."""
    return {
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
    }
