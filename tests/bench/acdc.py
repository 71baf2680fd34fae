"""ACDC against one edge, one forward: through TransformerLens hooks, and through our own circuit forward.

    python -m tests.bench.acdc [--model NAME] [--rounds 3] [--json FILE]

Each round sweeps over every edge of the model on a few pairs of facts, and times single edges both ways back
to back: what TransformerLens needs for an edge is a forward with a hook, whichever edge it is. It is timed on
edges into the logits, where its values are compared with ours.
"""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import Any

import numpy as np
import torch

from engine.lab.circuits.acdc import acdc
from engine.lab.circuits.circuit_forward import circuit_values, source_outputs
from engine.lab.circuits.graph import Graph
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.models.hooked import HookedModel
from engine.models.load import load
from tests.bench.options import options, show
from tests.bench.rounds import moment, seconds, tell

MODEL = "smollm2-135m-instruct"
THRESHOLD = 0.02  # of the gap between the whole model and the empty circuit
N_EDGES = 3  # timed one by one in each round
PLACES = (("France", " Paris"), ("Italy", " Rome"), ("Spain", " Madrid"), ("Japan", " Tokyo"))


def some_pairs(model: HookedModel) -> PatchPairs:
    """Capitals, each corrupted by the next country; of one length where names are of one token."""
    text = "Fact: The capital city of {} is the city of"
    clean = model.token_ids([text.format(place) for place, _ in PLACES])
    source, _, last = model.pad(clean)
    answer = torch.tensor([model.token_ids([name])[0][-1] for _, name in PLACES])
    following = [*range(1, len(PLACES)), 0]
    return PatchPairs(source[following], source, last, answer, answer[following])


def by_hooks(model: HookedModel, graph: Graph, pairs: PatchPairs, source: int) -> np.ndarray:
    """The logit difference of each pair with one edge into the logits cut, a forward with a hook."""
    with torch.no_grad():
        clean, corrupted = (
            source_outputs(model, graph, resid)[source]
            for resid in (pairs.source_resid(model), pairs.base_resid(model))
        )
    found = {}

    def cut(activation: torch.Tensor, hook: object) -> torch.Tensor:
        return activation + corrupted - clean

    def forward() -> None:
        with torch.no_grad():
            site = f"blocks.{model.n_layers - 1}.hook_resid_post"
            found["logits"] = model.bridge.run_with_hooks(
                pairs.source, fwd_hooks=[(site, cut)], prepend_bos=False
            )[:, -1]

    # What both runs wrote is kept beside, and not charged to the edge.
    found["seconds"] = seconds(forward)
    rows = torch.arange(len(pairs))
    logits = found["logits"]
    difference = logits[rows, pairs.answer] - logits[rows, pairs.wrong_answer]
    return np.array([found["seconds"], *difference.tolist()])


def one_round(model: HookedModel, rng: np.random.Generator) -> dict[str, Any]:
    """A sweep over all edges, and single edges both ways."""
    graph = Graph.of(model)
    pairs = some_pairs(model)
    metric = patch_metric(model, pairs)
    ends = np.zeros((2, graph.n_edges), dtype=bool)
    ends[1] = True
    empty, whole = circuit_values(model, graph, pairs, ends, metric).mean(axis=1)
    now = moment()
    swept: dict[str, Any] = {}
    threshold = THRESHOLD * abs(float(whole - empty))
    sweep_seconds = seconds(lambda: swept.update(found=acdc(model, graph, pairs, metric, threshold)))
    theirs = []
    plain = []
    gaps = []
    for source in rng.integers(graph.n_sources, size=N_EDGES):
        hooked = by_hooks(model, graph, pairs, int(source))
        kept = np.ones((1, graph.n_edges), dtype=bool)
        kept[0, graph.edge(int(source), graph.logits_input)] = False
        started = perf_counter()
        values = circuit_values(model, graph, pairs, kept, metric)[0]
        plain.append(perf_counter() - started)
        theirs.append(hooked[0])
        gaps.append(np.abs(hooked[1:] - values).max() / abs(float(whole - empty)))
    found = swept["found"]
    return {
        "edges": graph.n_edges,
        "kept": int(found.circuit.sum()),
        "tried": found.n_tried,
        "sweep_seconds": sweep_seconds,
        "our_edges_per_second": graph.n_edges / sweep_seconds,
        "their_edges_per_second": 1 / statistics.median(theirs),
        "plain_edges_per_second": 1 / statistics.median(plain),
        "difference": float(max(gaps)),
        **now,
    }


def run(name: str, rounds: int) -> dict[str, Any]:
    model = load(name)
    rng = np.random.default_rng(0)
    by_hooks(model, Graph.of(model), some_pairs(model), 0)  # builds the bridge
    found = []
    for number in range(1, rounds + 1):
        found.append(one_round(model, rng))
        tell("acdc", number, rounds, found[-1])
    return {"model": name, "threads": torch.get_num_threads(), "rounds": found}


def report(found: dict[str, Any]) -> str:
    """The medians, each beside its bar."""
    rounds = found["rounds"]

    def median(name: str) -> float:
        return statistics.median(row[name] for row in rounds)

    def ratio(other: str) -> float:
        return statistics.median(row["our_edges_per_second"] / row[other] for row in rounds)

    hooks = ratio("their_edges_per_second")
    plain = ratio("plain_edges_per_second")
    difference = max(row["difference"] for row in rounds)
    return "\n".join(
        [
            f"ACDC on {found['model']}, fp32, {found['threads']} threads, {len(PLACES)} prompts: "
            f"{median('edges'):,.0f} edges in {median('sweep_seconds'):.0f} s, "
            f"{median('tried'):,.0f} of them by a run, {median('kept'):.0f} kept; "
            f"{median('our_edges_per_second'):,.0f} edges a second",
            f"against one edge, one forward through TransformerLens hooks: {hooks:.0f}x (bar: 10); "
            f"through our own circuit forward: {plain:.0f}x",
            f"largest difference of an edge's metric from TransformerLens's, of the gap: {difference:.1e} "
            "(bar: 1e-5)",
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    given = options(__doc__, MODEL).parse_args(arguments)
    show(run(given.model, given.rounds), report, given.json)


if __name__ == "__main__":
    main()
