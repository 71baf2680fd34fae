"""A run that another experiment builds on: what it found, and the experiment that it was measured as.

Apart from `lab`, so that a process that only hands runs over need not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.spec.models import Scalar

if TYPE_CHECKING:
    from engine.evidence.result import Result

Point = tuple[tuple[str, Scalar], ...]
"""A sweep point, (("seed", 3),); that of an experiment without a sweep is ()."""


@dataclass(frozen=True)
class UsedRun:
    """`experiment` is the normalised experiment: family, hook site with its layer, corpus, prompts, every
    parameter. It is empty where a run was made by hand, as in a calibration."""

    result: Result
    experiment: Mapping[str, Any] = field(default_factory=dict)
