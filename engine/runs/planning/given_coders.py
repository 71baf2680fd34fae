"""Dictionaries that experiments are given: whether they are here, and of this model and hook site.

A plan reads a folder's configuration and the header of its weights, and hashes both; the weights themselves
are read by the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data.packaged_coders import packaged_coder_folder
from engine.errors import DataError
from engine.lab.sparse.saelens_config import (
    SaelensConfig,
    check_tensors,
    folder_hash,
    misfit,
    read_config,
)
from engine.runs.model_paths import located
from engine.runs.planning.resolved_sites import InputFault


@dataclass(frozen=True)
class GivenCoder:
    """A dictionary by its path in the project, with the parameter that names it; `config` is None, and the
    hash empty, where there is no such folder here."""

    parameter: str
    path: str
    hash: str
    config: SaelensConfig | None

    @property
    def absent(self) -> str:
        """Why it cannot be had here; empty where it can."""
        return "" if self.config else f"there is no folder {self.path} here"

    def fault(self, models: Sequence[str], hook_site: str | None, written: str) -> InputFault | None:
        """Why the dictionary is of none of these models, or of another hook site; None where it fits one, or
        is not here. `written` is how the spec spells its path."""
        if self.config is None:
            return None
        found = [misfit(self.config, model, hook_site) for model in models]
        return InputFault(self.parameter, written, found[0]) if found[0] and all(found) else None


def given_coder(parameter: str, path: str, root: Path | None) -> GivenCoder:
    """What a plan must know of a dictionary; DataError naming the file where the folder is broken."""
    folder = coder_folder(path, root)
    if not folder.exists():
        return GivenCoder(parameter, path, "", None)
    config = read_config(folder)
    check_tensors(config)
    try:
        return GivenCoder(parameter, path, folder_hash(folder), config)
    except OSError as error:
        raise DataError("this dictionary cannot be read", where=str(folder), seen=str(error)) from None


def coder_folder(path: str, root: Path | None) -> Path:
    """Where a dictionary lies: in the package where it is a packaged one's name."""
    return packaged_coder_folder(path) or Path(located(path, root))
