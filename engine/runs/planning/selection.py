"""Which runs a budget buys: those asked for that are not up to date, and what they need, cheapest first."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from engine.runs.planning.cost import CostEstimate
from engine.runs.planning.staleness import RunStatus
from engine.runs.store.record import RunName

Sweep = tuple[str, str, str, bool]  # slug, experiment, model, and whether it is of a claim's specifications


@dataclass
class Selection:
    """The runs to choose from, with what each and each model's fetch and load will cost.

    A run comes with those that it uses and that have to be measured first: its bundle.
    """

    examined: list[RunStatus]
    estimates: Mapping[RunName, CostEstimate]
    model_seconds: Mapping[str, float]
    primaries: Mapping[str, str]
    fresh: bool
    changed: bool
    select: Callable[[RunName], bool]

    def __post_init__(self) -> None:
        self.by_name = {run.name: run for run in self.examined}
        due = (run for run in self.examined if self._is_due(run))
        self.wanted = {run.name: index for index, run in enumerate(due)}
        # Kept, since a run's bundle is asked for at each price of all that use it.
        self.bundles: dict[RunName, tuple[RunName, ...]] = {}
        self.sweep_seconds: defaultdict[Sweep, float] = defaultdict(float)
        for name in self.wanted:
            self.sweep_seconds[self._sweep(name)] += self.estimates[name].seconds

    def within(self, budget: float) -> Iterator[RunName]:
        """The runs that fit: primary models and cheap experiments first, each run after those it uses.

        Within a finite budget what was never measured comes last: its estimate is a guess, which neither
        shuts anything else out nor is shut out itself while the low end of its range fits what is left.
        """
        spending = _Spending(self, budget)
        # Without a limit a guess shuts nothing out, and everything goes in one order.
        if math.isinf(budget):
            yield from spending.bought(self.wanted)
            return
        yield from spending.bought(name for name in self.wanted if not self.is_guessed(name))
        yield from spending.bought(name for name in self.wanted if self.is_guessed(name))

    def bundle(self, name: RunName) -> tuple[RunName, ...]:
        """The run, after those it uses that have to be measured first."""
        if name not in self.bundles:
            found: dict[RunName, None] = {}
            for used in self.by_name[name].needs:
                if used in self.wanted or self.by_name[used].state != "up to date":
                    # A dictionary as an ordered set: what is used stands before what uses it, each once.
                    found |= dict.fromkeys(self.bundle(used))
            self.bundles[name] = (*found, name)
        return self.bundles[name]

    def is_guessed(self, name: RunName) -> bool:
        """Whether nobody knows what the run, or one that it needs, will take."""
        return any(self.estimates[part].is_guess for part in self.bundle(name))

    def rank(self, name: RunName, cost: float) -> tuple[bool, float, float]:
        """Primary models first, then by what the run and all other points of its sweep cost."""
        sweep = self.sweep_seconds[self._sweep(name)]
        # A sweep counts as a whole, so that its points are measured together.
        return name.model != self.primaries[name.slug], max(sweep, cost), sweep

    def _sweep(self, name: RunName) -> Sweep:
        """What all points of a sweep on one model have in common: specifications do not make it dearer."""
        return name.slug, name.experiment, name.model, bool(self.by_name[name].settings)

    def _is_due(self, run: RunStatus) -> bool:
        if run.blocked or (self.changed and run.state == "new") or not self.select(run.name):
            return False
        return self.fresh or run.state != "up to date"


class _Spending:
    """A budget as it goes: what is left of it, what was bought, which models are paid for.

    The price of a run falls when one that it needs, or one on its model, was bought; then it is queued again
    at the new price, and the older entry is out of date.
    """

    def __init__(self, selection: Selection, seconds: float) -> None:
        self.selection = selection
        self.left = seconds
        self.bought_runs: set[RunName] = set()
        self.loaded: set[str] = set()

    def bought(self, names: Iterable[RunName]) -> Iterator[RunName]:
        """These runs with what they need, the best first, as far as the budget goes."""
        waiting = set(names) - self.bought_runs
        # By each run and each model, whose price falls once it is paid for.
        users: defaultdict[RunName | str, list[RunName]] = defaultdict(list)
        for name in sorted(waiting, key=lambda name: self.selection.wanted[name]):
            bundle = self.selection.bundle(name)
            for part in {*bundle, *(part.model for part in bundle)}:
                users[part].append(name)
        queue = [self._entry(name) for name in waiting]
        heapq.heapify(queue)
        while queue:
            entry = heapq.heappop(queue)
            name = entry[-1]
            # Queued again at a lower price since, or bought as a part of another: the older entry is void.
            if name in self.bought_runs or entry != self._entry(name):
                continue
            price = self._price(name)
            # What is left only shrinks, so this one comes back only if it becomes cheaper.
            if price > self.left:
                continue
            parts = self._missing(name)
            models = {part.model for part in parts} - self.loaded
            self.left -= price
            self.bought_runs.update(parts)
            self.loaded |= models
            yield from parts
            cheaper = {user for bought in (*parts, *models) for user in users[bought]}
            for user in cheaper - self.bought_runs:
                # A heap cannot change an entry in place: a second one at the lower price goes before it.
                heapq.heappush(queue, self._entry(user))

    def _missing(self, name: RunName) -> list[RunName]:
        return [part for part in self.selection.bundle(name) if part not in self.bought_runs]

    def _entry(self, name: RunName) -> tuple[tuple[bool, float, float], int, RunName]:
        """The place in the queue; runs of one rank go as the specs list them."""
        parts = self._missing(name)
        cost = sum(self.selection.estimates[part].seconds for part in parts) + self._startup(parts)
        return self.selection.rank(name, cost), self.selection.wanted[name], name

    def _price(self, name: RunName) -> float:
        """What has to be left for the run to be bought, and what is then taken off."""
        parts = self._missing(name)
        return sum(self.selection.estimates[part].seconds_to_admit for part in parts) + self._startup(parts)

    def _startup(self, parts: list[RunName]) -> float:
        models = {part.model for part in parts} - self.loaded
        return sum(self.selection.model_seconds[model] for model in models)
