"""Prints the table of architectures: distance from Hugging Face, time of patching by either way.

Random small models, so that the differences are those of the way a block is put together; ratios of times are
those of models whose products cost little, and larger models' are higher. Run: python -m tests.bench.layouts
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import torch

from engine.lab.patch_pairs import PatchPairs
from engine.lab.patching import sweep
from engine.models.hooked import HookedModel
from tests.models.random_models import BRIDGED_NAMES, NAMES, PAIR, random_model, token_ids


def by_the_bridge(model: HookedModel) -> HookedModel:
    """The same model, as if the engine had no blocks for it."""
    return dataclasses.replace(model, anatomy=dataclasses.replace(model.anatomy, style="bridge"))


def seconds(work: Callable[[], object]) -> float:
    """The shorter of two runs."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


@torch.no_grad()
def row(name: str) -> str:
    """One line of the table."""
    model = random_model(name)
    ids = token_ids(model)
    theirs = model.hf(ids, use_cache=False).logits
    gap = float((model.logits(ids) - theirs).abs().max())
    if not model.is_plain:
        absent = ", ".join(kind.name for kind in model.absent_sites)
        return f"| {name} | bridge | {gap:.1e} | | {absent} |"
    base, source = (torch.tensor(model.token_ids([text])) for text in PAIR)
    pairs = PatchPairs(base, source, torch.tensor([base.shape[1] - 1]), torch.tensor([5]), torch.tensor([9]))
    slow = by_the_bridge(model)
    _ = slow.path  # booted before it is timed
    ratio = seconds(lambda: sweep(slow, pairs)) / seconds(lambda: sweep(model, pairs))
    absent = ", ".join(kind.name for kind in model.absent_sites)
    return f"| {name} | plain | {gap:.1e} | {ratio:.0f}x | {absent} |"


def main() -> None:
    torch.set_num_threads(1)
    print("| architecture | way | from Hugging Face | patching, bridge / plain | sites it has not |")
    print("| --- | --- | --- | --- | --- |")
    for name in (*NAMES, *BRIDGED_NAMES):
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
