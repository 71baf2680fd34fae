"""A made-up investigation: three models, of which one is published and one cannot be had."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from engine.evidence.result import Check, Figure, Measurement
from engine.evidence.verdicts import Margin, SpecifiedVerdict, Verdict
from engine.runs.ledger import Entry, Ledger, Provenance, Replication
from engine.spec.models import Claim, Experiment, Spec

NASTY = (
    "<script>alert(1)</script> <b onclick=x>y</b> | **b** `c` {{ lens.x }} {% raw %} [a](b) _u_ $x$ & &lt; "
    "\\* @k :smile: {: #id } ---\n# h\x02wzxhzdk:0\x03"
)

PROVENANCE = Provenance(
    run_id=12,
    key="a3f9" * 16,
    spec_hash="b71c" * 16,
    model="tiny-llama",
    model_hash="c0de" * 16,
    quantisation="dequantised from Q4_1",
    dtype="float32",
    device="cpu",
    peak_bytes=1_250_000_000,
    inputs={"experiment": "e1", "code": "c0ffee", "model": "m1", "data": "da7a", "uses": "u1"},
    versions={"torch": "2.13.0", "transformers": "5.23.0"},
    date="2026-01-31T12:40:09Z",
    seconds=8.25,
    command="mech run --name fact-recall/lens --model tiny-llama",
)


def measurements(shift: float = 0.0) -> dict[str, Measurement]:
    rank = Measurement(
        "final_rank", 12.84 + shift, 9.1 + shift, 16.2 + shift, 120, "prompt",
        quantity="ranks", about="Rank of the answer after the last layer.", control="other_rank",
        chosen_on="the select half",
    )  # fmt: skip
    share = Measurement("share_known", 0.753, 0.71, 0.79, 160, "prompt", statistic="fraction")
    other = Measurement(
        "other_rank", 375.0, 350.0, 401.0, 120, "prompt", role="control", about="Another answer."
    )
    kept = Measurement("n_kept", 120, None, None, 120, "prompt", statistic="count", exact=True)
    seeds = Measurement("seed_spread", 0.41, None, None, 5, "seed", note="five seeds are too few")
    return {m.name: m for m in (rank, share, other, kept, seeds)}


def tables() -> dict[str, pd.DataFrame]:
    layers = np.tile(np.arange(12), 2)
    rank = 375 * np.exp(-layers / 3) + np.repeat([5.0, 60.0], 12)
    by_layer = pd.DataFrame({"layer": layers, "mean_rank": rank, "low": rank * 0.8, "high": rank * 1.2})
    by_layer["which"] = np.repeat(["answer", "another answer"], 12)
    prompts = [NASTY, *(f"Fact: The capital city of country {i} is" for i in range(24))]
    per_prompt = pd.DataFrame({"id": range(25), "prompt": prompts, "answer": [" Paris"] * 25})
    per_prompt["logit_diff"] = np.linspace(-1, 3.123456, 25)
    per_prompt.loc[3, "logit_diff"] = np.nan
    return {"by_layer": by_layer, "per_prompt": per_prompt}


def figures() -> dict[str, Figure]:
    parts = {"x": "layer", "y": "mean_rank", "low": "low", "high": "high", "color": "which"}
    line = Figure(
        "line", "by_layer", parts, "Rank of the answer by layer", "Band: 95 % interval.", {"log_y": True}
    )
    strip = Figure(
        "strip", "per_prompt", {"x": "answer", "y": "logit_diff", "label": "prompt"}, "Each prompt"
    )
    return {"by_layer": line, "each_prompt": strip}


def entry(experiment: str = "lens", model: str = "tiny-llama", **changes) -> Entry:
    check = Check("parity", 2.1e-6, 5e-5, "hooked logits equal the plain forward pass")
    whole = Entry(
        experiment, {}, model, "measured", "", measurements(), tables(), figures(), (check,),
        replace(PROVENANCE, model=model),
    )  # fmt: skip
    return replace(whole, **changes)


@pytest.fixture
def ledger() -> Ledger:
    models = ["tiny-llama", "tiny-gpt2", "far-away"]
    spec = Spec(
        title="How does a model recall a fact?",
        question="At which layer?",
        models=models,
        experiments={n: Experiment(family="logit_lens") for n in ("lens", "patch-heads", "sweep", "bad")},
        claims={
            "rank-falls": Claim(
                holds="lens.final_rank < lens.other_rank", requires=["lens.share_known > 0.5"]
            ),
            "mostly-known": Claim(holds="lens.share_known > 0.9", says="The model knows most facts."),
        },
        headline="The rank falls to {{ lens.final_rank }} (another answer: {{ lens.other_rank }}) "
        "on {{ lens.n_kept }} prompts.",
    )
    failed = Check("padding", 0.2, 1e-4, "one prompt alone equals the same prompt in a padded batch")
    entries = [
        entry(),
        entry("patch-heads"),
        entry("sweep", point={"seed": 3}),
        entry("bad", state="unmeasured", measurements={}, tables={}, figures={}, checks=(failed,),
              reason="check padding failed: 0.2, at most 0.0001 is allowed"),
        entry(model="tiny-gpt2", state="published", reason="over the budget", measurements=measurements(-3)),
        entry(model="far-away", state="unmeasured", reason="the hub cannot be reached", measurements={},
              tables={}, figures={}, checks=(), provenance=None),
    ]  # fmt: skip
    verdicts = {
        "tiny-llama": {
            "rank-falls": Verdict("rank-falls", "supported", 0.9998),
            "mostly-known": Verdict("mostly-known", "contradicted", 0.001, ""),
        },
        "tiny-gpt2": {
            "rank-falls": Verdict("rank-falls", "supported", 1.0, "", "published"),
            "mostly-known": Verdict(
                "mostly-known", "undetermined", 0.6, "lens.share_known > 0.5 is not supported"
            ),
        },
        "far-away": {
            "rank-falls": Verdict("rank-falls", "unmeasured", None, "the hub cannot be reached", "")
        },
    }
    comparisons = (
        Replication("lens.final_rank", "tiny-llama", 12.8, 12.84, 9.1, 16.2, True),
        Replication("lens.share_known", "tiny-llama", 0.9, 0.753, 0.71, 0.79, False),
    )
    return Ledger("fact-recall", spec, tuple(entries), verdicts, comparisons)


@pytest.fixture
def across(ledger: Ledger) -> Ledger:
    """The ledger with one claim judged under four specifications on the primary model."""
    claim = ledger.spec.claims["rank-falls"].model_copy(update={"across": {"lens.k": [1, 2]}})
    found = (Verdict("rank-falls", "undetermined", 0.9), Verdict("rank-falls", "supported", 0.99))
    under = tuple(
        SpecifiedVerdict({"lens.k": k}, verdict, Margin(k, k - 1, k + 1))
        for k, verdict in enumerate(found, 1)
    )
    verdicts = {
        "tiny-llama": {"rank-falls": Verdict("rank-falls", "undetermined", None, specifications=under)}
    }
    spec = ledger.spec.model_copy(update={"claims": {"rank-falls": claim}})
    return replace(ledger, spec=spec, verdicts=verdicts)
