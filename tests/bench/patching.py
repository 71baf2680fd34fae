"""Speed and memory of the instruments against TransformerLens, on the default model, in one interleaved run.

    python -m tests.bench.patching [--model NAME] [--rounds 5] [--cells 6] [--json FILE]

Each round times, one after the other and site by site, TransformerLens's own patching of a few cells of
the grid and our sweep of the whole grid, on two pairs of prompts: a fact (the tokens before its subject
are common to both sides, so nothing there can change) and a pair that differs from the first token on.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from engine.lab.attribution_patching import estimated_sweep
from engine.lab.circuits.edge_attribution import attribute_graph
from engine.lab.circuits.graph import Graph
from engine.lab.patch_pairs import SITES, PatchPairs
from engine.lab.patching import sweep
from engine.models.hooked import HookedModel
from engine.models.load import load
from engine.spec.family_params import AttributionMethod
from tests.bench.memory import tensor_peak
from tests.bench.options import options, show
from tests.bench.rounds import moment, seconds, tell

MODEL = "smollm2-135m-instruct"
TEXTS = {
    "fact": (
        "Fact: The capital city of France is the city of",
        "Fact: The capital city of Italy is the city of",
    ),
    "no common start": (
        "Fact: The capital city of France is the city of",
        "Well, A chief town in Italy was some place by",
    ),
}
ANSWERS = (" Paris", " Rome")


def pair_of(model: HookedModel, name: str) -> PatchPairs:
    """The clean prompt as source, the other as base, both cut to the shorter."""
    clean, corrupted = model.token_ids(TEXTS[name])
    length = min(len(clean), len(corrupted))
    answer, wrong = (torch.tensor([model.token_ids([text])[0][-1]]) for text in ANSWERS)
    source, base = torch.tensor([clean[:length]]), torch.tensor([corrupted[:length]])
    return PatchPairs(base, source, torch.tensor([length - 1]), answer, wrong)


@dataclass
class Contest:
    """One pair of prompts that both programs patch."""

    model: HookedModel
    name: str
    pairs: PatchPairs
    cache: Any  # TransformerLens's cache of the source run; its cost is not charged to the patches

    @classmethod
    def of(cls, model: HookedModel, name: str) -> Contest:
        pairs = pair_of(model, name)
        with torch.no_grad():
            cache = model.bridge.run_with_cache(pairs.source, prepend_bos=False)[1]
        return cls(model, name, pairs, cache)

    def cells(self, site: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Random cells of the grid, in the form that generic_activation_patch takes."""
        sizes = {"layer": self.model.n_layers, "pos": int(self.pairs.last[0]) + 1}
        if site == "z":
            sizes["head"] = self.model.shape.n_heads
        return pd.DataFrame({axis: rng.integers(size, size=n) for axis, size in sizes.items()})

    def theirs(self, site: str, cells: pd.DataFrame) -> np.ndarray:
        """TransformerLens's patches of those cells, one forward each."""
        from transformer_lens import patching

        setter = (
            patching.layer_pos_head_vector_patch_setter if site == "z" else patching.layer_pos_patch_setter
        )
        answer, wrong = int(self.pairs.answer[0]), int(self.pairs.wrong_answer[0])
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            return patching.generic_activation_patch(
                self.model.bridge,
                self.pairs.base,
                self.cache,
                lambda logits: logits[0, -1, answer] - logits[0, -1, wrong],
                setter,
                site,
                index_df=cells,
            ).numpy()

    def round(self, site: str, n_cells: int, rng: np.random.Generator) -> dict[str, Any]:
        """One site measured by both, back to back, and how far they differ (of the runs' difference)."""
        cells, seen = self.cells(site, n_cells, rng), {}
        now = moment()
        their_time = seconds(lambda: seen.update(theirs=self.theirs(site, cells)))
        our_time = seconds(lambda: seen.update(ours=sweep(self.model, self.pairs, sites=[site])))
        grid = seen["ours"].patched[site][0]
        gap = np.abs(grid[tuple(cells.to_numpy().T)] - seen["theirs"]).max()
        return {
            "pair": self.name,
            "site": site,
            "their_ms": their_time / n_cells * 1e3,
            "our_ms": our_time / grid.size * 1e3,
            "difference": float(gap / abs(seen["ours"].source[0] - seen["ours"].base[0])),
            **now,
        }


def contests(model: HookedModel, rounds: int, n_cells: int) -> Iterator[dict[str, Any]]:
    """Every round of every site and pair, after one of each to warm up."""
    rng, all_of_them = np.random.default_rng(0), [Contest.of(model, name) for name in TEXTS]
    for number in range(rounds + 1):
        for contest in all_of_them:
            for site in SITES:
                result = contest.round(site, n_cells, rng)
                tell("patching", number, rounds, result)
                if number:
                    yield result


def summary(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Medians by pair and site, and the median of each round's ratio."""
    table = pd.DataFrame(rows)
    table["ratio"] = table["their_ms"] / table["our_ms"]
    medians = table.groupby(["pair", "site"], sort=False).median()
    medians["difference"] = table.groupby(["pair", "site"], sort=False)["difference"].max()
    return medians[["their_ms", "our_ms", "ratio", "difference", "gflops", "load"]].reset_index()


def attribution_in_forwards(model: HookedModel, rounds: int) -> float:
    """Seconds of a whole estimated grid (every site, layer, position, head) over those of one forward."""
    pairs = pair_of(model, "fact").rows([0] * 8)

    def forward() -> object:
        with torch.no_grad():
            return model.hf(pairs.base, use_cache=False)

    def estimate() -> object:
        return estimated_sweep(model, pairs, prompts_at_once=8)

    forward()
    estimate()
    return statistics.median(seconds(estimate) / seconds(forward) for _ in range(rounds))


def edges_in_forwards(model: HookedModel, rounds: int) -> dict[str, float]:
    """By method, seconds of the scores of every edge over those of one forward of the same prompts."""
    graph = Graph.of(model)
    pairs = pair_of(model, "fact").rows([0] * 4)

    def forward() -> object:
        with torch.no_grad():
            return model.hf(pairs.base, use_cache=False)

    def ratio(method: AttributionMethod) -> float:
        score = partial(attribute_graph, model, graph, pairs, method=method, memory_mb=2048)
        score()
        return statistics.median(seconds(score) / seconds(forward) for _ in range(rounds))

    forward()
    plain: tuple[AttributionMethod, ...] = ("eap", "relp")
    return {method: ratio(method) for method in plain}


LENS = """
import time; started = time.perf_counter()
import torch
from engine.lab.lens import read_lens
from engine.models.load import load
model = load({name!r})
ids = torch.tensor(model.token_ids(["Fact: The capital city of France is the city of"]))
read_lens(model, ids, torch.tensor([ids.shape[1] - 1]), torch.tensor([[model.token_ids([" Paris"])[0][-1]]]))
print(time.perf_counter() - started)
"""


def seconds_to_first_lens_answer(name: str) -> float:
    """A fresh process, from its first import to a logit-lens answer of a cached model; the better of two."""
    command = [sys.executable, "-c", LENS.format(name=name)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    return min(float(run.stdout.split()[-1]) for run in runs)


PEAK = """
import torch
from engine.lab.patching import sweep
from engine.models.load import load
from engine.runs.execution.resources import peak_bytes, start_peak
from tests.bench.patching import pair_of
model = load({name!r})
pairs = pair_of(model, "no common start").rows([0] * 8)
with torch.no_grad():
    model.logits(pairs.base[:1])
start_peak()
before = peak_bytes()
sweep(model, pairs, layers=range(0, model.n_layers, 3))
print((peak_bytes() - before) / sum(w.nbytes for w in model.weights.values()))
"""


def sweep_peak(name: str) -> float:
    """Resident memory that a sweep of eight prompts, every third layer, adds: a share of the weights."""
    command = [sys.executable, "-c", PEAK.format(name=name)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def sweep_tensors(model: HookedModel) -> float:
    """The tensors that a sweep of four prompts holds at its peak, on one thread: a share of the weights."""
    pairs = pair_of(model, "no common start").rows([0] * 4)
    peak = tensor_peak(lambda: sweep(model, pairs, layers=range(0, model.n_layers, 10)))
    return peak / sum(weight.nbytes for weight in model.weights.values())


def run(name: str = MODEL, rounds: int = 5, n_cells: int = 6) -> dict[str, Any]:
    """Everything, as plain numbers."""
    model = load(name)
    table = summary(list(contests(model, rounds, n_cells)))
    return {
        "model": name,
        "threads": torch.get_num_threads(),
        "patching": table.to_dict("records"),
        "attribution_forwards": attribution_in_forwards(model, rounds),
        "edge_forwards": edges_in_forwards(model, rounds),
        "sweep_peak": sweep_peak(name),
        "sweep_tensors": sweep_tensors(model),
        "first_lens_seconds": seconds_to_first_lens_answer(name),
    }


def report(found: dict[str, Any]) -> str:
    """The numbers as a table, each beside its bar."""
    table = pd.DataFrame(found["patching"]).round(
        {"their_ms": 1, "our_ms": 2, "ratio": 1, "gflops": 0, "load": 1}
    )
    table["difference"] = table["difference"].map("{:.1e}".format)
    return "\n".join(
        [
            f"{found['model']}, fp32, {found['threads']} threads; medians of ms per patch; ratio (bar: 15); "
            "largest difference as a share of the runs' difference (bar: 1e-5)",
            table.to_string(index=False),
            f"attribution patching, whole grid: {found['attribution_forwards']:.2f} forwards (bar: 4)",
            "scores of every edge: "
            + ", ".join(f"{name} {forwards:.2f}" for name, forwards in found["edge_forwards"].items())
            + " forwards in time (two forwards and a backward)",
            f"peak memory that a sweep adds: {found['sweep_peak']:.0%} of the weights (bar: 25 %); "
            f"tensors of a third of it on one thread, without the allocator's share: "
            f"{found['sweep_tensors']:.1%}",
            f"warm load to first logit-lens answer: {found['first_lens_seconds']:.1f} s (bar: 5)",
        ]
    )


def main() -> None:
    parser = options(__doc__, MODEL)
    parser.add_argument(
        "--cells", type=int, default=6, help="cells of the grid that TransformerLens patches each time"
    )
    given = parser.parse_args()
    show(run(given.model, given.rounds, given.cells), report, given.json)


if __name__ == "__main__":
    main()
