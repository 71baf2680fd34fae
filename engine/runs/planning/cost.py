"""How long a run will take and how much memory, learned from past runs, with where the estimate is from.

The nearest past run speaks: this experiment on this model here, else as published, else its family here
or as published, scaled by the model's size, else a guess from what the run reads. Published seconds are
scaled by how fast this machine was on the runs that both have measured. The spread is a factor: 31 s within
3 is 10 to 93 s. A guess is labelled as one, since a budget must not rest on it alone.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.runs.sources import ModelFacts
from engine.runs.store.record import RunName, StoredRun

FETCH_BYTES_PER_SECOND = 8e6
LOAD_SECONDS = 2.0
LOAD_PARAMETERS_PER_SECOND = 150e6

# What a guess is made of: the geometric middle of what the families took on two cores and models of 135M
# and 494M parameters. A family may take six times as long, or a sixth of it.
GUESS_SPREAD = 6.0
GUESSED_SECONDS = 2.0
GUESSED_SECONDS_PER_PARAMETER = 3e-8
GUESSED_SECONDS_PER_PARAMETER_AND_PROMPT = 2e-9
GUESSED_SECONDS_PER_PARAMETER_AND_TOKEN = 7e-12
GUESSED_SECONDS_PER_TRAINED_TOKEN = 3e-4

NEWEST = 50  # past runs of a family that speak for it: the median needs no more


@dataclass(frozen=True)
class CostEstimate:
    """Predicted seconds, within a factor of `spread`; peak memory; and where the prediction is from.

    `is_guess` where nothing like it was ever measured.
    """

    seconds: float
    spread: float
    memory_bytes: int
    basis: str
    is_guess: bool = False

    @property
    def low(self) -> float:
        return self.seconds / self.spread

    @property
    def high(self) -> float:
        return self.seconds * self.spread

    @property
    def seconds_to_admit(self) -> float:
        """What has to be left of a budget for the run to begin: a guess shuts nothing out by its middle."""
        return self.low if self.is_guess else self.seconds


@dataclass(frozen=True)
class Amounts:
    """What a run reads, as far as the plan knows: prompts, tokens of a corpus; 0 where it reads none."""

    prompts: int = 0
    tokens: int = 0


NOTHING_READ = Amounts()


@dataclass(frozen=True)
class PastRun:
    """A past run as far as its cost goes; `run_id` is None for a published one."""

    name: RunName
    family: str
    seconds: float
    experiment: Mapping[str, Any]
    parameters: float = 0
    peak_bytes: int = 0
    run_id: int | None = None


def past_run(run: StoredRun) -> PastRun:
    """What a stored run teaches."""
    record = run.record
    return PastRun(
        run.name,
        record.family,
        run.seconds,
        record.inputs.experiment,
        record.features.get("parameters", 0),
        record.provenance["peak_bytes"],
        run.id,
    )


@dataclass(frozen=True)
class Costs:
    """What past runs, newest last, say about the next one. Indexed once: a plan may ask for thousands."""

    here: tuple[PastRun, ...]
    published: tuple[PastRun, ...] = ()

    @cached_property
    def machine_factor(self) -> float | None:
        """How many times as long as published a run takes here, by the median; None where unknown."""
        mine = {p.name: p for p in self.here}
        pairs = [(mine[p.name], p) for p in self.published if p.name in mine]
        # Only of equal experiments: more tokens take longer on any machine.
        ratios = [m.seconds / p.seconds for m, p in pairs if p.seconds > 0 and m.experiment == p.experiment]
        return statistics.median(ratios) if ratios else None

    def estimate(
        self,
        name: RunName,
        family: str,
        experiment: Mapping[str, Any],
        facts: ModelFacts,
        amounts: Amounts = NOTHING_READ,
    ) -> CostEstimate:
        """The cost of one run, the model already loaded."""
        memory = self._memory(name, family, facts)
        learned = self._learned(name, family, experiment, facts)
        if learned is None:
            seconds = guessed_seconds(facts, experiment, amounts)
            basis = "the size of the model and of what it reads, a guess"
            return CostEstimate(seconds, GUESS_SPREAD, memory, basis, is_guess=True)
        seconds, spread, basis = learned
        return CostEstimate(max(seconds, 0.01), spread, memory, basis)

    def _learned(
        self, name: RunName, family: str, experiment: Mapping[str, Any], facts: ModelFacts
    ) -> tuple[float, float, str] | None:
        """Seconds, spread and basis from the nearest past run; None where nothing like it was measured."""
        factor = self.machine_factor
        if own := _nearest(self._here_by_sweep, name):
            # The factors of spread grow with the distance: the same here, as published, its family here, its
            # family as published.
            return own.seconds * _data_ratio(own, experiment), 1.5, f"run {own.run_id} here"
        if own := _nearest(self._published_by_sweep, name):
            seconds = own.seconds * _data_ratio(own, experiment)
            if factor is None:
                return seconds, 3.0, "published"
            return seconds * factor, 2.0, f"published, {factor:.2g}x here"
        if like := self._here_by_family.get(family):
            return _scaled(like, experiment, facts), 3.0, f"{family} here, on {like[-1].name.model}"
        if like := self._published_by_family.get(family):
            return _scaled(like, experiment, facts) * (factor or 1), 4.0, f"{family} as published"
        return None

    def _memory(self, name: RunName, family: str, facts: ModelFacts) -> int:
        # A peak that was seen says more than the size of the weights: activations and training count too.
        return self._peaks.get((family, name.model), facts.memory_bytes)

    @cached_property
    def _here_by_sweep(self) -> dict[tuple[str, str, str], list[PastRun]]:
        return _by_sweep(self.here)

    @cached_property
    def _published_by_sweep(self) -> dict[tuple[str, str, str], list[PastRun]]:
        return _by_sweep(self.published)

    @cached_property
    def _here_by_family(self) -> dict[str, list[PastRun]]:
        return _by_family(self.here)

    @cached_property
    def _published_by_family(self) -> dict[str, list[PastRun]]:
        return _by_family(self.published)

    @cached_property
    def _peaks(self) -> dict[tuple[str, str], int]:
        """The highest memory peak of each family on each model, where one was seen."""
        peaks: dict[tuple[str, str], int] = {}
        for past in self.here:
            if past.peak_bytes:
                key = past.family, past.name.model
                peaks[key] = max(past.peak_bytes, peaks.get(key, 0))
        return peaks


def model_seconds(facts: ModelFacts) -> float:
    """Seconds until a model is in memory: its fetch, where it is not cached, and its load."""
    load = LOAD_SECONDS + facts.n_params / LOAD_PARAMETERS_PER_SECOND
    return load + facts.fetch_bytes / FETCH_BYTES_PER_SECOND


def guessed_seconds(facts: ModelFacts, experiment: Mapping[str, Any], amounts: Amounts) -> float:
    """Seconds of a run whose like was never measured: model times prompts and tokens, and what it trains.

    A run that reads neither prompts nor a corpus only works on the results of others.
    """
    epochs = experiment.get("parameters", {}).get("epochs", 1)
    reading = GUESSED_SECONDS_PER_PARAMETER_AND_PROMPT * facts.n_params * amounts.prompts
    harvest = GUESSED_SECONDS_PER_PARAMETER_AND_TOKEN * facts.n_params * amounts.tokens
    training = GUESSED_SECONDS_PER_TRAINED_TOKEN * amounts.tokens * epochs
    startup = GUESSED_SECONDS + GUESSED_SECONDS_PER_PARAMETER * facts.n_params
    return startup + reading + harvest + training


def _by_sweep(runs: Iterable[PastRun]) -> dict[tuple[str, str, str], list[PastRun]]:
    """Past runs by what all points of a sweep on one model have in common."""
    found = defaultdict(list)
    for past in runs:
        found[past.name.slug, past.name.experiment, past.name.model].append(past)
    return dict(found)


def _by_family(runs: Iterable[PastRun]) -> dict[str, list[PastRun]]:
    found = defaultdict(list)
    for past in runs:
        found[past.family].append(past)
    return {family: past[-NEWEST:] for family, past in found.items()}


def _nearest(by_sweep: Mapping[tuple[str, str, str], list[PastRun]], name: RunName) -> PastRun | None:
    """The newest run of this experiment on this model, this sweep point's own if there is one."""
    same = by_sweep.get((name.slug, name.experiment, name.model))
    if not same:
        return None
    own = [past for past in same if past.name == name]
    return own[-1] if own else same[-1]


def _data_ratio(past: PastRun, experiment: Mapping[str, Any]) -> float:
    """How much more data than then, where both name an amount."""
    before = _amount(past.experiment)
    now = _amount(experiment)
    # Time grows in proportion to the data, about.
    return now / before if before and now else 1.0


def _amount(experiment: Mapping[str, Any]) -> int | None:
    """How many tokens or prompts are asked for; the family's own parameter `tokens` says it best."""
    parameters = experiment.get("parameters") or {}
    prompts = experiment.get("prompts") or {}
    corpus = experiment.get("corpus") or {}
    return parameters.get("tokens") or prompts.get("limit") or corpus.get("tokens")


def _scaled(past: list[PastRun], experiment: Mapping[str, Any], facts: ModelFacts) -> float:
    """The median of past seconds, each scaled to this model's number of parameters and to the data."""
    return statistics.median(
        p.seconds
        * (facts.n_params / p.parameters if p.parameters and facts.n_params else 1)
        * _data_ratio(p, experiment)
        for p in past
    )
