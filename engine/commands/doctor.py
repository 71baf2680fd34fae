"""`engine doctor`: what this machine can and cannot do, and how to mend it.

Versions are read from package metadata and no library is imported for it, so that a broken install can still
be diagnosed.
"""

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
import typer

from engine.commands.console import Output, TextTable, human_bytes
from engine.commands.options import Json
from engine.errors import EngineError
from engine.models.cards import availability, cache_folder, is_cached, known_models
from engine.models.machine import cores
from engine.runs.investigation import find_root

CORE = ("torch", "transformers", "transformer-lens", "gguf", "mkdocs", "mkdocs-material", "pandas")
EXTRAS = {
    "demo": "mech demo, the live panels",
    "papers": "papers as PDF, and their cells",
    "cluster": "runs on a Ray cluster",
}
"""What each extra serves; `interp` is a part of the core, and `dev` is for whoever changes the engine."""


app = typer.Typer(add_completion=False)


@app.command()
def doctor(json: Json = False) -> Output:
    """Say what this machine can and cannot do, and how to mend it. Exits 1 if the engine cannot work here.

    \b
    Example:
      engine doctor
    """
    try:
        root = find_root()
    except EngineError:
        root = None
    found = examine(root)
    rows = [(d.state, d.name, d.seen + (f"  -> {d.mend}" if d.mend else "")) for d in found]
    text: list[str | TextTable] = [TextTable(["", "what", "seen"], rows)]
    if root is None:
        text.append("\nthis is not inside a project: build, status and the like work in a clone only")
    works = all(diagnosis.state != "fail" for diagnosis in found)
    return Output(text, found, json, exit_status=0 if works else 1)


@dataclass(frozen=True)
class Diagnosis:
    """One thing looked at: `fail` means the engine will not work, `note` that something optional will not."""

    name: str
    state: Literal["ok", "note", "fail"]
    seen: str
    mend: str = ""


def examine(root: Path | None) -> list[Diagnosis]:
    """Everything `engine doctor` reports, in the order a person would mend it."""
    rows = [_python(), *map(_package, CORE), _pip(), _memory(), _cores(), _accelerator()]
    rows += [_cache(), *_models()]
    if root is not None:
        rows += [_writable(root, ".engine"), _writable(root, "public")]
    return [*rows, *_extras(), *_documents(), *_optional()]


def _python() -> Diagnosis:
    seen = platform.python_version()
    good = sys.version_info >= (3, 11)
    return Diagnosis("python", "ok" if good else "fail", seen, "" if good else "install Python 3.11 or newer")


def _minimum(package: str) -> str:
    """The lower bound that the installed engine asks for, from its own metadata."""
    try:
        wanted = metadata.requires("mech-interpretability") or []
    except metadata.PackageNotFoundError:
        return "0"
    # `(?!-)`: mkdocs must not be taken for mkdocs-material.
    found = [re.search(r">=\s*([\d.]+)", line) for line in wanted if re.match(rf"{package}\b(?!-)", line)]
    return next((m.group(1) for m in found if m), "0")


def _version_tuple(version: str) -> tuple[int, ...]:
    # `2.13.0+cpu`: what follows the plus names a build, and is no part of the order.
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _package(name: str) -> Diagnosis:
    wanted = _minimum(name)
    try:
        seen = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Diagnosis(name, "fail", "not installed", "make site, or pip install -c constraints.txt -e .")
    if _version_tuple(seen) < _version_tuple(wanted):
        return Diagnosis(name, "fail", f"{seen}, wants >= {wanted}", f"pip install '{name}>={wanted}'")
    return Diagnosis(name, "ok", seen)


def _pip() -> Diagnosis:
    if importlib.util.find_spec("pip"):
        return Diagnosis("pip", "ok", metadata.version("pip"))
    return Diagnosis("pip", "fail", "not installed", "python -m ensurepip (models come as wheels)")


def _memory() -> Diagnosis:
    memory = psutil.virtual_memory()
    seen = f"{human_bytes(memory.available)} free of {human_bytes(memory.total)}"
    if memory.available < 2e9:
        return Diagnosis("memory", "note", seen, "close something: the default model takes about 1.5 GB")
    return Diagnosis("memory", "ok", seen)


def _cores() -> Diagnosis:
    return Diagnosis("cores", "ok", str(cores()))


def _accelerator() -> Diagnosis:
    """Ask the driver's own tool, not torch: importing torch takes longer than the rest together."""
    if shutil.which("nvidia-smi"):
        return Diagnosis("accelerator", "ok", "an NVIDIA driver is here; runs use it where torch sees it")
    return Diagnosis("accelerator", "ok", "none: runs use the CPU")


def _cache() -> Diagnosis:
    folder = cache_folder()
    # A cache that is not made yet will lie on the disk of the nearest folder above it.
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Diagnosis(
            "model cache", "fail", f"{folder} cannot be written", "set MECH_CACHE to a folder of yours"
        )
    if free < 2e9:
        return Diagnosis(
            "model cache", "note", f"{human_bytes(free)} free", "free some disk: models need 0.6 to 7 GB"
        )
    return Diagnosis("model cache", "ok", f"{human_bytes(free)} free at {cache_folder()}")


def _models() -> list[Diagnosis]:
    rows = []
    for card in known_models():
        can, why = availability(card.name)
        state = "ok" if can else "note"
        rows.append(Diagnosis(f"model {card.name}", state, "cached" if is_cached(card) else why))
    return rows


def _writable(root: Path, name: str) -> Diagnosis:
    # What is not there yet is made in the root.
    target = root / name if (root / name).exists() else root
    if os.access(target, os.W_OK):
        return Diagnosis(name, "ok", "can be written")
    return Diagnosis(name, "fail", f"{target} cannot be written", f"chmod u+w {target}")


def _extras() -> list[Diagnosis]:
    """The extras of this package, each with what it serves and whether its packages are here."""
    extras = _packages_of_extras()
    return [_extra(name, serves, extras.get(name, [])) for name, serves in EXTRAS.items()]


def _extra(name: str, serves: str, packages: list[str]) -> Diagnosis:
    missing = [package for package in packages if not _is_installed(package)]
    if missing:
        seen = f"not here: {serves} ({', '.join(missing)})"
        return Diagnosis(f"extra {name}", "note", seen, f"pip install 'mech-interpretability[{name}]'")
    return Diagnosis(f"extra {name}", "ok", f"here: {serves}")


def _packages_of_extras() -> dict[str, list[str]]:
    """What each extra installs, from the package's own metadata."""
    try:
        lines = metadata.requires("mech-interpretability") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for line in lines:
        package = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if package and extra:
            found.setdefault(extra[1], []).append(package[0])
    return found


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _documents() -> list[Diagnosis]:
    """What lays papers out: programs on the PATH, or wheels of the extra `papers`."""
    found = []
    for name, wheel in (("Quarto", ""), ("pandoc", "pypandoc-binary"), ("Typst", "typst")):
        program = shutil.which(name.lower())
        if program:
            found.append(Diagnosis(name, "ok", program))
        elif wheel and _is_installed(wheel):
            found.append(Diagnosis(name, "ok", f"the wheel {wheel} {metadata.version(wheel)}"))
        else:
            mend = "pip install 'mech-interpretability[papers]'" if wheel else "see https://quarto.org"
            serves = "papers are not laid out" if wheel else "papers are laid out by pandoc and Typst"
            found.append(Diagnosis(name, "note", f"not here: {serves}", mend))
    return found


def _optional() -> list[Diagnosis]:
    def either(name: str, here: bool, serves: str, mend: str) -> Diagnosis:
        return Diagnosis(name, "ok", "here") if here else Diagnosis(name, "note", f"not here: {serves}", mend)

    browser = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return [
        either("browser", browser, "browser tests are skipped", "install Chromium and chromedriver"),
        either("git", bool(shutil.which("git")), "commits are not recorded", "install git"),
    ]
