"""Flat specs of single experiments in a folder `experiments/`, with `sweeps/` below it, found by name.

A project need not have investigations, pages or a site: such a folder is enough. Names are read from the
files as plain data, so that one that is broken keeps no other from being found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import SpecError
from engine.spec.document import read_document
from engine.spec.load import experiment_key, is_flat

FOLDER = "experiments"
SUFFIXES = (".yaml", ".yml", ".json")
MOST_FOLDERS = 2  # that a spec may lie in, below `experiments/`


Place = tuple[Path, str]  # a spec file and an experiment of it


@dataclass(frozen=True)
class FlatSpecs:
    """The experiments below one `experiments/` by every name that each goes by.

    A name that several have leads to all of them. `unread` says which files are no YAML.
    """

    names: dict[str, list[Place]] = field(default_factory=dict)
    unread: tuple[SpecError, ...] = ()


def folder_with_experiments(start: Path | None = None) -> Path | None:
    """The nearest folder upwards with an `experiments/` that holds spec files."""
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if spec_files(folder)), None)


def spec_files(root: Path) -> list[Path]:
    """The spec files in `experiments/` and up to two folders below it, hidden ones left out."""
    folder = root / FOLDER
    # Not all the way down: results of another program may lie there too, thousands of files deep.
    found = [path for depth in range(MOST_FOLDERS + 1) for path in folder.glob("*/" * depth + "*")]
    specs = [path for path in found if path.suffix in SUFFIXES and path.is_file()]
    return sorted(p for p in specs if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def flat_specs(root: Path) -> FlatSpecs:
    """What the spec files below `root/experiments` call their experiments, and where these are.

    A name that a file gives goes before the file's path (`sweeps/lens`), the path before the bare file name.
    """
    given: dict[str, list[Place]] = {}
    by_path: dict[str, list[Place]] = {}
    by_file: dict[str, list[Place]] = {}
    unread = []
    for path in spec_files(root):
        try:
            experiments = _experiments(read_document(path).value)
        except SpecError as error:
            unread.append(error)
            continue
        below = path.relative_to(root / FOLDER).with_suffix("").as_posix()
        for key, name in experiments.items():
            place = path, key
            # One experiment goes by its file alone.
            ends = ["", f"/{key}"] if len(experiments) == 1 else [f"/{key}"]
            for end in ends:
                by_path.setdefault(below + end, []).append(place)
                by_file.setdefault(path.stem + end, []).append(place)
            if name:
                given.setdefault(name, []).append(place)
    return FlatSpecs(by_file | by_path | given, tuple(unread))


def _experiments(data: Any) -> dict[str, str]:
    """The experiments of one file, each with the name that the file gives it, if it does."""
    if not isinstance(data, dict):
        return {}
    if is_flat(data):
        return {experiment_key(data): _text(data.get("name"))}
    experiments = data.get("experiments")
    entries = experiments.items() if isinstance(experiments, dict) else ()
    return {key: _text(entry.get("name")) for key, entry in entries if isinstance(entry, dict)}


def _text(value: Any) -> str:
    # What is no text is told when the file is loaded.
    return value if isinstance(value, str) else ""
