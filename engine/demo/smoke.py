"""Each panel once on its first example, without a server: what it found, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.demo.limits import LIMITS, RequestLimits, StopSignal
from engine.demo.live_model import LiveModel
from engine.demo.panel import Panel
from engine.errors import EngineError


@dataclass(frozen=True)
class SmokeResult:
    """One panel's answer in words, with the seconds that it took; `problem` says why there is none."""

    panel: str
    found: Sequence[str]
    seconds: float
    problem: str = ""


def smoke(
    live: LiveModel, panels: Sequence[Panel[Any, Any]], limits: RequestLimits = LIMITS
) -> Iterator[SmokeResult]:
    """The panels one after the other, each in the state that it opens with."""
    for panel in panels:
        began = time.perf_counter()
        found: Sequence[str] = ()
        problem = ""
        try:
            for answer in panel.answers(live, panel.state(), _silent, StopSignal(limits.seconds)):
                found = panel.summary(answer)
        except EngineError as error:
            problem = str(error)
        yield SmokeResult(panel.name, list(found), time.perf_counter() - began, problem)


def _silent(fraction: float, words: str = "", /) -> None:
    """Progress that nobody watches."""
