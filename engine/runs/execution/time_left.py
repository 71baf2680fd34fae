"""How long a build will go on: the plan's estimates, put right by the pace at which it measures.

A run's first word of progress replaces its estimate. What it takes in truth, against what was estimated, also
scales the runs that are still to come and that it has something to say about.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from engine.runs.planning.plan import Plan, PlannedRun
from engine.runs.store.record import RunName

LEAST_SECONDS = 1.0  # left of a run that is not done, whatever its pace says

Likeness = tuple[str, str, bool]  # family, model, whether the estimate is a guess


@dataclass(frozen=True)
class Duration:
    """Seconds, None where nothing is known; a guess where nothing like it was ever measured."""

    seconds: float | None
    is_guess: bool


@dataclass
class TimeLeft:
    """The clock of one build: when each run began, and how long it takes in all by its own pace."""

    plan: Plan
    clock: Callable[[], float] = time.monotonic
    begun: dict[RunName, float] = field(default_factory=dict)
    paces: dict[RunName, float] = field(default_factory=dict)  # seconds of the whole run

    def __post_init__(self) -> None:
        self.started = self.clock()
        self.by_name = {run.name: run for run in self.plan.to_measure}

    def start(self, name: RunName) -> None:
        """The run begins, perhaps for the second time, after its process died."""
        self.begun[name] = self.clock()
        self.paces.pop(name, None)

    def progress(self, name: RunName, fraction: float) -> None:
        """So much of the run is done."""
        # A word at 0 only says that something is being prepared: it has no pace.
        if name in self.begun and fraction > 0:
            self.paces[name] = (self.clock() - self.begun[name]) / min(fraction, 1.0)

    def done(self, name: RunName, seconds: float) -> None:
        """The run took so long."""
        self.paces[name] = seconds

    def failed(self, name: RunName) -> None:
        """The run ended early, which says nothing about others."""
        self.paces.pop(name, None)

    def of_run(self, run: PlannedRun) -> Duration:
        """What is left of a run that goes on, or all of one to come."""
        return self._left(run, {})

    def of_plan(self, ended: Collection[RunName]) -> Duration:
        """What is left of all runs but those that ended, as many of them at once as there are now."""
        factors: dict[Likeness, float | None] = {}
        going = [run for run in self.plan.to_measure if run.name not in ended]
        active = [self._left(run, factors) for run in going if run.name in self.begun]
        waiting = [self._left(run, factors) for run in going if run.name not in self.begun]
        # What has outrun its estimate counts as nearly done: there is nothing better to say of it.
        lefts = [duration.seconds or LEAST_SECONDS for duration in active]
        together = sum(lefts) + sum(duration.seconds or 0.0 for duration in waiting) + self._loading(going)
        # However many work at once, the build ends no earlier than the longest of them.
        seconds = max([LEAST_SECONDS, *lefts, together / max(len(active), 1)])
        return Duration(seconds, any(duration.is_guess for duration in (*active, *waiting)))

    def is_over_budget(self, run: PlannedRun) -> bool:
        """Whether a run no longer fits the plan's budget; what was measured says so, never a guess alone."""
        spent = self.clock() - self.started
        whole = self._whole(run, {})
        # A run that nobody can tell the length of may begin as long as any of the budget is left.
        needed = 0.0 if whole.is_guess else whole.seconds or 0.0
        return spent + needed > self.plan.budget_seconds

    def _left(self, run: PlannedRun, factors: dict[Likeness, float | None]) -> Duration:
        whole = self._whole(run, factors)
        if whole.seconds is None or run.name not in self.begun:
            return whole
        left = whole.seconds - (self.clock() - self.begun[run.name])
        if run.name in self.paces:
            return Duration(max(left, LEAST_SECONDS), is_guess=False)
        # Longer than estimated, and not a word of progress yet: there is no telling.
        return Duration(left if left > 0 else None, whole.is_guess)

    def _whole(self, run: PlannedRun, factors: dict[Likeness, float | None]) -> Duration:
        """All of a run: by its own pace, else as estimated, times how far off its like's estimates are.

        `factors` remembers those of one moment: a plan may have hundreds of runs, of few families and models.
        """
        if run.name in self.paces:
            return Duration(self.paces[run.name], is_guess=False)
        likeness = (run.examined.family, run.name.model, run.estimate.is_guess)
        if likeness not in factors:
            factors[likeness] = self._factor(*likeness)
        factor = factors[likeness]
        if factor is None:
            return Duration(run.estimate.seconds, run.estimate.is_guess)
        return Duration(run.estimate.seconds * factor, is_guess=False)

    def _factor(self, family: str, model: str, is_guess: bool) -> float | None:
        """How many times as long as estimated such runs take; None where none like them was measured.

        Alike are first those of the family on the model, then those of the family. One guess is also like
        another, because all are made by one rule: if that is off on this machine, it is off for all of them.
        """
        measured = [self.by_name[name] for name in self.paces if name in self.by_name]
        of_family = [run for run in measured if run.examined.family == family]
        alike = [run for run in of_family if run.name.model == model] or of_family
        if not alike and is_guess:
            alike = [run for run in measured if run.estimate.is_guess]
        ratios = [self.paces[run.name] / max(run.estimate.seconds, 1e-3) for run in alike]
        return statistics.median(ratios) if ratios else None

    def _loading(self, going: list[PlannedRun]) -> float:
        """Seconds until the models are in memory that no run has begun on."""
        loaded = {name.model for name in self.begun}
        models = {run.name.model for run in going} - loaded
        return sum(self.plan.model_seconds.get(model, 0.0) for model in models)
