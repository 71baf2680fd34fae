"""What `engine status` says of each run: its state, which input made it stale, its age, what it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from engine.runs.planning.plan import Plan, PlannedRun


@dataclass(frozen=True)
class StatusRow:
    """One run. `run_id`, `date` and `age_seconds` are of the newest stored run of this name, stale or not;
    `seconds` is what it took, or what is expected where there is none (`measured` tells which)."""

    investigation: str
    label: str
    model: str
    family: str
    state: str
    reason: str
    changed: tuple[str, ...]
    run_id: int | None
    date: str
    age_seconds: float | None
    seconds: float
    measured: bool
    published: str  # the date of the published run, empty where none serves

    def to_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self) | {"changed": list(self.changed)}


def status(plan: Plan) -> list[StatusRow]:
    """A row for every run of a plan, as the specs list them."""
    return [_row(run) for run in plan.runs]


def _row(run: PlannedRun) -> StatusRow:
    stored = run.examined.current or run.examined.last
    age = (datetime.now(UTC) - datetime.fromisoformat(stored.date)).total_seconds() if stored else None
    note = run.note if run.decision == "reuse" else ""
    published = run.examined.published
    return StatusRow(
        investigation=run.name.slug,
        label=run.name.label,
        model=run.name.model,
        family=run.examined.family,
        state=run.state,
        reason="; ".join(filter(None, [run.reason, note])),
        changed=run.examined.changed,
        run_id=stored.id if stored else None,
        date=stored.date if stored else "",
        age_seconds=age,
        seconds=stored.seconds if stored else run.estimate.seconds,
        measured=stored is not None,
        published=published.provenance.date if published else "",
    )
