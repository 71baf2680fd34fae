"""What every command that measures goes through: plan, show, measure, hand back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.commands.arguments import require
from engine.commands.console import Output, say
from engine.commands.plan_text import plan_text
from engine.commands.progress import run_progress
from engine.runs.execution.events import Event, Outcome
from engine.runs.execution.scheduler import execute
from engine.runs.investigation import Investigation, canonical_models
from engine.runs.planning.plan import Plan, PlannedRun, make_plan
from engine.runs.sources import project_sources
from engine.runs.store.record import RunName, StoredRun
from engine.runs.store.store import RunStore, open_store


@dataclass(frozen=True)
class MeasureOptions:
    """What the options of a measuring command say.

    Runs are measured in `jobs` processes here (None: as many as it is worth), or on a Ray `cluster`.
    """

    models: Sequence[str] | None = None
    force: bool = False
    dry_run: bool = False
    jobs: int | None = None
    cluster: str | None = None
    verbose: bool = False
    json: bool = False
    debug: bool = False


@dataclass(frozen=True)
class PlanOutcome:
    """What became of the runs of a plan; `failed` has those that broke, not models that cannot be had."""

    outcomes: dict[RunName, Outcome] = field(default_factory=dict)
    failed: dict[RunName, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SelectedRuns:
    """Some runs as they are after measuring, with the store that has them."""

    store: RunStore
    runs: Sequence[PlannedRun]
    outcomes: dict[RunName, Outcome]

    def stored(self, run: PlannedRun) -> tuple[StoredRun | None, str]:
        """The run that was measured or was there, or why there is none."""
        outcome = self.outcomes.get(run.name)
        if outcome is not None:
            return outcome.run, outcome.reason
        return run.examined.current, run.reason


def show_plan(
    plan: Plan,
    budget: str,
    options: MeasureOptions,
    runs: Sequence[PlannedRun],
    asked: Collection[RunName] = (),
) -> None:
    """Print the plan of these runs before it is carried out, which may take hours (see `plan_text`)."""
    if not options.json:
        for block in plan_text(plan, budget, runs, asked, options.verbose):
            say(str(block))


def execute_plan(plan: Plan, store: RunStore, options: MeasureOptions) -> PlanOutcome:
    """Measure what the plan decided, showing each run as it goes."""
    if not plan.order:
        return PlanOutcome()
    # An outcome does not tell a run that broke from a model that cannot be had: the event does.
    failed: dict[RunName, str] = {}
    with run_progress(quiet=options.json) as listener:

        def on_event(event: Event) -> None:
            listener(event)
            if event.kind == "failed":
                failed[event.run.name] = event.message

        where = {"jobs": options.jobs, "cluster": options.cluster}
        outcomes = execute(plan, store, project_sources(), on_event, debug=options.debug, **where)
    return PlanOutcome(outcomes, failed)


def measure_selected(
    root: Path,
    investigation: Investigation,
    experiments: Collection[str],
    options: MeasureOptions,
    describe: Callable[[SelectedRuns], Output],
) -> Output:
    """Plan some experiments of an investigation, show the plan, measure, and `describe` what came of it.

    After a dry run the plan is what is handed back. Raises EngineError for a model that the spec does not
    have.
    """
    models = canonical_models(options.models or (), investigation.folder)
    require(models, set(investigation.spec.models), "model in the spec")

    def select(run: RunName) -> bool:
        return run.experiment in experiments and (not models or run.model in models)

    with open_store(root) as store:
        plan = make_plan([investigation], store, project_sources(), fresh=options.force, select=select)
        # What the chosen runs build on is measured with them, so that it is shown with them.
        shown = [run for run in plan.runs if select(run.name) or run.name in plan.order]
        show_plan(plan, "all", options, shown, asked=[run.name for run in shown])
        if options.dry_run:
            return Output(data=plan.to_json(), as_json=options.json)
        outcomes = execute_plan(plan, store, options).outcomes
        selected = [run for run in plan.runs if select(run.name)]
        return replace(describe(SelectedRuns(store, selected, outcomes)), as_json=options.json)
