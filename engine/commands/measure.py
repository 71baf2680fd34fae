"""What every measuring command goes through: plan, show, measure, hand back; and `mech run` itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.commands.console import emit_json, say, table, told_number
from engine.commands.progress import Shown
from engine.errors import EngineError, nearest
from engine.runs.investigation import (
    Investigation,
    find_experiment,
    find_investigations,
    find_root,
    find_root_or_here,
    load_investigation,
)
from engine.runs.planning.plan import Plan, PlannedRun, make_plan
from engine.runs.sources import project_sources
from engine.runs.store.record import RunName, StoredRun
from engine.runs.store.store import RunStore, open_store

if TYPE_CHECKING:
    from engine.runs.execution.scheduler import Event, Outcome

Outcomes = dict[RunName, "Outcome"]


@dataclass(frozen=True)
class Hands:
    """Who measures: so many processes here (None: as many as it is worth), or a Ray cluster."""

    jobs: int | None = None
    cluster: str | None = None


def measure(
    plan: Plan,
    store: RunStore,
    shown: Shown,
    hands: Hands = Hands(),
    failed: dict[RunName, str] | None = None,
) -> Outcomes:
    """Measure what the plan decided. `failed` gathers runs that broke, not models that cannot be had here."""
    from engine.runs.execution.scheduler import execute

    if not plan.order:
        return {}

    with shown.runs() as show:

        def on_event(event: Event) -> None:
            show(event)
            if event.kind == "failed" and failed is not None:
                failed[event.run.name] = event.message

        return execute(plan, store, project_sources(), on_event, jobs=hands.jobs, cluster=hands.cluster)


@dataclass(frozen=True)
class Asked:
    """What the options of a measuring command say."""

    models: Sequence[str] | None
    dry_run: bool
    hands: Hands
    json: bool
    force: bool = False


@dataclass(frozen=True)
class Done:
    """Some runs as they are after measuring, with the store that has them."""

    store: RunStore
    runs: list[PlannedRun]
    outcomes: Outcomes

    def stored(self, run: PlannedRun) -> tuple[StoredRun | None, str]:
        """The run that was measured or was there, or why there is none."""
        outcome = self.outcomes.get(run.name)
        if outcome is not None:
            return outcome.run, outcome.reason
        return run.examined.current, run.reason


@contextmanager
def carried_out(
    root: Path, investigation: Investigation, experiments: Collection[str], given: Asked
) -> Iterator[Done | None]:
    """Plan some experiments of an investigation, show the plan, measure; None after a dry run.

    Raises EngineError for a model that the spec does not have.
    """
    require(given.models or (), set(investigation.spec.models), "model in the spec")
    shown = Shown(quiet=given.json)

    def select(run: RunName) -> bool:
        return run.experiment in experiments and (not given.models or run.model in given.models)

    with open_store(root) as store:
        plan = make_plan([investigation], store, project_sources(), fresh=given.force, select=select)
        shown.plan(plan, "all", [r for r in plan.runs if select(r.name) or r.name in plan.order])
        if not given.dry_run:
            outcomes = measure(plan, store, shown, given.hands)
            yield Done(store, [run for run in plan.runs if select(run.name)], outcomes)
            return
        if given.json:
            emit_json(plan.to_json())
        yield None


def run(
    name: str | None,
    spec: Path | None,
    *,
    models: Sequence[str] | None,
    force: bool,
    dry_run: bool,
    json: bool,
    hands: Hands = Hands(),
) -> bool:
    """`mech run`: whether everything asked for was measured and passed its checks."""
    sources = project_sources()
    if spec is not None:
        investigation, experiment = load_investigation(existing(spec), sources.catalog), None
        root = find_root_or_here()
    else:
        root = find_root()
        investigation, experiment = find_experiment(find_investigations(root, sources.catalog), name or "")
    experiments = [experiment] if experiment else list(investigation.spec.experiments)
    given = Asked(models, dry_run, hands, json, force)
    with carried_out(root, investigation, experiments, given) as done:
        return done is None or _print_numbers(done, json)


def _print_numbers(done: Done, json: bool) -> bool:
    from engine.evidence.printing import interval_text
    from engine.runs.assemble import stored_entry

    complete, told = True, []
    for planned in done.runs:
        stored, why = done.stored(planned)
        if stored is None:
            complete = False
            told.append({"run": str(planned.name), "id": None, "reason": why})
            if not json:
                say(f"\n{planned.name}: not measured: {why}")
            continue
        entry = stored_entry(done.store, stored)
        complete = complete and not entry.withheld
        numbers = {name: told_number(m) for name, m in entry.measurements.items()}
        told.append(
            {"run": str(planned.name), "id": stored.id, "reason": entry.reason, "measurements": numbers}
        )
        if not json:
            say(f"\n{planned.name}, run {stored.id}{': ' + entry.reason if entry.reason else ''}")
            rows = [(m.role, m.name, interval_text(m)) for m in entry.measurements.values()]
            table(["role", "number", "value"], rows)
            say(f"mech report --run-id {stored.id} writes it as a page")
    if json:
        emit_json(told)
    return complete


def existing(path: Path) -> Path:
    """The path of a spec file that is there; EngineError with the nearest ones where it is not."""
    if path.is_file():
        return path
    beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    raise EngineError("there is no such spec file", where=str(path), near=nearest(path.name, beside))


def require(names: Sequence[str], known: set[str], what: str) -> None:
    """EngineError for a name that is not known, with the nearest that are."""
    for name in names:
        if name not in known:
            raise EngineError(
                f"no {what} is called {name!r}",
                expected="one of " + ", ".join(sorted(known)),
                near=nearest(name, known),
            )
