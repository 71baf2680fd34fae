"""Sparse autoencoder: a layer's activations as a few directions out of many, and what that costs the model.

1. Run the model over the corpus; keep the activations at the hook site, BOS excluded. Hold contexts out;
   leave out massive activations, of more than `max_norm` times the median norm, here and everywhere below.
2. Train a Top-K or BatchTopK autoencoder (AuxK for dead latents, decoder rows of norm 1) on the other
   contexts; take the scaling of its input into its weights.
3. On held-out contexts: explained variance (of all tokens together, as SAELens 6 defines it, and as the mean
   over tokens, its earlier definition), l0 (active latents a token), frac_alive (latents that fire there).
4. Splice it into the model: ce_loss_score is the share of the loss between zeros at the site (0) and the
   model's own activations (1) that it keeps; kl is KL(clean, spliced) in nats a token.
5. Geometry: for each live latent the cosine with its nearest other decoder direction, and with its encoder;
   for every latent the cosine of its decoder row with the random one that it started from (`start_cosine`).
6. With `checkpoints`, keep and measure the dictionary after 1/2, 1/4, ... of the steps as well, in one and
   the same training (table `checkpoints`): sae_stability makes a curve of them.

Sources: Gao et al. 2024 (Top-K, AuxK); Bussmann et al. 2024 (BatchTopK); Karvonen et al. 2025, SAEBench
(ce_loss_score). Unit of sampling: the held-out context, or the latent. Controls, on the same contexts: a
dictionary of random directions with the same k (`random_`), and the first k principal components (`pca_`).

Pitfalls:

- Explained variance and sparsity do not tell how useful or readable a dictionary is (Karvonen et al. 2025,
  SAEBench).
- What a dictionary leaves out is no random noise: spliced in, it costs the model more than an error of the
  same size at random (Gurnee 2024, "SAE reconstruction errors are (empirically) pathological").
- Latents die during training, and a share of dead ones makes a dictionary narrower than it says (Gao et al.
  2024, section 2.4).
- Readable features alone prove little: dictionaries of models with random weights have them too (Heap et al.
  2025, "Sparse Autoencoders Can Interpret Randomly Initialized Transformers").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field

from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Result
from engine.lab.activations import Activations
from engine.lab.harvest import harvested
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.lab.sparse.autoencoder import DEAD_AFTER_TOKENS, starting_directions, train
from engine.lab.sparse.coder import Coder, unit_rows
from engine.lab.sparse.dictionary_evidence import (
    Contenders,
    counts_of_tokens,
    explained_variance,
    geometry,
    shown_contexts,
    sparsity,
    splicing,
)
from engine.lab.sparse.held_out import HeldOutActivations, hold_out
from engine.lab.sparse.metrics import Reconstruct, mean_of, reconstruction
from engine.lab.sparse.run_arrays import arrays_of
from engine.lab.sparse.synthetic import known_dictionary, recovered, sparse_batches
from engine.lab.sparse.trainer import Checkpoint, TrainingOutcome
from engine.spec.family_params import HarvestParams, TrainingParams
from engine.spec.inputs import Inputs

inputs = Inputs(corpus=True, site=True)


class Params(HarvestParams, TrainingParams):
    kind: Literal["topk", "batchtopk"] = "topk"
    """topk keeps the k largest of every token, batchtopk the k times batch_size largest of a batch."""
    spliced_contexts: Annotated[int, Field(gt=1)] = 40
    """Held-out contexts that the reconstructions are spliced into."""
    shown_latents: Annotated[int, Field(gt=0)] = 24
    """Latents whose top contexts are listed: live ones, evenly spaced by how often they fire."""
    checkpoints: Annotated[int, Field(ge=0, le=20)] = 0
    """The dictionary is also kept after 1/2, 1/4, ... of the steps, halved this many times."""


def run(lab: Lab, params: Params) -> Result:
    """Train one dictionary and measure it on contexts that it never saw, beside its controls."""
    # 1. Keep the activations at the hook site; hold contexts out; leave out massive activations.
    with lab.stage(0.3, "reading the corpus") as progress:
        acts = harvested(lab, [lab.hook_site], params, progress)
    training_rows, held, massive = hold_out(lab, acts, params)
    # Contexts of one document are alike: each number is measured for these documents and for more like them.
    ev = Evidence("context", held.names, groups=held.documents, group_unit="document")

    # 2. Train on the other contexts; take the input's scaling into the weights.
    with lab.stage(0.8, "training") as progress:
        outcome = trained_on(training_rows, params, progress)
    coder = outcome.coder.folded()
    contenders = Contenders.of(coder, params.k, training_rows, params.batch_size, params.seed)

    # 3. Explained variance, l0 and frac_alive on held-out contexts.
    with lab.stage(0.85, f"measuring on {len(held.names):,} held-out contexts"):
        codes = held.codes(coder)
        explained_variance(ev, held, contenders)
        sparsity(ev, held, codes)

    # 4. Splice it into the model.
    with lab.stage(1.0, "splicing the reconstructions into the model"):
        splicing(ev, lab, held, contenders.by, params.spliced_contexts)

    # 5. Geometry of the live latents, and how far all of them are from their start.
    geometry(ev, coder, codes, contenders.chance)
    start = starting_directions(params.n_features, acts.d, params.seed)
    from_start(ev, coder, start)

    # 6. Keep and measure the same training at earlier steps.
    if outcome.checkpoints:
        along_training(ev, outcome, held, start)

    shown_contexts(ev, lab, held, codes, params.shown_latents)
    ev.table("training", outcome.history).line(
        "training",
        "tokens",
        "loss",
        title="Training",
        caption="Mean squared error of a token, in units in which activations have a mean squared norm of d.",
        log_y=True,
    )
    ev.count("tokens_trained", outcome.n_tokens, "Tokens trained on, each epoch anew.", unit="token")
    counts_of_tokens(ev, held, massive)
    for name, array in arrays_of(coder, codes.fired().numpy() / len(codes)).items():
        ev.array(name, array)
    return ev.result()


def trained_on(acts: Activations, params: Params, progress: Callable[..., None]) -> TrainingOutcome[Coder]:
    """One dictionary from shuffled batches of the rows; DataError where they are fewer than one batch."""
    n_steps = acts.n_tokens // params.batch_size * params.epochs
    if not n_steps:
        raise DataError(
            "the corpus is shorter than one batch",
            expected=f"{params.batch_size:,} tokens to train on, after those held out",
            seen=f"{acts.n_tokens:,}",
            hint="a smaller batch_size, or more tokens",
        )
    batches = acts.batches(acts.site, params.batch_size, params.seed, params.epochs)
    return train(
        # Whole batches only, as `n_steps` counts them: an epoch's last one may be short.
        (batch for batch in batches if len(batch) == params.batch_size),
        acts.d,
        params.n_features,
        params.k,
        architecture=params.kind,
        lr=params.lr,
        seed=params.seed,
        n_steps=n_steps,
        # A tenth of a short training, so that there are dead latents at all before it ends.
        dead_after_tokens=min(DEAD_AFTER_TOKENS, max(1, acts.n_tokens * params.epochs // 10)),
        checkpoint_steps=[n_steps >> halved for halved in range(1, params.checkpoints + 1)],
        progress=progress,
    )


def from_start(ev: Evidence, coder: Coder, start: Float[torch.Tensor, "latent d"]) -> None:
    """How much of its random start each decoder row still is: 1 says that nothing was learned."""
    cosines = start_cosines(coder, start)
    about = "Cosine of a latent's decoder row with the random one that it started from; mean over latents."
    ev.over("latent").control("start_cosine", cosines, about)
    ev.array("start_cosine", cosines)


def start_cosines(coder: Coder, start: Float[torch.Tensor, "latent d"]) -> Float[np.ndarray, " latent"]:
    """The cosine of each decoder row with where it started; latents keep their places in training."""
    return (unit_rows(coder.W_dec) * start).sum(dim=1).numpy()


def along_training(
    ev: Evidence,
    outcome: TrainingOutcome[Coder],
    held: HeldOutActivations,
    start: Float[torch.Tensor, "latent d"],
) -> None:
    """The dictionary at each checkpoint and at the end, on the same held-out contexts; decoders are kept."""
    mean = mean_of(held.batches())
    last = int(outcome.history["step"].iloc[-1])
    lr = float(outcome.history["lr"].iloc[-1])
    rows = []
    for kept in [*outcome.checkpoints, Checkpoint(outcome.coder, last, outcome.n_tokens, lr)]:
        sums = reconstruction(held.batches(), kept.coder.reconstruct, mean, len(held.names))
        rows.append(
            {
                "step": kept.step,
                "tokens": kept.tokens,
                "lr": kept.lr,
                "explained_variance": sums.explained_variance,
                "explained_variance_per_token": sums.explained_variance_per_token,
                "start_cosine": float(start_cosines(kept.coder, start).mean()),
            }
        )
    ev.table("checkpoints", pd.DataFrame(rows)).line(
        "checkpoints",
        "step: steps",
        "explained_variance_per_token: explained variance per token",
        title="The same training, earlier",
        caption="Explained variance of held-out tokens, averaged over tokens, by the steps taken so far.",
        log_x=True,
    )
    # The last one is W_dec itself. Half precision: these are compared by direction alone.
    decoders = [kept.coder.W_dec.half().numpy() for kept in outcome.checkpoints]
    ev.array("checkpoint_decoders", np.stack(decoders))
    ev.array("checkpoint_steps", np.array([kept.step for kept in outcome.checkpoints]))


def calibrate() -> list[Calibration]:
    """A known dictionary is found again from sums of its directions; random directions do not find it."""
    features = known_dictionary(64, 96, seed=1)
    stream = sparse_batches(features, active=3, batch_size=512, n_batches=300, seed=2)
    coder = train(stream, 64, 96, 3, lr=1e-2, n_steps=300).coder.folded()

    def found_by(rows: Float[torch.Tensor, "latent d"]) -> float:
        return float((recovered(rows, features) >= 0.9).double().mean())

    x = next(sparse_batches(features, active=3, batch_size=2048, n_batches=1, seed=3))
    mean = x.mean(dim=0)

    def explained(reconstruct: Reconstruct) -> float:
        return reconstruction([(x, torch.arange(len(x)))], reconstruct, mean, len(x)).explained_variance

    found = found_by(coder.W_dec)
    chance = found_by(known_dictionary(64, 96, seed=4))
    itself = explained(lambda rows: rows)
    flat = explained(lambda rows: mean.expand_as(rows))
    about = "Share of known features with a latent at a cosine of 0.9 or more"
    drawn = f"{about}, random directions."
    return [
        Calibration("known dictionary", f"{about}.", "0.8 or more", found, 0.8, 1.0),
        Calibration("known dictionary, chance", drawn, "0.02 at most", chance, 0, 0.02),
        known_answer("identity", "Explained variance of the activations themselves.", itself, 1, 1e-9),
        known_answer("mean", "Explained variance of their mean.", flat, 0, 1e-6),
    ]
