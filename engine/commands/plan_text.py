"""A plan as a person reads it: a summary by investigation, and a row where something is to be measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from engine.commands.console import TextTable, human_bytes, human_seconds
from engine.runs.planning.plan import Plan, PlannedRun
from engine.runs.store.record import RunName

DECISIONS = {
    "measure": "measure",
    "reuse": "up to date",
    "published": "published",
    "unmeasured": "unmeasured",
}
RUNS_NAMED = 3  # of the runs that serve the points of one sweep


def plan_text(
    plan: Plan,
    budget: str,
    runs: Sequence[PlannedRun],
    asked: Collection[RunName] = (),
    verbose: bool = False,
) -> list[str | TextTable]:
    """What will happen to `runs`, and what that is expected to cost.

    Runs that are measured, or `asked` for by name, have rows, the points of a sweep one together; with
    `verbose` every run has one of its own.
    """
    if not runs:
        return []
    if verbose:
        shown = [[run] for run in runs]
    else:
        shown = sweeps([run for run in runs if run.decision == "measure" or run.name in asked])
    columns = {**DECISIONS, "measure": "to measure"}
    counts = investigation_counts(runs, columns, lambda run: run.decision, "reuse", _time)
    text: list[str | TextTable] = [f"Plan (budget {budget}):", "", counts]
    if shown:
        headers = ["experiment", "model", "decision", "time", "memory", "why"]
        text += ["", TextTable(headers, [_row(points) for points in shown])]
    text.append("")
    if plan.order:
        text.append(_total(plan))
    if sum(map(len, shown)) < len(runs):
        text.append("--verbose lists every run.")
    return [*text, ""]


def sweeps(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs in groups: the points of one sweep on one model about which the same was decided."""
    groups: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in runs:
        key = (run.name.slug, run.name.experiment, run.name.model, run.decision, run.state)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def sweep_name(points: Sequence[PlannedRun]) -> str:
    """`fact-recall/lens`, with its point where it is one of a sweep, or with how many it stands for."""
    name = points[0].name
    if len(points) == 1:
        return f"{name.slug}/{name.label}"
    return f"{name.slug}/{name.experiment} ({len(points)} points)"


def sweep_reason(points: Sequence[PlannedRun], reasons: Sequence[str]) -> str:
    """Why the points of a sweep are as they are: what they have in common, else the first's reason.

    Of those that are up to date, the runs that serve them.
    """
    # Each has a reason of its own, its run, which says more than that the others differ.
    if len(points) > 1 and all(run.state == "up to date" for run in points):
        ids = [str(run.run_id) for run in points]
        return f"runs {', '.join(ids[:RUNS_NAMED])}{', ...' if len(ids) > RUNS_NAMED else ''}"
    others = len(set(reasons)) - 1
    return reasons[0] + ("; others differ (--verbose)" if others else "")


def investigation_counts(
    runs: Sequence[PlannedRun],
    columns: Mapping[str, str],
    column_of: Callable[[PlannedRun], str],
    settled: str,
    time_of: Callable[[Sequence[PlannedRun]], str] | None = None,
) -> TextTable:
    """How many runs of each investigation fall into each column; those that are all `settled` share a row.

    `columns` are headers by what `column_of` gives; `time_of` adds a last column.
    """
    investigations: dict[str, list[PlannedRun]] = {}
    for run in runs:
        investigations.setdefault(run.name.slug, []).append(run)
    done = [slug for slug, its_runs in investigations.items() if {*map(column_of, its_runs)} == {settled}]
    # A single one takes a row either way, and then it had better have its name.
    if len(done) > 1:
        together = [run for slug in done for run in investigations.pop(slug)]
        investigations[f"{len(done)} others" if investigations else f"{len(done)} investigations"] = together
    rows = []
    for title, its_runs in investigations.items():
        counts = Counter(map(column_of, its_runs))
        time = [time_of(its_runs)] if time_of else []
        rows.append([title, *(str(counts[column] or "-") for column in columns), *time])
    return TextTable(["investigation", *columns.values(), *(["time"] if time_of else [])], rows)


def _time(runs: Sequence[PlannedRun]) -> str:
    """What measuring these of the runs that are measured will take, models apart."""
    measured = [run for run in runs if run.decision == "measure"]
    if not measured:
        return ""
    return human_seconds(sum(run.estimate.seconds for run in measured)) + guess_note(measured)


def guess_note(runs: Sequence[PlannedRun]) -> str:
    """What of a sum of estimates is a guess, as a note after it."""
    guesses = sum(run.estimate.is_guess for run in runs)
    if not guesses:
        return ""
    return " (a guess)" if guesses == len(runs) else " (partly a guess)"


def _total(plan: Plan) -> str:
    runs = plan.to_measure
    counted = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    return f"To measure: {counted}, about {human_seconds(plan.seconds)}{guess_note(runs)}, models included."


def _row(points: Sequence[PlannedRun]) -> tuple[str, ...]:
    first = points[0]
    why = [sweep_reason(points, ["; ".join(filter(None, [run.reason, run.note])) for run in points])]
    time = memory = ""
    if first.decision == "measure":
        # Points follow each other: their times add up, and the largest decides the memory.
        low = sum(run.estimate.low for run in points)
        high = sum(run.estimate.high for run in points)
        time = f"{human_seconds(low)} to {human_seconds(high)}{guess_note(points)}"
        memory = human_bytes(max(run.estimate.memory_bytes for run in points))
        bases = dict.fromkeys(run.estimate.basis for run in points)
        why.append(f"estimate from {next(iter(bases))}{' and others' if len(bases) > 1 else ''}")
    return (
        sweep_name(points),
        first.name.model,
        DECISIONS[first.decision],
        time,
        memory,
        "; ".join(filter(None, why)),
    )
