"""Measuring from Python what a spec says, in a file, in a dictionary or in a function's arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.runs.assemble import assemble
from engine.runs.execution.events import Event
from engine.runs.execution.scheduler import execute
from engine.runs.interactive.results import Results
from engine.runs.interactive.rows import with_rows
from engine.runs.investigation import (
    Investigation,
    canonical_models,
    find_named,
    find_root_or_here,
    investigation_of,
    load_investigation,
)
from engine.runs.planning.plan import make_plan
from engine.runs.sources import Sources, project_sources
from engine.runs.store.record import RunName
from engine.runs.store.store import open_store

SPEC_SUFFIXES = (".yaml", ".yml", ".json")


def run(
    spec: str | Path | Mapping[str, Any],
    *,
    model: str | Sequence[str] = (),
    force: bool = False,
    jobs: int | None = 1,
    quiet: bool = False,
) -> Results:
    """Measure an experiment or a whole spec, keep the runs in the run store, and give what was found.

    `spec` is a path, whole or flat; a dictionary of the same keys, whose files are looked for from the
    working directory; or the name of an experiment, `slug/experiment` of this project or that of a flat spec
    in experiments/. What is up to date is not measured again, unless with `force`. `model` chooses among the
    spec's models. Lines of progress go to standard error, unless `quiet`. Raises EngineError where the spec
    says something impossible, where a run failed, and where none could be measured here.
    """
    sources = project_sources()
    root, investigation, experiments = _asked_for(spec, sources)
    models = canonical_models([model] if isinstance(model, str) else model, investigation.folder)
    for name in models:
        if name not in investigation.spec.models:
            expected = "one of " + ", ".join(investigation.spec.models)
            raise EngineError(f"no model {name!r} in this spec", expected=expected, seen=name)

    def select(run: RunName) -> bool:
        return run.experiment in experiments and (not models or run.model in models)

    failed: dict[str, str] = {}

    def listen(event: Event) -> None:
        if event.kind == "failed":
            failed[str(event.run.name)] = event.message
        if not quiet:
            _tell(event)

    with open_store(root) as store:
        plan = make_plan([investigation], store, sources, fresh=force, select=select)
        outcomes = execute(plan, store, sources, listen, jobs=jobs)
        ledger = assemble(investigation, store, plan, outcomes)
    for name, why in failed.items():
        raise EngineError(f"{name} was not measured", seen=why.splitlines()[0])
    asked = [entry for entry in ledger.entries if entry.experiment in experiments]
    if all(entry.state == "unmeasured" for entry in asked):
        entry = asked[0]
        raise EngineError(f"{entry.label} was not measured on {entry.model}", seen=entry.reason)
    return Results(ledger, experiments[0] if len(experiments) == 1 else "")


def measure(
    family: str,
    *,
    model: str,
    prompts: Any = None,
    corpus: Any = None,
    hook_site: str | None = None,
    dtype: str = "float32",
    force: bool = False,
    quiet: bool = False,
    **parameters: Any,
) -> Results:
    """Measure one experiment without a file; all other names are the family's parameters.

    `prompts` and `corpus` are written as in a spec: a name, a path, or a dictionary; prompts may be rows too,
    in a list or a frame. The run is kept like any other, so that a second call with the same arguments takes
    no time. Raises as `run` does.
    """
    given = {"prompts": with_rows(prompts), "corpus": corpus, "hook_site": hook_site}
    spec: dict[str, Any] = {"family": family, "model": model}
    spec |= {key: value for key, value in given.items() if value is not None}
    spec |= {"dtype": dtype} if dtype != "float32" else {}
    spec |= {"parameters": parameters} if parameters else {}
    return run(spec, force=force, quiet=quiet)


def _asked_for(
    spec: str | Path | Mapping[str, Any], sources: Sources
) -> tuple[Path, Investigation, Sequence[str]]:
    """Whose run store it is, the investigation that a spec is, and its experiments that are meant."""
    if isinstance(spec, Mapping):
        investigation = investigation_of(spec, sources.catalog)
    elif isinstance(spec, Path) or spec.endswith(SPEC_SUFFIXES):
        investigation = load_investigation(Path(spec), sources.catalog)
    else:
        root, investigation, experiment = find_named(spec, sources.catalog)
        return root, investigation, [experiment]
    return find_root_or_here(), investigation, list(investigation.spec.experiments)


def _tell(event: Event) -> None:
    """A line for what begins, ends or is fetched."""
    words: dict[str, Callable[[], str]] = {
        "start": lambda: "measuring",
        "done": lambda: "measured",
        "reused": lambda: "measured by another process",
        "unmeasured": lambda: f"not measured: {event.message}",
    }
    if event.kind in words:
        print(f"[{event.index}/{event.total}] {event.run.name}: {words[event.kind]()}", file=sys.stderr)
