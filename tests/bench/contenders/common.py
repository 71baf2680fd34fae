"""What every contender of the sparse benchmark does alike: read its task, take its steps, say how it went.

Runs in environments that hold no engine, so it imports torch and safetensors alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


def task() -> dict[str, Any]:
    """The settings, given as JSON; torch gets as many threads as they say."""
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    return settings


def compete(
    settings: dict[str, Any],
    step: Callable[[Tensor], object],
    reconstruct: Callable[[], Callable[[Tensor], Tensor]],
) -> None:
    """Take every step, timed after the first ones; print tokens a second and the held-out loss as JSON.

    The loss is the mean squared error of a held-out row over its variance: 1 - explained variance.
    """
    data = load_file(settings["activations"])
    rows, held_out = data["train"], data["held_out"]
    size, n_steps, warm = settings["batch_size"], settings["n_steps"], settings["warm_steps"]
    started = time.perf_counter()
    for n in range(n_steps):
        if n == warm:
            started = time.perf_counter()
        start = n * size % (len(rows) - size + 1)
        step(rows[start : start + size])
    seconds = time.perf_counter() - started
    with torch.no_grad():
        error = (held_out - reconstruct()(held_out)).square().sum()
        total = (held_out - held_out.mean(dim=0)).square().sum()
    found = {
        "tokens_per_second": size * (n_steps - warm) / seconds,
        "loss": float(error / total),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(found))
