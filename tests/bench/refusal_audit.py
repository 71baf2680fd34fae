"""A refusal audit of a model, whole: seconds of each stage, peak memory, and what the processor was at.

    python -m tests.bench.refusal_audit [--model NAME] [--n 100] [--dtype auto|float32|bfloat16] [--json FILE]

The bar is 20 minutes for a model of 1.5 billion parameters with n >= 100, on two cores and 12 GB. Loading is
timed apart: `mech audit-refusal` pays it too. `--peek FRACTION` stops once that much of the work is done and
says what all of it would take at that pace.

Two products beside it, in both number formats, say what the same audit would take in the other one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from engine import families
from engine.data.prompts import load_prompts
from engine.lab.lab import Lab
from engine.models.fast_dtype import fast_dtype, product_rates
from engine.models.load import load
from engine.runs.execution.resources import peak_bytes, start_peak
from engine.runs.refusal_audit import PACKAGED, PARAMETERS, audit_prompts
from engine.spec.inputs import CHAT
from engine.spec.models import PromptChoice

FAMILY = "refusal_direction"
MODEL = "qwen2.5-coder-1.5b-instruct"
BAR_SECONDS = 20 * 60
BAR_BYTES = 12e9


class Stopped(Exception):
    """As much was measured as was asked for."""


@dataclass
class TimedLab(Lab):
    """A lab that notes how long each stage of a run took, in the order in which they came."""

    seconds: dict[str, float] = field(default_factory=dict)
    stop_at: float = 1.0
    clock: Callable[[], float] = time.perf_counter

    @contextmanager
    def stage(self, until: float, message: str) -> Iterator[Callable[..., None]]:
        began = self.clock()
        try:
            with super().stage(until, message) as progress:
                yield progress
        finally:
            # A stage that comes twice, as one for each arm does, is one row.
            self.seconds[message] = self.seconds.get(message, 0.0) + self.clock() - began
        if self.staged >= self.stop_at:
            raise Stopped


def measured(lab: TimedLab, parameters: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each stage, what all of it takes, and the peak of the process's memory."""
    family = families.get(FAMILY)
    began = lab.clock()
    try:
        family.run(lab, family.Params(**parameters))
        lab.staged = 1.0
    except Stopped:
        pass
    seconds = lab.clock() - began
    return {
        "seconds": seconds,
        "measured_share": lab.staged,
        "whole_seconds": seconds / lab.staged,
        "stages": lab.seconds,
        "peak_bytes": peak_bytes(),
    }


def run(name: str, n: int, dtype: str = "auto", peek: float = 1.0) -> dict[str, Any]:
    """The audit of `mech audit-refusal`, on a model that is loaded here."""
    start_peak()
    rates = product_rates()
    chosen = fast_dtype(rates) if dtype == "auto" else dtype
    began = time.perf_counter()
    model = load(name, dtype=chosen)
    load_seconds = time.perf_counter() - began
    choice = PromptChoice.model_validate(audit_prompts(PACKAGED, n))
    prompts = load_prompts(choice, Path.cwd(), CHAT)
    lab = TimedLab(model, prompts, progress=tell_progress(), stop_at=peek)
    found = measured(lab, dict(PARAMETERS))
    rate = {each: rates.of(each) / 1e9 for each in ("float32", "bfloat16")}
    setting = {"model": name, "n": n, "dtype": chosen, "threads": torch.get_num_threads()}
    return setting | {"load_seconds": load_seconds, "gflops": rate} | found


def tell_progress(clock: Callable[[], float] = time.perf_counter, every: float = 20.0) -> Callable[..., None]:
    """Prints a line now and then: what is stopped has told how far it came."""
    began = clock()
    last = [began - every]

    def progress(fraction: float, message: str = "") -> None:
        now = clock()
        if now - last[0] >= every:
            last[0] = now
            print(f"refusal audit, {now - began:.0f} s: {fraction:.0%}, {message}", flush=True)

    return progress


def report(found: dict[str, Any]) -> str:
    """The stages as a table, the longest first, and the whole beside its bars."""
    stages = pd.DataFrame(found["stages"].items(), columns=["stage", "seconds"])
    stages["share"] = stages["seconds"] / stages["seconds"].sum()
    stages = stages.sort_values("seconds", ascending=False).round({"seconds": 1, "share": 3})
    rates = found["gflops"]
    other = "float32" if found["dtype"] == "bfloat16" else "bfloat16"
    # Products are nearly all of the work, and both formats do the same ones.
    elsewhere = found["whole_seconds"] * rates[found["dtype"]] / rates[other]
    stopped = (
        "" if found["measured_share"] >= 1 else f" (at the pace of its first {found['measured_share']:.0%})"
    )
    return "\n".join(
        [
            f"{found['model']}, {found['dtype']}, {found['threads']} threads, n = {found['n']}; "
            f"loaded in {found['load_seconds']:.1f} s",
            stages.to_string(index=False),
            f"audit {found['whole_seconds'] / 60:.1f} min{stopped} (bar {BAR_SECONDS / 60:.0f}), "
            f"peak memory {found['peak_bytes'] / 1e9:.1f} GB (bar {BAR_BYTES / 1e9:.0f})",
            f"a product: {rates['float32']:.0f} GFLOP/s in float32, {rates['bfloat16']:.0f} in bfloat16; by "
            f"that the audit would take about {elsewhere / 60:.0f} min in {other}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--peek", type=float, default=1.0)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    given = parser.parse_args(arguments)
    found = run(given.model, given.n, given.dtype, given.peek)
    print(report(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
