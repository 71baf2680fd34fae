"""Activation harvest to the disk against a bare Hugging Face forward stopped at the same layer, interleaved.

    python -m tests.bench.harvest [--model NAME] [--rounds 5] [--tokens 4096] [--json FILE]

The rival is the Hugging Face model with the later layers taken off: the same contexts in the same batches,
nothing kept, no cache of keys and values. Ours includes cutting, gathering and writing to the disk.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from engine.data.corpora import Corpus
from engine.lab.contexts import Contexts, cut
from engine.lab.harvest import BATCH_TOKENS, harvest
from engine.models.hooked import HookedModel
from engine.models.load import load
from tests.bench.options import options, show
from tests.bench.patching import MODEL
from tests.bench.rounds import moment, seconds, tell

CONTEXT_TOKENS = 128
DEPTHS = (25, 50, 75)  # percent


def made_up_corpus(model: HookedModel, tokens: int) -> Corpus:
    """One document of random tokens: what they say changes no arithmetic."""
    ids = np.random.default_rng(0).integers(0, model.shape.vocab, tokens).astype(np.int32)
    return Corpus("random", "random", "random tokens", ids, np.zeros(1, dtype=np.int64))


def truncated(model: HookedModel, layer: int) -> Any:
    """The Hugging Face decoder with only the blocks before `layer`, and no final norm."""
    whole = model.hf.base_model
    blocks = "h" if hasattr(whole, "h") else "layers"
    short = copy.copy(whole)
    short._modules = dict(whole._modules)
    short._modules[blocks] = torch.nn.ModuleList(list(getattr(whole, blocks))[:layer])
    short._modules["ln_f" if blocks == "h" else "norm"] = torch.nn.Identity()
    short.config = copy.copy(whole.config)
    short.config.num_hidden_layers = layer
    return short


def bare(short: Any, contexts: Contexts) -> torch.Tensor:
    """Every context through the shortened model, in batches as the harvest makes them; the last batch."""
    order = np.argsort(-contexts.lengths, kind="stable")
    at_once = max(1, BATCH_TOKENS // CONTEXT_TOKENS)
    last = torch.empty(0)
    with torch.no_grad():
        for start in range(0, len(order), at_once):
            last = short(contexts.inputs(order[start : start + at_once]), use_cache=False).last_hidden_state
    return last


def one_round(model: HookedModel, corpus: Corpus, layer: int, short: Any) -> dict[str, Any]:
    """Both, back to back, and how far what they have of one context differs."""
    site = f"blocks.{layer}.hook_resid_pre"
    contexts = cut(corpus, model, context_tokens=CONTEXT_TOKENS)
    now = moment()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        theirs = seconds(lambda: bare(short, contexts))
        ours = seconds(
            lambda: found.update(
                ours=harvest(model, corpus, [site], folder=Path(folder), context_tokens=CONTEXT_TOKENS)
            )
        )
        input_ids, counted = found["ours"].inputs([0])
        with torch.no_grad():
            expected = short(input_ids, use_cache=False).last_hidden_state[counted]
        got = found["ours"].rows(site, range(len(expected)))
    scale = max(1.0, float(expected.abs().max()))
    return {
        "site": site,
        "their_tokens_per_second": len(corpus.ids) / theirs,
        "our_tokens_per_second": len(corpus.ids) / ours,
        "ratio": ours / theirs,
        "difference": float((got - expected).abs().max()) / scale,
        **now,
    }


def run(name: str = MODEL, rounds: int = 5, tokens: int = 4096) -> dict[str, Any]:
    """Medians over the rounds, by site, after one round to warm up."""
    return measured(load(name), rounds, tokens)


def measured(model: HookedModel, rounds: int, tokens: int) -> dict[str, Any]:
    """The same for a model that is loaded."""
    corpus, rows = made_up_corpus(model, tokens), []
    layers = sorted({max(1, model.n_layers * depth // 100) for depth in DEPTHS})
    shortened = {layer: truncated(model, layer) for layer in layers}
    for number in range(rounds + 1):
        for layer, short in shortened.items():
            result = one_round(model, corpus, layer, short)
            tell("harvest", number, rounds, result)
            rows += [result] if number else []
    table = pd.DataFrame(rows).groupby("site", sort=False).median().reset_index()
    return {"model": model.name, "threads": torch.get_num_threads(), "harvest": table.to_dict("records")}


def report(found: dict[str, Any]) -> str:
    """The numbers as a table, each beside its bar."""
    table = pd.DataFrame(found["harvest"])
    table["difference"] = table["difference"].map("{:.1e}".format)
    table = table.round({"their_tokens_per_second": 0, "our_tokens_per_second": 0, "ratio": 3, "gflops": 0})
    head = (
        f"{found['model']}, fp32, {found['threads']} threads; harvest to the disk over a bare Hugging "
        "Face forward stopped there, medians (bar: ratio 1.15)"
    )
    return f"{head}\n{table.to_string(index=False)}"


def main() -> None:
    parser = options(__doc__, MODEL)
    parser.add_argument("--tokens", type=int, default=4096)
    given = parser.parse_args()
    show(run(given.model, given.rounds, given.tokens), report, given.json)


if __name__ == "__main__":
    main()
