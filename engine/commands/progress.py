"""What a person sees of a build: the plan, each run as it goes, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.commands.console import Bars, human_bytes, human_seconds, say, table
from engine.runs.planning.plan import Plan, PlannedRun

if TYPE_CHECKING:
    from engine.runs.execution.scheduler import Event

DECIDED = {"reuse": "up to date", "measure": "measure", "published": "published", "unmeasured": "unmeasured"}


class Shown:
    """Prints a build; says nothing where `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, text: str = "") -> None:
        if not self.quiet:
            say(text)

    def plan(self, plan: Plan, budget: str, runs: Sequence[PlannedRun] | None = None) -> None:
        """For each run what will happen, why, and what it is expected to cost."""
        runs = plan.runs if runs is None else runs
        if self.quiet or not runs:
            return
        say(f"Plan (budget {budget}):")
        rows = [
            (
                f"  {run.name.slug}/{run.name.label}",
                run.name.model,
                DECIDED[run.decision],
                f"{human_seconds(run.estimate.low)} to {human_seconds(run.estimate.high)}"
                if run.decision == "measure"
                else "",
                human_bytes(run.estimate.memory_bytes) if run.decision == "measure" else "",
                _why(run),
            )
            for run in runs
        ]
        table(["  experiment", "model", "decision", "time", "memory", "why"], rows)
        if plan.order:
            say(f"To measure: {len(plan.order)} runs, about {human_seconds(plan.seconds)}, models included.")
        say()

    @contextmanager
    def runs(self) -> Iterator[Callable[[Event], None]]:
        """A listener for the events of `execute`."""
        show = _Runs(self.quiet)
        try:
            yield show
        finally:
            show.close()

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """A line before something that takes seconds."""
        self.say(f"{what} ...")
        yield

    def built(self, reports: Sequence, concerns: Sequence, failed: dict, out: Path) -> None:
        """How the build ended, and where to look."""
        if self.quiet:
            return
        for report in reports:
            counts = Counter(v.verdict for v in report.ledger.verdicts[report.ledger.primary].values())
            told = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())) or "no claims"
            agreed, compared = report.ledger.replicated
            again = f"; replicated {agreed} of {compared} published numbers" if compared else ""
            say(f"{report.slug} on {report.ledger.primary}: {told}{again}")
        for name, reason in failed.items():
            say(f"not measured: {name}: {reason.splitlines()[0]}")
        if concerns:
            kinds = Counter(c.kind for c in concerns)
            said = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
            say(f"needs a person: {said} (engine check lists them)")
        say(f"\nThe site is in {_near(out)}; to read it: {_reader(out)}")


def _near(path: Path) -> Path:
    """The path as seen from here, where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _reader(out: Path) -> str:
    return f"python3 -m http.server -d {_near(out)} 8000, then http://127.0.0.1:8000/"


def _why(run: PlannedRun) -> str:
    return "; ".join(filter(None, [run.reason, run.note, _estimated(run)]))


def _estimated(run: PlannedRun) -> str:
    return f"estimate from {run.estimate.basis}" if run.decision == "measure" else ""


class _Runs:
    """The events of a build as lines and bars, several runs at once if need be."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.bars = quiet, Bars()

    def __call__(self, event: Event) -> None:
        if self.quiet:
            return
        title = f"[{event.index}/{event.total}] {event.run.name}"
        if event.kind == "progress":
            self.bars.update(title, event.fraction, event.message)
        elif event.kind == "fetch":
            self.bars.update(f"{title}: fetching", event.fraction, event.message)
        else:
            self.bars.end(title)
            self.bars.end(f"{title}: fetching")
            say(f"{title}: {_told(event)}")

    def close(self) -> None:
        self.bars.close()


def _told(event: Event) -> str:
    if event.kind == "start":
        return f"measuring, about {human_seconds(event.seconds_left)}"
    if event.kind == "wait":
        who = f"another build (process {event.message})" if event.message else "another build or run"
        return f"{who} is measuring this; waiting for it"
    if event.kind == "done":
        return f"done, {event.message}"
    if event.kind == "reused":
        return f"another build measured it meanwhile, {event.message}"
    return f"{'failed' if event.kind == 'failed' else 'not measured'}: {event.message}"
