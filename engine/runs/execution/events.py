"""What a build tells while it measures, and how each of its runs ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.runs.planning.plan import PlannedRun
from engine.runs.store.record import StoredRun

EventKind = Literal["fetch", "start", "progress", "wait", "done", "reused", "failed", "unmeasured"]


@dataclass(frozen=True)
class Event:
    """Something to show: run `index` (from 1) of `total`, its progress from 0 to 1, and what is left.

    Seconds left are None where nothing is known of them, and never 0 while the run goes on. They follow the
    pace of this build as soon as there is one; before that `is_guess` says that nothing like it was ever
    measured. The same holds of the whole plan.
    """

    kind: EventKind
    run: PlannedRun
    index: int
    total: int
    fraction: float = 0.0
    message: str = ""
    seconds_left: float | None = None
    is_guess: bool = False
    total_seconds_left: float | None = None
    total_is_guess: bool = False


@dataclass(frozen=True)
class Outcome:
    """A run of the plan as it ended: stored, or not and why."""

    run: StoredRun | None
    reason: str = ""
