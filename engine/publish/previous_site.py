"""The site that lies there, file by file, so that the next build takes over what would come out the same.

After a build it is noted of each file what it was made from (a hash) and its state (see `up_to_date`). The
next build links such a file into the new site instead of making it again: a page of which nothing changed
costs no template, and an asset is not copied. The folder that is served is never written to, and the old one
goes as a whole. A file that anybody touched since has another state and is made anew.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.publish.up_to_date import file_state, settled

NOTES = "site.files"  # in .engine/


@dataclass
class PreviousSite:
    """What each file of the last site in `out` was made from; without a `folder` for notes, nothing is known.

    `made_from` gathers the same of the site that is being built.
    """

    out: Path | None = None
    folder: Path | None = None
    known: dict[str, list[Any]] = field(default_factory=dict)
    made_from: dict[str, str] = field(default_factory=dict)
    begun: int = field(default_factory=time.time_ns)

    def take(self, name: str, made_from: str, target: Path) -> bool:
        """Put the last site's file under `target`, if it was made from the same and nobody touched it since.

        `name` is its path in the site. Whether it was or not, the file will have been made from this.
        """
        self.made_from[name] = made_from
        before = self.known.get(name)
        if self.out is None or before is None or before[0] != made_from:
            return False
        path = self.out / name
        try:
            if before[1] != file_state(path):
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
        except OSError:  # gone, or a file system without links
            return False
        return True

    def source_hash(self, source: str) -> str:
        """What a copied file is made from: its source's path and state; empty where that just changed."""
        state = file_state(Path(source))
        # Within one tick of the clock two contents may have one time.
        return json.dumps([source, state]) if settled(state, self.begun) else ""

    def note(self) -> None:
        """Remember the site that lies in `out` now, once it is in its place and the old one is gone."""
        if self.out is None or self.folder is None:
            return
        noted = {}
        for name, made_from in self.made_from.items():
            if made_from:
                with suppress(OSError):
                    noted[name] = [made_from, file_state(self.out / name)]
        with suppress(OSError):  # then the next build makes everything anew
            text = json.dumps({"out": str(self.out), "files": noted})
            (self.folder / NOTES).write_text(text, encoding="utf-8")


def previous_site(out: Path, folder: Path) -> PreviousSite:
    """What was noted of the site in `out` in the folder `.engine`; nothing where the notes are of another."""
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        if notes["out"] == str(out):
            known = {name: list(found) for name, found in notes["files"].items()}
    return PreviousSite(out, folder, known)
