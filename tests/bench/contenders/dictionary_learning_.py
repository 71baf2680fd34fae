"""dictionary_learning: its own trainers' updates."""

from common import compete, task
from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer  # pyright: ignore[reportMissingImports]
from dictionary_learning.trainers.top_k import TopKTrainer  # pyright: ignore[reportMissingImports]

settings = task()
n_steps = settings["n_steps"]
make = TopKTrainer if settings["kind"] == "topk" else BatchTopKTrainer
trainer = make(
    steps=n_steps,
    activation_dim=settings["d"],
    dict_size=settings["n_features"],
    k=settings["k"],
    layer=0,
    lm_name="none",
    lr=settings["lr"],
    warmup_steps=max(1, n_steps // 20),
    decay_start=n_steps - n_steps // 5,
    seed=settings["seed"],
    device="cpu",
)
trainer.dead_feature_threshold = settings["dead_after_tokens"]
steps = iter(range(n_steps))

compete(settings, lambda batch: trainer.update(next(steps), batch), lambda: trainer.ae)
