"""What a benchmark prints after each round, so that a run which is stopped has told what it measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import torch


def seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def matmul_peak() -> float:
    """GFLOP/s of a 2048 x 2048 fp32 product at this moment, the best of three."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / min(seconds(lambda: a @ a) for _ in range(3)) / 1e9


def moment() -> dict[str, float]:
    """What this machine can do just now, and how much else it does: GFLOP/s and load average."""
    load = os.getloadavg()[0]  # before the products add to it
    return {"gflops": matmul_peak(), "load": load}


def tell(bench: str, number: int, rounds: int, figures: Mapping[str, Any]) -> None:
    """Print one round's figures in one line; round 0 warms up."""
    place = f"round {number} of {rounds}" if number else "warming up"
    told = []
    for name, value in figures.items():
        if isinstance(value, float):
            told.append(f"{name} {value:.4g}")
        else:
            told.append(value if isinstance(value, str) else f"{name} {value:,}")
    print(f"{bench}, {place}: {', '.join(told)}", flush=True)
