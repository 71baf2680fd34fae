"""In which number format this machine computes a model faster, measured and not guessed.

bfloat16 halves what is read from memory, and is two to ten times as fast as float32 where the processor
multiplies it (AVX512-BF16, AMX, a GPU); where it does not, it is up to ten times slower. Names of processors
do not tell reliably, and a product of the size that a model is made of takes milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from dataclasses import dataclass

import torch

from engine.models.cards import cache_folder
from engine.models.machine import cores

ROWS = 256  # positions computed together: a batch of prompts, or a step of many texts
WIDTH = 1024
INNER = 4096
TRIAL_SECONDS = 0.15
WORTH_ROUNDING = 1.5
"""How many times as fast bfloat16 must be to be worth its rounding; less is within a measurement's noise."""
FILE = "fast-dtype.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ProductRates:
    """Floating-point operations per second of a product, as a model is made of, in each format."""

    float32: float
    bfloat16: float

    @property
    def faster(self) -> str:
        """The format to choose for speed."""
        return "bfloat16" if self.bfloat16 >= WORTH_ROUNDING * self.float32 else "float32"

    def of(self, dtype: str) -> float:
        """The rate in one format."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32


def product_rates(device: str = "cpu") -> ProductRates:
    """Both rates as they are at this moment, other work on the machine included; takes half a second."""
    return ProductRates(**{name: _rate(dtype, device) for name, dtype in DTYPES.items()})


def fast_dtype(rates: ProductRates, device: str = "cpu") -> str:
    """The faster format of this machine, decided once: what it decides is part of a run's key.

    A busy moment could decide otherwise than the last time, and the same command would measure anew.
    """
    file = cache_folder() / FILE
    machine = (
        f"{platform.machine()} {platform.processor()} {cores()} cores, torch {torch.__version__}, {device}"
    )
    known: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        known = dict(json.loads(file.read_text(encoding="utf-8")))
    if known.get(machine) not in DTYPES:
        known[machine] = rates.faster
        # A cache that cannot be written decides anew each time.
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            scratch = file.with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
            scratch.replace(file)
    return known[machine]


def _rate(dtype: torch.dtype, device: str) -> float:
    """The best of some trials: other work only ever makes one slower."""
    rows = torch.ones(ROWS, WIDTH, dtype=dtype, device=device)
    weights = torch.ones(INNER, WIDTH, dtype=dtype, device=device)
    best = float("inf")
    end = time.perf_counter() + TRIAL_SECONDS
    # Two at least: the first one also chooses and compiles its kernel.
    trials = 0
    while trials < 2 or time.perf_counter() < end:
        began = time.perf_counter()
        # `item` waits for a device that computes on its own.
        torch.nn.functional.linear(rows, weights)[0, 0].item()
        best = min(best, time.perf_counter() - began)
        trials += 1
    return 2 * ROWS * WIDTH * INNER / best
