"""Training: what is learned, what is counted, several seeds on one stream, and what is refused."""

import pytest
import torch

from engine.errors import DataError, ResultError
from engine.lab.sparse.autoencoder import COLUMNS, starting_directions, train, train_several
from engine.lab.sparse.coder import unit_rows
from engine.lab.sparse.synthetic import known_dictionary, recovered, sparse_batches

D, N, STEPS = 32, 40, 150
FEATURES = known_dictionary(D, N, seed=0)


def stream(n=STEPS, scale=1.0):
    for batch in sparse_batches(FEATURES, active=2, batch_size=256, n_batches=n, seed=1):
        yield batch * scale


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_it_finds_known_directions(architecture):
    trained = train(stream(), D, N, 3, architecture=architecture, lr=1e-2, n_steps=STEPS)
    chance = recovered(known_dictionary(D, N, seed=5), FEATURES).mean()
    assert recovered(trained.coder.W_dec, FEATURES).mean() > chance + 0.2
    assert trained.history["loss"].iloc[-1] < trained.history["loss"].iloc[0] / 2
    assert trained.n_tokens == STEPS * 256
    assert list(trained.history) == COLUMNS
    assert trained.history["l0"].to_numpy().max() <= 3
    assert (trained.coder.threshold is None) == (architecture == "topk")
    assert trained.coder.W_dec.norm(dim=1).sub(1).abs().max() < 1e-6


def test_the_scale_of_the_activations_does_not_matter():
    one, other = (train(stream(30, scale), D, N, 3, n_steps=30) for scale in (1.0, 50.0))
    assert other.coder.scale == pytest.approx(one.coder.scale / 50, rel=1e-4)
    x = next(stream(1))
    a, b = one.coder.folded().encode(x), other.coder.folded().encode(50 * x) / 50
    torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)


def test_several_seeds_on_one_stream_are_each_what_it_is_alone():
    together = train_several(stream(20), D, N, 3, seeds=[3, 7], n_steps=20)
    for run in together:
        alone = train(stream(20), D, N, 3, seed=run.seed, n_steps=20)
        assert torch.equal(run.coder.W_dec, alone.coder.W_dec)
    assert not torch.allclose(together[0].coder.W_dec, together[1].coder.W_dec)


def test_latents_that_do_not_fire_are_counted_dead():
    trained = train(stream(40), D, 4 * N, 1, n_steps=40, dead_after_tokens=1000)
    dead = trained.silent_tokens >= 1000
    assert 0 < int(dead.sum()) == trained.history["dead"].iloc[-1]
    assert trained.fired[~dead].min() > 0
    assert trained.history["aux_loss"].iloc[-1] > 0


def test_progress_is_told():
    told = []
    train(stream(20), D, N, 3, n_steps=20, progress=lambda *a: told.append(a))
    assert told[-1][0] == 1.0


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([], "nothing to train on"),
        ([torch.randn(4, D)], "ran out"),
        ([torch.randn(4, D + 1)], "another shape"),
        ([torch.randn(D)], "another shape"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(batches, said, unchecked_shapes):
    with pytest.raises(DataError, match=said):
        train(batches, D, N, 3, n_steps=2)


def test_numbers_that_are_lost_are_noticed():
    with pytest.raises(ResultError, match="lost its numbers"):
        train([torch.full((8, D), float("nan"))] * 2, D, N, 3, n_steps=2)


def test_a_checkpoint_is_the_same_training_earlier_and_does_not_change_it():
    kept = train(stream(20), D, N, 3, n_steps=20, checkpoint_steps=[5, 10])
    plain = train(stream(20), D, N, 3, n_steps=20)
    assert torch.equal(kept.coder.W_dec, plain.coder.W_dec)
    assert [(c.step, c.tokens) for c in kept.checkpoints] == [(5, 5 * 256), (10, 10 * 256)]
    start = starting_directions(N, D, 0)
    away = [
        float((unit_rows(c.W_dec) * start).sum(1).mean())
        for c in (*(k.coder for k in kept.checkpoints), kept.coder)
    ]
    assert 1 > away[0] > away[1] > away[2]
    # Copies: what the training did afterwards is not in them.
    assert not torch.equal(kept.checkpoints[1].coder.b_dec, kept.coder.b_dec)
