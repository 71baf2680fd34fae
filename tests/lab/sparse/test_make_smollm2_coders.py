"""How the packaged autoencoders are made: what is measured on was not trained on, and the card says all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.data.corpora import Corpus
from engine.data.packaged_coders import CODES
from engine.lab.harvest import harvest
from engine.lab.sparse import make_smollm2_coders as maker
from engine.lab.sparse.corpus_codes import read_codes
from engine.lab.sparse.saelens import read_saelens
from engine.models.micro import micro_model
from engine.spec.family_params import HarvestParams

SITE = "blocks.1.hook_resid_pre"


@pytest.fixture
def made_up() -> Corpus:
    """Twenty documents of sixty tokens; the last one repeats the first."""
    ids = np.random.default_rng(0).integers(0, 20, 1200).astype(np.int32)
    ids[-60:] = ids[:60]
    return Corpus("made up", "hash", "here", ids, np.arange(0, 1200, 60))


def test_documents_of_the_head_and_their_copies_are_not_trained_on(made_up: Corpus) -> None:
    model = micro_model("llama")
    acts = harvest(model, made_up, [SITE], folder=None, context_tokens=20)
    rows = maker.trained_rows(acts, 100)
    starts = rows.contexts.starts[rows.chosen]
    # The first two documents begin in the head, the last one equals the first of them.
    assert starts.min() == 120
    assert starts.max() < 1140
    assert rows.n_tokens == 17 * 60


def test_a_seed_is_trained_halved_and_measured(
    made_up: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LATENTS": 24, "K": 3, "BATCH_TOKENS": 64, "READ_TOKENS": 300}.items():
        monkeypatch.setattr(maker, name, value)
    monkeypatch.setattr(maker, "READ", HarvestParams(held_out=0.5, context_tokens=20))
    model = micro_model("llama")
    acts = harvest(model, made_up, [SITE], folder=None, context_tokens=20)
    rows = maker.trained_rows(acts, 300)
    said = maker.make(model, made_up, rows, tmp_path / "seed0", 0, epochs=3)
    coder, config = read_saelens(tmp_path / "seed0")
    assert (coder.n_features, coder.k, config.hook_site) == (24, 3, SITE)
    assert json.loads((tmp_path / "seed0/cfg.json").read_text())["dtype"] == "float16"
    assert coder.W_dec.equal(coder.W_dec.half().float())
    assert said["tokens_trained"] == rows.n_tokens // 64 * 64 * 3
    assert said["live"] + said["dead"] == 24
    assert read_codes(tmp_path / "seed0" / CODES).numbers["l0"] == said["l0"] <= 3
    other = maker.make(model, made_up, rows, tmp_path / "seed1", 1, epochs=3)
    assert other["explained_variance"] != said["explained_variance"]
    card = maker.card(model, made_up, rows, [said, other])
    assert card["training_text_tokens"] == rows.n_tokens
    assert card["measured_on"]["corpus"] == {"name": "made up", "tokens": 300}
    json.dumps(card)


def test_the_head_is_what_a_spec_would_take(made_up: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "READ_TOKENS", 130)
    head = maker.head_of(made_up)
    assert len(head.ids) == 130
    assert head.starts.tolist() == [0, 60, 120]
