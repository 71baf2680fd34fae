"""Whether the demo's stills are still what its panels answer; found without loading a panel or a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.demo.panel_code import panel_codes
from engine.models.known import KNOWN
from engine.publish.demo_stills import COMMAND, FILE, read_stills
from engine.report.lint import Concern


def still_concerns(site: Path, codes: Mapping[str, str] | None = None) -> list[Concern]:
    """Where the stills under site/ are no longer what the panels answer; nothing for a site without any.

    `codes` are the panels' hashes now, by default the engine's own. SiteError for a file that cannot be read.
    """
    stills = read_stills(site)
    if stills is None:
        return []
    codes = panel_codes() if codes is None else codes
    default = KNOWN[0]
    kept = {panel.name: panel.code for panel in stills.panels}
    told: list[tuple[str, str]] = []
    if (stills.model, stills.model_hash) != (default.name, default.pins.sha256):
        told.append(("model", f"made on {stills.model}, and the demo's model is {default.name} by now"))
    for name, code in codes.items():
        if name not in kept:
            told.append((name, "this panel has no still"))
        elif kept[name] != code:
            told.append((name, f"the panel's code has changed since {stills.date[:10]}"))
    told += [(name, "there is no such panel any more") for name in kept if name not in codes]
    return [
        Concern("stale-still", f"site/{FILE}: {name}", f"{why}; {COMMAND} makes it anew")
        for name, why in told
    ]
