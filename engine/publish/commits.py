"""Which commit holds a folder as it lies there, so that a page can name the state of its sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

MOST_COMMITS = 5_000
"""A folder that none of the last so many has touched has no commit here."""

SECONDS = 10
HASH_MARK = "\x01"


def last_commits(root: Path, folder: str) -> dict[str, str]:
    """The commit that last changed each folder inside of `folder`, by name.

    A folder with changes that are not committed is left out: no commit has what its page shows. Empty where
    there is no git, or no repository. In a shallow clone it is the oldest commit there, which has the same
    files.
    """
    log = f"--format={HASH_MARK}%H"
    told = _git(
        root, "log", f"-n{MOST_COMMITS}", log, "--name-only", "--no-renames", "--relative", "--", folder
    )
    if not told:
        return {}
    changed = _git(root, "diff", "--name-only", "--no-renames", "--relative", "HEAD", "--", folder)
    new = _git(root, "ls-files", "--others", "--exclude-standard", "--", folder)
    dirty = {_name(path, folder) for path in [*changed, *new]}
    found: dict[str, str] = {}
    commit = ""
    for line in told:
        if line.startswith(HASH_MARK):
            commit = line[1:]
        elif name := _name(line, folder):
            # The log begins with the newest.
            found.setdefault(name, commit)
    return {name: commit for name, commit in found.items() if name not in dirty}


def _name(path: str, folder: str) -> str:
    """`fact-recall` of `investigations/fact-recall/spec.yaml`; empty for what is in no such folder."""
    inside = path.removeprefix(f"{folder}/")
    name, slash, _ = inside.partition("/")
    return name if slash and inside != path else ""


def _git(root: Path, *arguments: str) -> list[str]:
    """The lines that git prints; none where it cannot say anything."""
    command = ["git", "-c", "core.quotepath=off", "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in done.stdout.decode(errors="replace").split("\n") if line]
