"""What this machine can and cannot do, and how to mend it. Imports nothing heavy: versions are read
from package metadata, so that a broken install can still be diagnosed."""

from __future__ import annotations

import importlib.metadata as metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from engine.commands.console import human_bytes

CORE = ("torch", "transformers", "transformer-lens", "gguf", "mkdocs", "mkdocs-material", "altair", "pandas")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `fail` means the engine will not work, `note` that something optional will not."""

    name: str
    state: Literal["ok", "note", "fail"]
    seen: str
    mend: str = ""


def examine(root: Path | None) -> list[Finding]:
    """Everything `engine doctor` reports, in the order a person would mend it."""
    rows = [_python(), *map(_package, CORE), _pip(), _memory(), _cores(), _accelerator()]
    rows += [_cache(), *_models()]
    if root is not None:
        rows += [_writable(root, ".engine"), _writable(root, "public")]
    return [*rows, *_optional()]


def _python() -> Finding:
    seen = platform.python_version()
    good = sys.version_info >= (3, 11)
    return Finding("python", "ok" if good else "fail", seen, "" if good else "install Python 3.11 or newer")


def _minimum(package: str) -> str:
    """The lower bound that the installed engine asks for, from its own metadata."""
    try:
        wanted = metadata.requires("mech-interpretability") or []
    except metadata.PackageNotFoundError:
        return "0"
    found = [re.search(r">=\s*([\d.]+)", line) for line in wanted if re.match(rf"{package}\b(?!-)", line)]
    return next((m.group(1) for m in found if m), "0")


def _version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _package(name: str) -> Finding:
    wanted = _minimum(name)
    try:
        seen = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "fail", "not installed", "make site, or pip install -c constraints.txt -e .")
    if _version_tuple(seen) < _version_tuple(wanted):
        return Finding(name, "fail", f"{seen}, wants >= {wanted}", f"pip install '{name}>={wanted}'")
    return Finding(name, "ok", seen)


def _pip() -> Finding:
    if importlib.util.find_spec("pip"):
        return Finding("pip", "ok", metadata.version("pip"))
    return Finding("pip", "fail", "not installed", "python -m ensurepip (models come as wheels)")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    seen = f"{human_bytes(memory.available)} free of {human_bytes(memory.total)}"
    if memory.available < 2e9:
        return Finding("memory", "note", seen, "close something: the default model takes about 1.5 GB")
    return Finding("memory", "ok", seen)


def _cores() -> Finding:
    usable = (
        len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count()
    )
    return Finding("cores", "ok", str(usable))


def _accelerator() -> Finding:
    """Ask the driver's own tool, not torch: importing torch takes longer than the rest together."""
    if shutil.which("nvidia-smi"):
        return Finding("accelerator", "ok", "an NVIDIA driver is here; runs use it where torch sees it")
    return Finding("accelerator", "ok", "none: runs use the CPU")


def _cache() -> Finding:
    from engine.models.cards import cache_folder

    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Finding(
            "model cache", "fail", f"{folder} cannot be written", "set MECH_CACHE to a folder of yours"
        )
    if free < 2e9:
        return Finding(
            "model cache", "note", f"{human_bytes(free)} free", "free some disk: models need 0.6 to 7 GB"
        )
    return Finding("model cache", "ok", f"{human_bytes(free)} free at {cache_folder()}")


def _models() -> list[Finding]:
    from engine.models.cards import availability, is_cached, known_models

    rows = []
    for card in known_models():
        can, why = availability(card.name)
        state = "ok" if can else "note"
        rows.append(Finding(f"model {card.name}", state, "cached" if is_cached(card) else why))
    return rows


def _writable(root: Path, name: str) -> Finding:
    target = root / name if (root / name).exists() else root
    if os.access(target, os.W_OK):
        return Finding(name, "ok", "can be written")
    return Finding(name, "fail", f"{target} cannot be written", f"chmod u+w {target}")


def _optional() -> list[Finding]:
    def either(name: str, here: bool, serves: str, mend: str) -> Finding:
        return Finding(name, "ok", "here") if here else Finding(name, "note", f"not here: {serves}", mend)

    browser = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return [
        either("browser", browser, "browser tests are skipped", "install Chromium and chromedriver"),
        either("git", bool(shutil.which("git")), "commits are not recorded", "install git"),
    ]
