"""Runs measured at once by others, worker processes or a cluster: what is independent goes out together.

This process alone decides and writes. It claims a run, hands it out when the runs it uses are there and
somebody has room, puts what comes back into the store, and tells what happens. The runs of another build are
looked at again from time to time; nothing here waits for one thing only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from engine.errors import EngineError
from engine.runs.execution.scheduler import Execution, Outcome
from engine.runs.execution.workbench import Answer, Task, failure_of, reason_of
from engine.runs.planning.plan import PlannedRun
from engine.runs.store.record import RunName, StoredRun
from engine.runs.store.store import Claim

POLL_SECONDS = 0.2
LOOK_AGAIN_SECONDS = 1.0  # at a run that another build is measuring


@dataclass(frozen=True)
class Told:
    """What a workbench elsewhere says of its run, as `Execution.told` takes it."""

    name: RunName
    kind: str
    fraction: float
    message: str


@dataclass(frozen=True)
class Order:
    """A task to hand out: what it uses by role and label, and where its log goes if that is on this disk."""

    task: Task
    run: PlannedRun
    upstream: dict[str, StoredRun]
    log: Path | None


class Hands(Protocol):
    """Those who measure."""

    def refusal(self, run: PlannedRun) -> str:
        """Why none of them will ever have room for this run; empty where one will."""
        ...

    def room(self, run: PlannedRun) -> bool:
        """Whether one of them can take the run now."""
        ...

    def take(self, order: Order) -> None:
        """Begin; the answer comes with the news."""
        ...

    def news(self, seconds: float) -> Iterable[Told | Answer]:
        """What was said since, after waiting for so long at most; each order gets exactly one answer."""
        ...

    def close(self) -> None:
        """Stop everybody, whatever they are doing."""
        ...


def execute_with(execution: Execution, hands: Hands) -> dict[RunName, Outcome]:
    """Carry out the plan with these hands, and stop them whatever happens."""
    crew = Crew(execution, hands)
    with ExitStack() as stack:
        stack.callback(crew.let_go)
        stack.callback(hands.close)
        crew.work()
    return execution.outcomes


@dataclass
class Flight:
    """A run that is out: its claim, None while its key is unknown, and what ends with it."""

    run: PlannedRun
    task: Task
    claim: Claim | None
    ending: ExitStack


@dataclass
class Crew:
    """The runs that wait and those that are out."""

    execution: Execution
    hands: Hands
    flights: dict[RunName, Flight] = field(default_factory=dict)
    elsewhere: dict[RunName, float] = field(default_factory=dict)  # when to look again

    def work(self) -> None:
        """Until every run of the plan has its outcome."""
        self.waiting = list(self.execution.plan.to_measure)
        while self.waiting or self.flights:
            self.waiting = [run for run in self.waiting if not self._begun(run)]
            for said in self.hands.news(POLL_SECONDS):
                self._heard(said)

    def let_go(self) -> None:
        """Give back every claim."""
        for flight in self.flights.values():
            flight.ending.close()
        self.flights.clear()

    def _begun(self, run: PlannedRun) -> bool:
        """Whether the run is out, or has its outcome; if not, it is to be looked at again."""
        do = self.execution
        pending = [n for n in run.examined.needs if n in do.numbers and n not in do.outcomes]
        if pending or self.elsewhere.get(run.name, 0.0) > time.monotonic():
            return False
        if why := do.why_not(run) or self.hands.refusal(run):
            do.outcomes[run.name] = do.unmeasured(run, why)
            return True
        if not self.hands.room(run):
            return False
        return self._out(run)

    def _out(self, run: PlannedRun) -> bool:
        do, task = self.execution, self.execution.task(run)
        with ExitStack() as stack:
            claim = None
            if key := task.inputs.key:
                claim = stack.enter_context(do.store.claim_if_free(key))
                if claim is None:
                    return self._is_elsewhere(run)
                if found := do.current(task.inputs):
                    do.outcomes[run.name] = do.reused(run, found)
                    return True
            log = claim.log if claim else None
            self.hands.take(Order(task, run, do.upstream(run), log))
            self.flights[run.name] = Flight(run, task, claim, stack.pop_all())
        return True

    def _is_elsewhere(self, run: PlannedRun) -> bool:
        """Note that somebody else measures this very thing, another build or another run of this one."""
        if run.name not in self.elsewhere:
            self.execution.emit("wait", run)
        self.elsewhere[run.name] = time.monotonic() + LOOK_AGAIN_SECONDS
        return False

    def _heard(self, said: Told | Answer) -> None:
        flight = self.flights.get(said.name)
        if flight is None:
            return
        if isinstance(said, Told):
            self.execution.told(flight.run, said.kind, said.fraction, said.message)
            return
        with flight.ending:
            del self.flights[said.name]
            self.execution.outcomes[said.name] = self._outcome(flight, said)

    def _outcome(self, flight: Flight, answer: Answer) -> Outcome:
        do, run = self.execution, flight.run
        if answer.measured is None:
            return self._failed(run, answer)
        inputs = replace(answer.measured.inputs, uses=flight.task.inputs.uses)
        try:
            claim = flight.claim
            if claim is None or claim.key != inputs.key:
                assert inputs.key is not None
                claim = flight.ending.enter_context(do.store.claim(inputs.key))
                if found := do.current(inputs):
                    return do.reused(run, found)
            if not claim.log.exists():
                claim.log.write_text(answer.log, encoding="utf-8")
            return do.kept(run, claim, answer.measured)
        except EngineError as error:
            do.store.note_failure(run.name, failure_of(error), answer.log)
            return do.unmeasured(run, reason_of(error), "failed")

    def _failed(self, run: PlannedRun, answer: Answer) -> Outcome:
        do = self.execution
        if answer.missing:
            do.unavailable[answer.missing, run.examined.experiment.dtype] = answer.reason
        if answer.failure:
            do.store.note_failure(run.name, answer.failure, answer.log)
        return do.unmeasured(run, answer.reason, "unmeasured" if answer.missing else "failed")
