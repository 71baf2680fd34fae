"""Per-prompt values as evidence: over all prompts or half of them, one number or one for each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from engine.evidence.bootstrap import measure, rate
from engine.evidence.result import Calibration, Measurement

SPLIT = "every second prompt of each relation, by hash of its id"


@dataclass(frozen=True)
class Units:
    """The prompts that numbers rest on: `rows` of all, by id; `chosen_on` where the rest chose something."""

    ids: list[str]
    rows: Bool[np.ndarray, " prompt"]
    chosen_on: str = ""

    def mean(self, name: str, values: Any, about: str, **details: Any) -> Measurement:
        """The mean, or another `statistic`, of these rows of a value for every prompt."""
        statistic = details.pop("statistic", "mean")
        return measure(name, np.asarray(values)[self.rows], statistic, about=about, **self._told(details))

    def share(self, name: str, part: Any, whole: Any, about: str, **details: Any) -> Measurement:
        """The mean of one value over the mean of another."""
        part, whole = np.asarray(part)[self.rows], np.asarray(whole)[self.rows]
        return rate(name, part, whole, about=about, **self._told(details))

    def by_layer(
        self, values: Float[np.ndarray, "prompt layer"], column: str, **labels: object
    ) -> pd.DataFrame:
        """One row per layer (or other place): the mean as `column`, low and high; `labels` are constant."""
        means = [self.mean(str(i), v, "") for i, v in enumerate(np.asarray(values).T)]
        ends = {"low": [m.low for m in means], "high": [m.high for m in means]}
        table = pd.DataFrame({"layer": range(len(means)), column: [m.value for m in means], **ends})
        return table.astype({"low": float, "high": float}).assign(**labels)

    def _told(self, details: dict[str, Any]) -> dict[str, Any]:
        ids = [i for i, kept in zip(self.ids, self.rows, strict=True) if kept]
        return {"unit": "prompt", "ids": ids, "chosen_on": self.chosen_on, **details}


def block_at_depth(depth: float, n_layers: int) -> int:
    """The block that begins at a fraction of the depth: 0.75 is block 9 of 12."""
    return min(int(depth * n_layers + 0.5), n_layers - 1)


def first_for_good(holds: Bool[np.ndarray, "prompt layer"], never: float) -> Float[np.ndarray, " prompt"]:
    """The first layer from which a condition holds to the end; `never` where it does not hold at the end."""
    backwards = np.logical_and.accumulate(holds[:, ::-1], axis=1)
    first = holds.shape[1] - backwards.sum(axis=1)
    return np.where(holds[:, -1], first, never).astype(float)


def spearman(
    one: Float[np.ndarray, "prompt place"], other: Float[np.ndarray, "prompt place"]
) -> Float[np.ndarray, " prompt"]:
    """Each prompt's rank correlation over places (layers, heads); 0 where one side is the same everywhere."""
    ranks = [pd.DataFrame(side).rank(axis=1).to_numpy() for side in (one, other)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(size > 0, (a * b).sum(axis=1) / np.where(size > 0, size, 1.0), 0.0)


def known_answer(name: str, about: str, seen: float, answer: float, within: float = 0.0) -> Calibration:
    """A calibration whose answer is a number."""
    expected = f"{answer:g} within {within:g}" if within else f"{answer:g} exactly"
    return Calibration(name, about, expected, float(seen), answer - within, answer + within)
