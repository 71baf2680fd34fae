"""Which harvested activations on the disk no run of a present spec would read any more."""

from __future__ import annotations

from pathlib import Path

from engine.lab.activation_cache import HarvestFolder, harvest_folders
from engine.runs.planning.plan import Plan


def unneeded_activations(plan: Plan, engine_folder: Path) -> list[HarvestFolder]:
    """The harvests that no run of a present spec would read: none that is still to be measured has both this
    model and this corpus, or it was written by an engine of another format."""
    # What is up to date reads no activations again: only runs still to be measured need theirs.
    waiting = [run.examined.inputs for run in plan.runs if run.state != "up to date"]
    needed = {
        (str(model), inputs.data.get("corpus", ""))
        for inputs in waiting
        for model in (inputs.model, *inputs.second.values())
    }
    harvests = harvest_folders(engine_folder)
    return [found for found in harvests if not found.is_readable or found.needs not in needed]
