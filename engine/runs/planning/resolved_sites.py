"""Where in its models a run reads: the hook sites that an experiment names, with their layers as numbers.

A run's key holds the one `hook_site` resolved, and the sites among its parameters as they are written: a
relative depth is another layer in each of two models that are compared, and the bytes of both models, which
say how deep they are, are in the key already. The layers are recorded beside the key, to be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError, SpecError
from engine.spec.document import Loc
from engine.spec.load import written_at
from engine.spec.models import Experiment
from engine.spec.sites import resolve_site, resolve_sites

OF_EXPERIMENTS = ("hook_site", "prompts")
"""The keys that stand in an experiment itself; all others are among its parameters."""


@dataclass(frozen=True)
class InputFault:
    """What is wrong, for one model, with what is `written` under `key`: a site, sites, a dictionary, or
    prompts that need another model."""

    key: str  # hook_site, prompts, or the parameter's name
    written: Any
    error: EngineError

    @property
    def reason(self) -> str:
        """In one line, for the plan."""
        return f"{self.error.problem} ({self.error.seen})"

    def in_spec(self, path: Path, name: str, experiment: Experiment) -> SpecError:
        """The error with file, line and column, where no model has the site and the spec is at fault."""
        inside = ("experiments", name)
        section = inside if self.key in OF_EXPERIMENTS else (*inside, "parameters")
        swept: list[Loc] = [
            (*inside, "sweep", self.key, i) for i in range(len(experiment.sweep.get(self.key, [])))
        ]
        listed = experiment.parameters.get(self.key)
        items = [(*section, self.key, i) for i in range(len(listed) if isinstance(listed, list) else 0)]
        # Prompts stand under their key, or in the longer form under its `name`.
        own = [(*section, self.key), (*section, self.key, "name")]
        where = written_at(path, self.written, [*own, *items, *swept])
        # A default of the family, which the file does not say, or rows without a name.
        if where == str(path):
            where = f"{path}: {'.'.join(map(str, (*section, self.key)))}"
        error = self.error
        return SpecError(
            error.problem, where=where, expected=error.expected, seen=error.seen, hint=error.hint
        )


def resolved_hook_site(site: str | None, n_layers: int | None) -> tuple[str | None, InputFault | None]:
    """The hook site with its layer, where the depth is known; and what is wrong with it."""
    if site is None or n_layers is None:
        return site, None
    try:
        return resolve_site(site, n_layers), None
    except SpecError as error:
        return site, InputFault("hook_site", site, error)


def resolved_parameters(
    named: Mapping[str, Any], layers: Mapping[str, int | None]
) -> tuple[dict[str, list[str]], InputFault | None]:
    """The sites that parameters name, by model, each with its layer where the model's depth is known.

    `layers` are those of the model that is measured on and of one that it is compared with. The second value
    is the first fault found.
    """
    found: dict[str, list[str]] = {model: [] for model in layers} if named else {}
    for model in found:
        n_layers = layers[model]
        for key, written in named.items():
            sites = written if isinstance(written, list) else [written]
            resolved, fault = (sites, None) if n_layers is None else _resolved(key, sites, n_layers)
            if fault:
                # Of two models the error says which.
                fault.error.seen += f", in {model}" if len(layers) > 1 else ""
                return {}, fault
            found[model] += resolved
    return found, None


def _resolved(key: str, sites: list[str], n_layers: int) -> tuple[list[str], InputFault | None]:
    for site in sites:
        try:
            resolve_site(site, n_layers)
        except SpecError as error:
            return [], InputFault(key, site, error)
    try:
        return resolve_sites(sites, n_layers), None
    except SpecError as error:
        # Each of them is a place of the model: it is the list that is wrong.
        return [], InputFault(key, sites, error)
