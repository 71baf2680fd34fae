"""What a build will do, and why: for each run whether it is up to date, what changed, and what it would cost.

Within a budget the primary model's runs come first, because the prose reads its numbers, and of these the
cheapest experiment, all its sweep points together, with what it needs: runs that it uses, and the fetch and
load of its model. What was never measured, so that its cost is a guess, comes after what is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from engine.runs.garbage import collected_seldom
from engine.runs.investigation import Investigation
from engine.runs.planning.cost import CostEstimate, model_seconds
from engine.runs.planning.selection import Selection
from engine.runs.planning.staleness import RunInspector, RunStatus
from engine.runs.sources import Sources
from engine.runs.store.record import RunName
from engine.runs.store.store import RunStore
from engine.spec.specifications import Specification, specifications

Decision = Literal["reuse", "measure", "published", "unmeasured"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan: how things stand, what it would cost, what is decided and why (`note`)."""

    examined: RunStatus
    estimate: CostEstimate
    decision: Decision
    note: str = ""

    @property
    def name(self) -> RunName:
        return self.examined.name

    @property
    def state(self) -> str:
        """`up to date`, `stale`, `new` or `not measurable`."""
        return self.examined.state

    @property
    def reason(self) -> str:
        """Why it is in this state: which inputs changed, or why it cannot be measured here."""
        return self.examined.reason

    @property
    def run_id(self) -> int | None:
        """The stored run whose numbers are current, if there is one."""
        return self.examined.current.id if self.examined.current else None

    def to_json(self) -> dict[str, Any]:
        """The run as plain data."""
        return {
            "investigation": self.name.slug,
            "experiment": self.name.experiment,
            "point": dict(self.name.point),
            "label": self.name.label,
            "model": self.name.model,
            "family": self.examined.family,
            "state": self.state,
            "reason": self.reason,
            "changed": list(self.examined.changed),
            "decision": self.decision,
            "note": self.note,
            "run_id": self.run_id,
            "seconds": round(self.estimate.seconds, 2),
            "seconds_low": round(self.estimate.low, 2),
            "seconds_high": round(self.estimate.high, 2),
            "estimate_from": self.estimate.basis,
            "is_guess": self.estimate.is_guess,
            "memory_bytes": self.estimate.memory_bytes,
        }


@dataclass(frozen=True)
class Plan:
    """Every run of the investigations, as the specs list them, and the order that those to measure go in.

    `model_seconds` is what fetching and loading each model costs, paid once; `fetches` says what is to be
    fetched. `newest_run` was the last run in the store when the plan was made. `specifications` are those of
    the claims that name choices, by investigation and claim. `inspector` is who looked
    at all this, and has what was published when the plan was made.
    """

    runs: tuple[PlannedRun, ...]
    order: tuple[RunName, ...]
    investigations: dict[str, Investigation]
    budget_seconds: float
    model_seconds: dict[str, float] = field(default_factory=dict)
    fetches: dict[str, str] = field(default_factory=dict)
    fresh: bool = False
    newest_run: int = 0
    specifications: dict[str, dict[str, list[Specification]]] = field(default_factory=dict)
    inspector: RunInspector | None = field(default=None, repr=False, compare=False)

    @property
    def to_measure(self) -> list[PlannedRun]:
        """The runs to measure, in order: model by model, each after those it uses."""
        by_name = {run.name: run for run in self.runs}
        return [by_name[name] for name in self.order]

    @property
    def seconds(self) -> float:
        """What measuring will take, models included."""
        models = {name.model for name in self.order}
        return sum(r.estimate.seconds for r in self.to_measure) + sum(self.model_seconds[m] for m in models)

    def of(self, slug: str) -> list[PlannedRun]:
        """The runs of one investigation."""
        return self._by_slug.get(slug, [])

    @cached_property
    def _by_slug(self) -> dict[str, list[PlannedRun]]:
        found: dict[str, list[PlannedRun]] = {}
        for run in self.runs:
            found.setdefault(run.name.slug, []).append(run)
        return found

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        budget = "all" if math.isinf(self.budget_seconds) else self.budget_seconds
        rows = [run.to_json() for run in self.runs]
        return {"budget_seconds": budget, "seconds": round(self.seconds, 1), "runs": rows}


@collected_seldom()
def make_plan(
    investigations: Iterable[Investigation],
    store: RunStore,
    sources: Sources,
    *,
    budget: float = math.inf,
    fresh: bool = False,
    changed: bool = False,
    select: Callable[[RunName], bool] = lambda name: True,
) -> Plan:
    """What to measure within `budget` seconds (see `parse_budget`) of the runs that `select` accepts.

    Runs that a selected one uses come along where they are not up to date. `fresh` measures what is selected
    even where it is up to date, `changed` only what was measured here before. Raises SpecError for a hook
    site that no model of the spec has, ModelUnknown, DataError for prompts that cannot be read, StoreError
    for a published file that cannot.
    """
    found = {i.slug: i for i in investigations}
    examiner = RunInspector(store, sources)
    examined = [run for investigation in found.values() for run in examiner.examine(investigation)]
    examiner.save()  # what was read of code and data; no estimate needs it again
    # Only now: an estimate learns from all published runs, which the loop above has read.
    estimates = {run.name: examiner.estimate(run) for run in examined}
    dtypes = {m: e.experiment.dtype for e in examined for m in (e.name.model, *e.inputs.second)}
    facts = {model: examiner.facts(model, dtype) for model, dtype in dtypes.items()}
    startup = {model: model_seconds(known) for model, known in facts.items()}
    fetches = {model: known.reason for model, known in facts.items() if known.available and known.reason}
    primaries = {slug: i.spec.models[0] for slug, i in found.items()}
    selection = Selection(examined, estimates, startup, primaries, fresh, changed, select)
    order = _in_order(selection, budget)
    chosen = frozenset(order)
    versions = dict(sources.versions())
    runs = [
        PlannedRun(run, estimates[run.name], *_decided(run, chosen, selection, budget, versions))
        for run in examined
    ]
    newest = max((run.id for run in examiner.history), default=0)
    specified = {slug: _specified(investigation, sources) for slug, investigation in found.items()}
    return Plan(tuple(runs), order, found, budget, startup, fetches, fresh, newest, specified, examiner)


def _specified(investigation: Investigation, sources: Sources) -> dict[str, list[Specification]]:
    """The specifications of each claim that names choices."""
    spec = investigation.spec
    return {
        claim_id: specifications(spec, claim, sources.catalog)
        for claim_id, claim in spec.claims.items()
        if claim.across
    }


def _in_order(selection: Selection, budget: float) -> tuple[RunName, ...]:
    """The chosen runs grouped by model, so that each is loaded once; primary models first, else as chosen.

    Within a finite budget guesses come after all that is known, even where a model is loaded twice for it:
    they may take what is left, and no more.
    """
    chosen = list(selection.within(budget))
    primaries = set(selection.primaries.values())
    models = list(dict.fromkeys(name.model for name in chosen))
    # Stable: within primaries and others, models go in the order in which their first run was chosen.
    models.sort(key=lambda model: model not in primaries)
    place = {model: index for index, model in enumerate(models)}
    last = frozenset() if math.isinf(budget) else frozenset(filter(selection.is_guessed, chosen))
    # Stable too, so that a run stays behind those it uses, which `within` gave before it.
    return tuple(sorted(chosen, key=lambda name: (name in last, place[name.model])))


def _decided(
    run: RunStatus,
    chosen: frozenset[RunName],
    selection: Selection,
    budget: float,
    versions: Mapping[str, str],
) -> tuple[Decision, str]:
    """What happens with a run, and why where that is not plain from its state."""
    if run.name in chosen:
        return "measure", "" if run.name in selection.wanted else "another run needs it"
    if run.current is not None:
        return "reuse", _versions_note(run.current.record.provenance["versions"], versions)
    why = ""
    if run.name in selection.wanted:
        seconds = selection.estimates[run.name].seconds
        why = f"over the budget, at about {seconds:.3g} s" if budget else "--budget 0 measures nothing"
    elif not run.blocked:
        why = (
            "only what changed is asked for" if selection.changed and run.state == "new" else "not asked for"
        )
    if run.published is not None:
        return "published", why
    return "unmeasured", "; ".join(filter(None, [why, run.unpublished]))


def _versions_note(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Libraries that changed since; they do not make a run stale (see `keys`), but may be of interest."""
    old = {name: version for name, version in then.items() if now.get(name, version) != version}
    changed = [f"{name} {version} (now {now[name]})" for name, version in old.items()]
    return "measured with " + ", ".join(changed) if changed else ""
