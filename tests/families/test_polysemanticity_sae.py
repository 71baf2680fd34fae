"""A dictionary trained on a micro model's activations: what it returns, and what it refuses."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from engine.errors import DataError, SpecError
from engine.evidence.marked import is_marked
from engine.families import polysemanticity_sae
from engine.families.polysemanticity_sae import Params, run
from engine.lab.sparse.run_arrays import coder_of
from tests.families.sparse_lab import sparse_lab

SMALL = Params(
    n_features=96, k=6, batch_size=128, lr=1e-2, epochs=8, context_tokens=16, held_out=0.2, shown_latents=5
)


@pytest.fixture(scope="module")
def result():
    return run(sparse_lab(), SMALL).validated("made up")


def test_a_spec_cannot_ask_for_more_active_latents_than_there_are():
    with pytest.raises(ValidationError, match="k = 97 is more than n_features = 96"):
        Params(n_features=96, k=97)


def test_it_explains_more_than_chance_and_every_number_has_its_unit(result):
    found = result.measurements
    assert found["explained_variance"].value > found["random_explained_variance"].value
    assert found["explained_variance"].value > found["pca_explained_variance"].value
    assert found["kl"].value < found["random_kl"].value
    assert 0 < found["l0"].value <= 6 + 1e-9
    assert 0 < found["frac_alive"].value <= 1
    assert found["explained_variance"].unit == found["kl"].unit == "context"
    assert found["explained_variance"].n == found["contexts_held_out"].value > 20
    assert found["explained_variance"].control == "random_explained_variance"
    low, high = found["explained_variance"].low, found["explained_variance"].high
    assert low is not None and high is not None and low < found["explained_variance"].value < high


def test_checks_pass(result):
    assert {c.name for c in result.checks} == {"identity_splice", "alive"}
    assert not result.failed_checks


def test_the_lab_is_given_the_receipts_of_held_out_contexts():
    lab = sparse_lab()
    run(lab, SMALL.model_copy(update={"epochs": 1}))
    assert [check.name for check in lab.receipts] == ["hugging_face_logits", "hooks_fired"]
    assert all(check.passed for check in lab.receipts)


def test_arrays_are_the_dictionary_in_the_models_own_scale(result):
    arrays = result.arrays
    assert arrays["W_enc"].shape == (32, 96) and arrays["W_dec"].shape == (96, 32)
    assert np.abs(np.linalg.norm(arrays["W_dec"], axis=1) - 1).max() < 1e-5
    assert arrays["scale"].tolist() == [1.0]
    live = (arrays["firing_rate"] > 0).mean()
    assert live == pytest.approx(result.measurements["frac_alive"].value)
    coder = coder_of(arrays, "the run")
    assert (coder.architecture, coder.k) == ("topk", 6)


def test_tables_list_latents_and_their_contexts(result):
    tables = result.tables
    assert len(tables["per_latent"]) == 96
    contexts = tables["top_contexts"]
    assert contexts["latent"].nunique() == 5
    assert all(is_marked(text) for text in contexts["text"])
    assert contexts.groupby("latent")["activation"].apply(lambda a: (a.diff().dropna() <= 0).all()).all()
    assert tables["training"]["loss"].iloc[-1] < tables["training"]["loss"].iloc[0]


def test_the_same_seed_is_the_same_dictionary_and_another_is_another(result):
    again = run(sparse_lab(), SMALL).arrays["W_dec"]
    assert np.array_equal(again, result.arrays["W_dec"])
    other = run(sparse_lab(), SMALL.model_copy(update={"seed": 1})).arrays["W_dec"]
    assert not np.allclose(other, again, atol=1e-2)


def test_batchtopk_keeps_k_on_average():
    found = run(sparse_lab(), SMALL.model_copy(update={"kind": "batchtopk"}))
    assert found.measurements["l0"].value == pytest.approx(6, rel=0.25)
    assert found.arrays["threshold"][0] > 0
    assert coder_of(found.arrays, "the run").architecture == "batchtopk"


def test_heads_side_by_side_are_a_site_too():
    found = run(sparse_lab("blocks.50%.attn.hook_z"), SMALL.model_copy(update={"epochs": 1}))
    assert found.arrays["W_dec"].shape == (96, 32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"k": 97}, "k from 1 to n_features = 96"),
        ({"k": 0}, "k = 0"),
        ({"n_features": 0}, "n_features of 1 or more"),
        ({"batch_size": 10**6}, "shorter than one batch"),
        ({"tokens": 10**7}, "shorter than what is asked for"),
    ],
)
def test_what_cannot_be_trained_is_said(change, said):
    with pytest.raises(DataError, match=said):
        run(sparse_lab(), SMALL.model_copy(update=change))


def test_a_site_and_a_corpus_are_needed():
    lab = sparse_lab()
    lab.hook_site = None
    with pytest.raises(SpecError, match="hook site"):
        run(lab, SMALL)
    lab = sparse_lab()
    lab.corpus = None
    with pytest.raises(SpecError, match="corpus"):
        run(lab, SMALL)


def test_a_dictionary_of_which_nothing_fires_is_withheld(monkeypatch):
    train = polysemanticity_sae.train

    def stillborn(*args, **kwargs):
        trained = train(*args, **kwargs)
        trained.coder.b_enc.copy_(torch.full_like(trained.coder.b_enc, -1e6))
        return trained

    monkeypatch.setattr(polysemanticity_sae, "train", stillborn)
    result = run(sparse_lab(), SMALL).validated("stillborn")
    assert [c.name for c in result.failed_checks] == ["alive"]
    assert result.measurements["frac_alive"].value == result.measurements["l0"].value == 0
    assert result.tables["top_contexts"].empty


def test_a_negative_seed_is_refused_before_anything_is_measured():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Params(seed=-1)


def test_checkpoints_are_measured_and_kept_and_end_with_the_dictionary_itself():
    found = run(sparse_lab(), SMALL.model_copy(update={"checkpoints": 3})).validated()
    table = found.tables["checkpoints"]
    steps = found.arrays["checkpoint_steps"].tolist()
    last = int(table["step"].iloc[-1])
    assert steps == sorted(last >> halved for halved in (1, 2, 3)) == table["step"].tolist()[:-1]
    assert found.arrays["checkpoint_decoders"].shape == (3, 96, 32)
    own = found.measurements["explained_variance_per_token"].value
    assert table["explained_variance_per_token"].iloc[-1] == pytest.approx(own)
    assert table["start_cosine"].is_monotonic_decreasing
    assert table["start_cosine"].iloc[-1] == pytest.approx(found.measurements["start_cosine"].value)


def test_massive_tokens_are_left_out_and_counted():
    found = run(sparse_lab(), SMALL.model_copy(update={"max_norm": 1.2, "epochs": 1})).measurements
    every = run(sparse_lab(), SMALL.model_copy(update={"max_norm": None, "epochs": 1})).measurements
    assert every["massive_tokens_training"].value == every["massive_tokens_held_out"].value == 0
    left_out = found["massive_tokens_held_out"].value
    assert left_out > 0
    assert found["tokens_held_out"].value == every["tokens_held_out"].value - left_out
