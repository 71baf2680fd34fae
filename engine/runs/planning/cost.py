"""How long a run will take and how much memory, learned from past runs, with where the estimate is from.

The nearest past run speaks: this experiment on this model here, else as published, else its family here
or as published, scaled by the model's size, else a guess. Published seconds are scaled by how fast this
machine was on the runs that both have measured. The spread is a factor: 31 s within 3 is 10 to 93 s.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.runs.sources import ModelFacts
from engine.runs.store.record import RunName, StoredRun

GUESSED_SECONDS_PER_PARAMETER = 600 / 135e6  # ten minutes on the default model
FETCH_BYTES_PER_SECOND = 8e6
LOAD_SECONDS, LOAD_PARAMETERS_PER_SECOND = 2.0, 150e6


@dataclass(frozen=True)
class CostEstimate:
    """Predicted seconds, within a factor of `spread`; peak memory; and where the prediction is from."""

    seconds: float
    spread: float
    memory_bytes: int
    basis: str

    @property
    def low(self) -> float:
        return self.seconds / self.spread

    @property
    def high(self) -> float:
        return self.seconds * self.spread


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
    n_params = record.features.get("parameters", 0)
    experiment, peak = record.inputs.experiment, record.provenance["peak_bytes"]
    return PastRun(run.name, record.family, run.seconds, experiment, n_params, peak, run.id)


@dataclass(frozen=True)
class Costs:
    """What past runs, newest last, say about the next one."""

    here: tuple[PastRun, ...]
    published: tuple[PastRun, ...] = ()

    @property
    def machine_factor(self) -> float | None:
        """How many times as long as published a run takes here, by the median; None where unknown."""
        mine = {p.name: p for p in self.here}
        pairs = [(mine[p.name], p) for p in self.published if p.name in mine]
        ratios = [m.seconds / p.seconds for m, p in pairs if p.seconds > 0 and m.experiment == p.experiment]
        return statistics.median(ratios) if ratios else None

    def estimate(
        self, name: RunName, family: str, experiment: Mapping[str, Any], facts: ModelFacts
    ) -> CostEstimate:
        """The cost of one run, the model already loaded."""
        seconds, spread, basis = self._seconds(name, family, experiment, facts)
        return CostEstimate(max(seconds, 0.01), spread, self._memory(name, family, facts), basis)

    def _seconds(
        self, name: RunName, family: str, experiment: Mapping[str, Any], facts: ModelFacts
    ) -> tuple[float, float, str]:
        factor = self.machine_factor
        if own := _nearest(self.here, name):
            return own.seconds * _data_ratio(own, experiment), 1.5, f"run {own.run_id} here"
        if own := _nearest(self.published, name):
            spread, at = (2.0, f", {factor:.2g}x here") if factor else (3.0, "")
            return own.seconds * _data_ratio(own, experiment) * (factor or 1), spread, f"published{at}"
        if like := [p for p in self.here if p.family == family]:
            return _scaled(like, experiment, facts), 3.0, f"{family} here, on {like[-1].name.model}"
        if like := [p for p in self.published if p.family == family]:
            return _scaled(like, experiment, facts) * (factor or 1), 4.0, f"{family} as published"
        return facts.n_params * GUESSED_SECONDS_PER_PARAMETER, 10.0, "a guess from the model's size"

    def _memory(self, name: RunName, family: str, facts: ModelFacts) -> int:
        same = [p for p in self.here if p.family == family and p.name.model == name.model]
        if peaks := [p.peak_bytes for p in same if p.peak_bytes]:
            return max(peaks)
        return facts.memory_bytes


def model_seconds(facts: ModelFacts) -> float:
    """Seconds until a model is in memory: its fetch, where it is not cached, and its load."""
    load = LOAD_SECONDS + facts.n_params / LOAD_PARAMETERS_PER_SECOND
    return load + facts.fetch_bytes / FETCH_BYTES_PER_SECOND


def _nearest(runs: Iterable[PastRun], name: RunName) -> PastRun | None:
    """The newest run of this experiment on this model, this sweep point's own if there is one."""
    same = [p for p in runs if (p.name.slug, p.name.experiment, p.name.model) == _without_point(name)]
    same.sort(key=lambda p: p.name == name)
    return same[-1] if same else None


def _without_point(name: RunName) -> tuple[str, str, str]:
    return name.slug, name.experiment, name.model


def _data_ratio(past: PastRun, experiment: Mapping[str, Any]) -> float:
    """How much more data than then, where both name an amount."""
    before, now = _amount(past.experiment), _amount(experiment)
    return now / before if before and now else 1.0


def _amount(experiment: Mapping[str, Any]) -> int | None:
    """How many tokens or prompts are asked for; the family's own parameter `tokens` says it best."""
    parameters, prompts, corpus = (experiment.get(k) or {} for k in ("parameters", "prompts", "corpus"))
    return parameters.get("tokens") or prompts.get("limit") or corpus.get("tokens")


def _scaled(past: list[PastRun], experiment: Mapping[str, Any], facts: ModelFacts) -> float:
    """The median of past seconds, each scaled to this model's number of parameters and to the data."""
    return statistics.median(
        p.seconds
        * (facts.n_params / p.parameters if p.parameters and facts.n_params else 1)
        * _data_ratio(p, experiment)
        for p in past
    )
