"""How well a coder, or any other reconstruction, does on held-out activations and inside the model.

Sums are kept for each context (document), the unit of sampling: tokens of one text are not independent.

- `explained_variance`: 1 - sum |x - x'|^2 / sum |x - mean|^2 over all tokens, as SAELens 6 defines it
  (ExplainedVarianceCalculator).
- `explained_variance_per_token`: the mean over tokens of 1 - |x - x'|^2 / |x - mean|^2, SAELens's earlier one
  (`explained_variance_legacy`); tokens near the mean rule it. The mean is that of the held-out tokens.
- `ce_loss_score`: (CE with zeros - CE spliced) / (CE with zeros - CE clean), as in SAEBench (Karvonen et al.
  2025, arXiv 2503.09532); 1 is as good as the activations themselves. `kl` is KL(clean, spliced), in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.coder import unit_rows

Reconstruct = Callable[[Tensor], Tensor]
ForwardWithReplacement = Callable[[Tensor, Reconstruct], Tensor]
"""Input ids "context pos" and what to make of the site's activations -> logits "context pos vocab"."""


@dataclass(frozen=True)
class ReconstructionSums:
    """Over the tokens of each context: "context" each; `mean` is that of all tokens."""

    tokens: Int[np.ndarray, " context"]
    total: Float[np.ndarray, " context"]
    residual: Float[np.ndarray, " context"]
    per_token: Float[np.ndarray, " context"]

    @property
    def explained_variance(self) -> float:
        """The ratio of sums, over all contexts."""
        return 1.0 - float(self.residual.sum() / self.total.sum())

    @property
    def explained_variance_per_token(self) -> float:
        """The mean over tokens of each token's own."""
        return float(self.per_token.sum() / self.tokens.sum())


def reconstruction(
    batches: Iterable[tuple[Float[Tensor, "_row d"], Int[Tensor, " _row"]]],
    reconstruct: Reconstruct,
    mean: Float[Tensor, " d"],
    n_contexts: int,
) -> ReconstructionSums:
    """Sums over batches of activations that come with the context of each row, from 0 to n_contexts - 1.

    Raises DataError where the activations do not vary, so that there is no variance to explain.
    """
    # In double precision: squares of massive activations and of ordinary ones are summed over 10^5 tokens.
    sums = torch.zeros(4, n_contexts, dtype=torch.float64)
    for x, context in batches:
        residual = (x - reconstruct(x)).double().square().sum(dim=1)
        total = (x - mean).double().square().sum(dim=1)
        # A token exactly at the mean has nothing to explain: the smallest positive divisor keeps it finite.
        per_token = 1 - residual / total.clamp_min(torch.finfo(torch.float32).tiny)
        rows = torch.stack([torch.ones_like(total), total, residual, per_token])
        # Per context and not per token, since evidence is resampled by context; a context may span batches.
        sums.index_add_(1, context, rows.cpu())
    tokens, total, residual, per_token = sums.numpy()
    # `not >` and not `<=`: a NaN among the activations fails here too.
    if not total.sum() > 0:
        raise DataError("the held-out activations are all the same", expected="a variance above 0", seen="0")
    return ReconstructionSums(tokens.astype(int), total, residual, per_token)


def mean_of(batches: Iterable[tuple[Tensor, Tensor]]) -> Float[Tensor, " d"]:
    """The mean over all rows. Raises DataError where there are none."""
    sums: list[Tensor] = []
    n = 0
    for x, _ in batches:
        # In double precision for the same reason as in `reconstruction`; back to fp32 only at the end.
        sums.append(x.double().sum(dim=0))
        n += len(x)
    if not n:
        raise DataError("no activations are held out", expected="at least one row", seen="none")
    return (torch.stack(sums).sum(dim=0) / n).float()


@dataclass(frozen=True)
class PrincipalComponents:
    """The principal components of activations: directions "d component", largest variance first."""

    mean: Float[Tensor, " d"]
    directions: Float[Tensor, "d component"]

    def reconstruct(self, rank: int) -> Reconstruct:
        """The best linear reconstruction of that rank, on the activations it was fitted to."""
        # P = V V' projects on the first `rank` directions: x' = mean + P (x - mean).
        kept = self.directions[:, :rank]
        return lambda x: self.mean + (x - self.mean) @ kept @ kept.T

    def curve(
        self, batches: Iterable[tuple[Tensor, Tensor]], total: float
    ) -> Float[np.ndarray, " component"]:
        """Explained variance by 1, 2, ... components, of activations whose sum of squares is `total`."""
        # Place 0: all squares about the mean; place i: those along component i. Components are orthogonal, so
        # that the residual of the first r is the difference.
        energy = torch.zeros(self.directions.shape[1] + 1, dtype=torch.float64)
        for x, _ in batches:
            centred = x - self.mean
            energy[1:] += (centred @ self.directions).double().square().sum(dim=0)
            energy[0] += centred.double().square().sum()
        return (1 - (energy[0] - energy[1:].cumsum(0)) / total).numpy()


def principal(batches: Iterable[Float[Tensor, "_row d"]]) -> PrincipalComponents:
    """Principal components of a stream of activations, in one pass over their second moments."""
    n = 0
    first = None
    second = None
    for x in batches:
        rows = x.double()
        first = rows.sum(dim=0) if first is None else first + rows.sum(dim=0)
        # "d d", the only thing whose size does not depend on how many rows pass by.
        second = rows.T @ rows if second is None else second + rows.T @ rows
        n += len(x)
    if first is None or second is None:
        raise DataError("there are no activations to find components of", expected="a batch", seen="none")
    # Covariance = E[x x'] - E[x] E[x]', in double precision since massive activations nearly cancel in it.
    mean = first / n
    vectors = torch.linalg.eigh(second / n - torch.outer(mean, mean)).eigenvectors
    return PrincipalComponents(mean.float(), vectors.flip(1).float())  # eigh sorts ascending


@dataclass(frozen=True)
class SpliceLosses:
    """Losses with a site's activations replaced, "context" each: means over a context's positions, nats."""

    clean: Float[np.ndarray, " context"]
    zero: Float[np.ndarray, " context"]
    ce: dict[str, Float[np.ndarray, " context"]]
    kl: dict[str, Float[np.ndarray, " context"]]
    # A splice that is wired up wrongly shows here, before any loss is believed.
    identity_error: float
    """Largest logit change when the site's activations replace themselves, relative to the largest logit."""


@torch.no_grad()
def splice(
    batches: Iterable[Int[Tensor, "_context pos"]],
    clean_logits: Callable[[Tensor], Tensor],
    forward: ForwardWithReplacement,
    by: Mapping[str, Reconstruct],
    *,
    first_position: int = 0,
) -> SpliceLosses:
    """The model's loss with each reconstruction in the place of the activations; contexts of equal length.

    Only what is predicted from `first_position` on counts (1 after a BOS that is left as it is).
    """
    found: dict[str, list[Tensor]] = {}
    identity_error = 0.0
    # Not 0, so that a model whose logits are all 0 does not divide by it below.
    largest = 1e-12
    for ids in batches:
        clean = clean_logits(ids).float()
        # Spliced with itself the model must not change: this bounds what the splice adds of its own.
        itself = forward(ids, lambda x: x).float()
        identity_error = max(identity_error, float((itself - clean).abs().max()))
        largest = max(largest, float(clean.abs().max()))
        # Logits at position t predict token t + 1: the targets are those from first_position + 1 on, and the
        # logits of the last position have none.
        logprobs = clean[:, first_position:].log_softmax(-1)
        next_ids = ids[:, first_position + 1 :]
        found.setdefault("clean", []).append(_cross_entropy(logprobs, next_ids))
        # Zeros are one end of the scale of `ce_loss_score`, the clean run is the other.
        for name, reconstruct in {"zero": torch.zeros_like, **by}.items():
            spliced = forward(ids, reconstruct)[:, first_position:].float().log_softmax(-1)
            found.setdefault(f"ce {name}", []).append(_cross_entropy(spliced, next_ids))
            kl = (logprobs.exp() * (logprobs - spliced)).sum(-1).mean(1)  # sum of p log(p / q)
            found.setdefault(f"kl {name}", []).append(kl)
    if not found:
        raise DataError("there is no context to splice into", expected="at least one", seen="none")
    rows = {name: torch.cat(parts).double().cpu().numpy() for name, parts in found.items()}
    ce = {name: rows[f"ce {name}"] for name in by}
    kl = {name: rows[f"kl {name}"] for name in by}
    return SpliceLosses(rows["clean"], rows["ce zero"], ce, kl, identity_error / largest)


def _cross_entropy(logprobs: Float[Tensor, "context pos vocab"], next_ids: Tensor) -> Tensor:
    """Mean surprise at the next token, nats: "context"."""
    # The last position predicts a token that lies outside the context.
    return -logprobs[:, :-1].gather(2, next_ids[..., None].to(logprobs.device))[..., 0].mean(dim=1)


def nearest_cosines(W_dec: Float[Tensor, "latent d"], block: int = 2048) -> Float[Tensor, " latent"]:
    """The cosine of each decoder direction with the nearest other one; 1 means a duplicate, -1 if alone."""
    rows = unit_rows(W_dec)
    if len(rows) < 2:
        return rows.new_full((len(rows),), -1.0)
    nearest = []
    for start in range(0, len(rows), block):
        # A block of rows at a time: all cosines at once would take the square of the number of latents.
        cosines = rows[start : start + block] @ rows.T
        here = torch.arange(len(cosines))
        cosines[here, start + here] = -torch.inf  # a direction is no neighbour of itself
        nearest.append(cosines.amax(dim=1))
    # Rounding may give a duplicate a cosine just above 1.
    return torch.cat(nearest).clamp(-1, 1)


def encoder_decoder_cosines(
    W_enc: Float[Tensor, "d latent"], W_dec: Float[Tensor, "latent d"]
) -> Float[Tensor, " latent"]:
    """The cosine of each latent's encoder with its decoder direction."""
    return (unit_rows(W_enc.T) * unit_rows(W_dec)).sum(dim=1)
