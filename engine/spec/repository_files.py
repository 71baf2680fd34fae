"""Files that a repository's own files name: which of them may be read.

A build reads what strangers have proposed: a spec names prompts, a published file names its tables, git
stores links. None of them may lead a build to a file of the machine that it runs on, whose content a page
would show. Two rules hold for what lies under `investigations/` and `publications/` of a project:

1. a file that belongs to a folder is named by a bare name and is a regular file there (`read_beside`);
2. a path leads to a place in the repository, links followed, and to none of its hidden folders (`inside`).

Whoever measures with data that lie elsewhere names the folders in `MECH_DATA`, or runs a spec of their own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from engine.errors import EngineError

CONTENT = ("investigations", "publications")
"""The folders of a project whose files are content: nothing in them is trusted."""
DATA_FOLDERS = "MECH_DATA"
"""Names folders outside of a project whose files its specs may name, separated as in PATH."""


def project_of(folder: Path) -> Path | None:
    """The project in whose content a folder lies; None for a folder of a person's own."""
    plain = Path(os.path.normpath(Path.cwd() / folder))
    # From the outermost: a folder may hold another that is called `investigations`.
    for place in reversed([plain, *plain.parents]):
        if place.name in CONTENT and (place.parent / "mkdocs.yml").is_file():
            return place.parent
    return None


def inside(path: Path, base: Path, error: type[EngineError], where: str = "") -> Path:
    """The path, where a file in `base` may name it; else the error, of the class that is given.

    Only what lies in a project's content is held to its repository. `where` says where the path is written.
    """
    root = project_of(base)
    if root is None:
        return path
    if any(_is_within(path, place) for place in (root, *_data_folders())):
        return path
    leads = " is a link that" if _is_linked(path) else ""
    raise error(
        f"{without_root(str(path), root)}{leads} leads out of the repository",
        where=where,
        expected="a file of the repository, by a path relative to this one",
        hint=f"put it into the repository, or name its folder in the variable {DATA_FOLDERS}",
    )


def with_home(written: str) -> Path:
    """A path as a spec or a person writes it, with `~` as the home folder; as it is where nobody has one."""
    try:
        return Path(written).expanduser()
    except RuntimeError:  # `~name` of somebody who is not known here
        return Path(written)


def read_beside(folder: Path, name: object, most_bytes: int, error: type[EngineError]) -> bytes:
    """The content of a regular file of a folder, by its bare name.

    The error, of the class that is given, for a name with a path in it, a link, a folder, a file that cannot
    be read or is larger than `most_bytes`. FileNotFoundError where there is none.
    """
    path = folder / bare_name(name, folder, error)
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a link" if path.is_symlink() else "no regular file"
            raise error("this is not read", where=str(path), expected="a regular file", seen=kind)
        if status.st_size > most_bytes:
            raise error(
                "this file is too large",
                where=str(path),
                expected=f"at most {most_bytes:,} bytes",
                seen=f"{status.st_size:,} bytes",
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise error("this file cannot be read", where=str(path), seen=str(problem)) from None


def bare_name(name: object, folder: Path, error: type[EngineError]) -> str:
    """The name, where it is that of a file in the folder itself; else the error."""
    text = name if isinstance(name, str) and name.isprintable() else ""
    if text and not text.startswith(".") and not set(text) & set("/\\:") and Path(text).name == text:
        return text
    raise error(
        "this names a file by more than a bare name",
        where=str(folder),
        expected="the name of a file in this folder",
        seen=repr(name)[:200],
    )


def refuse_links_out(folder: Path, root: Path, error: type[EngineError]) -> None:
    """The error, of the class that is given, for the first link in a folder that leads out of its project.

    `folder` may be a file as well, or not be there.
    """
    if link := next(_links_out(folder, root), None):
        raise error(
            "a link that leads out of the repository",
            where=link.relative_to(root).as_posix(),
            expected="a file, or a link to a place in the repository that is not hidden",
        )


def _links_out(folder: Path, root: Path) -> Iterator[Path]:
    """Links that lead out, also in folders of the repository that other links lead to."""
    waiting = [folder]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path.is_symlink() and not _is_within(path, root):
            yield path
            continue
        real = _followed(path)
        if path.is_dir() and real not in seen:
            seen.add(real)
            with os.scandir(path) as entries:
                inside = [Path(entry.path) for entry in entries if entry.is_symlink() or entry.is_dir()]
            waiting += sorted(inside, reverse=True)


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, and to no hidden place: `.git` keeps addresses and tokens."""
    found = _followed(path)
    whole = _followed(folder)
    if not found.is_relative_to(whole):
        return False
    return not any(part.startswith(".") for part in found.relative_to(whole).parts)


def _is_linked(path: Path) -> bool:
    return _followed(path) != Path(os.path.normpath(Path.cwd() / path))


def _followed(path: Path) -> Path:
    """The path with its links followed; unlike `Path.resolve`, also where they lead in a circle."""
    return Path(os.path.realpath(path))


def _data_folders() -> list[Path]:
    named = os.environ.get(DATA_FOLDERS, "")
    return [Path(place).expanduser() for place in named.split(os.pathsep) if place]


def without_root(text: str, root: Path) -> str:
    """A text in which the project's folder is left out of paths and the home folder is `~`."""
    for place in dict.fromkeys((str(root), os.path.realpath(root))):
        text = text.replace(f"{place}{os.sep}", "")
    home = str(Path.home())
    # A home of `/` would be found in every path.
    return text.replace(f"{home}{os.sep}", f"~{os.sep}") if len(home) > 1 else text
