"""What a revision of the git repository has of investigations: specs, texts and published numbers.

Nothing is checked out: files are read out of the repository into a folder of their own.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from engine.errors import EngineError

READ = ("spec.yaml", "report.md", "published/*.json")
"""The files of an investigation that are read out; tables are no numbers."""


@dataclass(frozen=True)
class Commit:
    """One commit: its abbreviated hash, its day and its first line."""

    revision: str
    date: str
    subject: str


def find_commit(root: Path, revision: str) -> Commit | None:
    """The commit that a revision means (`HEAD~3`, `v1.2`, a branch, a hash); None where there is none."""
    # `--end-of-options`: what a person types is never taken for an option.
    asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    found = _git(root, *asked, check=False)
    hashes = found.split()
    # A range (`A..B`) is answered by several.
    return _commit(root, hashes[0]) if len(hashes) == 1 else None


def slugs_at(root: Path, commit: Commit) -> dict[str, list[str]]:
    """The investigations of a commit by slug, each with its files relative to its folder."""
    listed = _git(root, "ls-tree", "-r", "--name-only", "-z", commit.revision, "--", "investigations/")
    files: dict[str, list[str]] = {}
    for path in filter(None, listed.split("\0")):
        _, slug, file = path.split("/", 2) if path.count("/") >= 2 else ("", "", "")
        if slug:
            files.setdefault(slug, []).append(file)
    return {slug: names for slug, names in files.items() if "spec.yaml" in names}


def read_out(root: Path, commit: Commit, slug: str, files: list[str], into: Path) -> Path:
    """Write what a commit has of an investigation below `into`; returns the investigation's folder."""
    folder = into / slug
    (folder / "published").mkdir(parents=True, exist_ok=True)
    for name in files:
        if any(fnmatch(name, pattern) for pattern in READ) and name.count("/") <= 1:
            # The bytes as they were committed, whatever filters this machine has set up.
            text = _git(root, "cat-file", "blob", f"{commit.revision}:./investigations/{slug}/{name}")
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def publications_of(root: Path, slug: str) -> list[Commit]:
    """The commits that changed what is published of an investigation, oldest first."""
    path = f"investigations/{slug}/published"
    # Where a history is cut short its first commit seems to publish all that there was.
    hashes = _git(root, "log", "--reverse", "--format=%H", "--", f"{path}/*.json").split()
    return [_commit(root, revision) for revision in hashes]


def is_shallow(root: Path) -> bool:
    """Whether the history here is cut short, as in many a clone."""
    return _git(root, "rev-parse", "--is-shallow-repository").strip() == "true"


def _commit(root: Path, revision: str) -> Commit:
    told = _git(root, "show", "--no-patch", "--format=%h%x00%cs%x00%s", revision)
    return Commit(*told.strip().split("\0"))


def _git(root: Path, *arguments: str, check: bool = True) -> str:
    """What git answers in the project's folder; EngineError where it has no answer."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise EngineError("git is not installed", hint="revisions are read with it") from None
    seen = done.stderr.decode(errors="replace").strip()
    if "not a git repository" in seen or "dubious ownership" in seen:
        raise EngineError(
            "this project is no git checkout, so that there are no revisions",
            where=str(root),
            seen=seen.splitlines()[0],
            hint="clone the repository, or compare what was measured here: engine diff SLUG",
        )
    if check and done.returncode != 0:
        raise EngineError("git cannot read this", where=" ".join(arguments), seen=seen)
    return done.stdout.decode(errors="replace")
