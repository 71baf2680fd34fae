"""One name for a model or dictionary on the disk, however its path is spelled and wherever it is asked for.

A spec may say `micro`, `./micro`, `../x/micro` or an absolute path. In a project the model is called by its
path from the project's folder, `./models/micro`: that is what runs are recorded under and what is published,
so that it is the same in every clone. A path outside of the project is called by its absolute path.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine.data.packaged_coders import packaged_coder_names
from engine.models.known import KNOWN
from engine.spec.repository_files import with_home

KNOWN_NAMES = frozenset(card.name for card in KNOWN)
PATH_STARTS = ("./", "../", "/", "~")


def canonical_model(written: str, folder: Path, root: Path | None) -> str:
    """The one name of a model; known names and hub ids are theirs already.

    A path is taken relative to `folder` (a spec's), then to the project's folder `root`, then to the working
    directory; the first that exists is meant, and where none does, the first.
    """
    path = None if written in KNOWN_NAMES else _local_path(written, folder, root)
    return written if path is None else _called(path, root)


def canonical_folder(written: str, folder: Path, root: Path | None) -> str:
    """The one name of a dictionary: that of a packaged one, or of its folder, which is always a path.

    A path is taken relative to `folder` (a spec's), then to the project's folder `root`, then to the working
    directory; the first that exists is meant. Where none does, the project's: there `engine sae import` puts
    them, and a clone without it is to have the same name for it.
    """
    if written in packaged_coder_names():
        return written
    plain = with_home(written)
    places = [base / plain for base in (folder, root, Path.cwd()) if base]
    existing = [place for place in places if place.exists()]
    return _called(existing[0] if existing else (root or folder) / plain, root)


def missing_path(place: str) -> bool:
    """Whether a model is named by a path, as its signs tell, where nothing lies.

    Models are seldom committed: in a clone of a project a local folder may well be absent, like a hub that is
    out of reach, and the name is no mistake.
    """
    return place not in KNOWN_NAMES and _looks_like_path(place) and not with_home(place).exists()


def located(name: str, root: Path | None) -> str:
    """Where a model or a dictionary lies that goes by its path in the project; any other name as it is."""
    return str(root / name) if root and name.startswith("./") else name


def _local_path(written: str, folder: Path, root: Path | None) -> Path | None:
    """The path that a name means; None where it is no path."""
    plain = with_home(written)
    bases = [folder, root, Path.cwd()]
    places = [base / plain for base in bases if base]  # an absolute path stays what it is
    existing = [place for place in places if place.exists()]
    if existing:
        return existing[0]
    return places[0] if _looks_like_path(written) else None


def _looks_like_path(name: str) -> bool:
    # An org/name of the hub looks like a path too: without one of these signs it is taken for an id.
    return name.startswith(PATH_STARTS) or name.endswith(".gguf")


def _called(path: Path, root: Path | None) -> str:
    """A path from the project's folder where it is in there, itself or what its links lead to."""
    plain = Path(os.path.normpath(path))  # without following links: models/ may be one, to a larger disk
    for place in (plain, plain.resolve()):
        if root and place.is_relative_to(root):
            return f"./{place.relative_to(root).as_posix()}"
    return str(plain)
