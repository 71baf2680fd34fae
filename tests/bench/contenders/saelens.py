"""SAELens 6: its own trainer's steps, with what its `fit` does around them."""

import itertools

from common import compete, task
from sae_lens import SAETrainer  # pyright: ignore[reportMissingImports]
from sae_lens.config import SAETrainerConfig  # pyright: ignore[reportMissingImports]
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig  # pyright: ignore[reportMissingImports]
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig  # pyright: ignore[reportMissingImports]

settings = task()
sizes = {"d_in": settings["d"], "d_sae": settings["n_features"], "k": settings["k"]}
aux = {"aux_loss_coefficient": 1 / 32}
if settings["kind"] == "topk":
    sparse = settings.get("sparse_activations", False)
    # With both, its backward asks of a sparse tensor what torch 2.13 does not have on CPU (aten::view).
    how = {"use_sparse_activations": sparse, "rescale_acts_by_decoder_norm": not sparse}
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(**sizes, **aux, **how))
else:
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**sizes, **aux))
n_steps, size = settings["n_steps"], settings["batch_size"]
config = SAETrainerConfig(
    total_training_samples=n_steps * size,
    train_batch_size_samples=size,
    lr=settings["lr"],
    lr_end=0.0,
    lr_warm_up_steps=max(1, n_steps // 20),
    lr_decay_steps=n_steps // 5,
    dead_feature_window=max(1, settings["dead_after_tokens"] // size),
)
trainer = SAETrainer(config, sae, itertools.repeat(None))


def step(batch):
    trainer.maybe_reset_sparsity()
    trainer.step(batch)
    trainer.n_training_steps += 1


def reconstruct():
    return lambda rows: sae.decode(sae.encode(rows))


compete(settings, step, reconstruct)
