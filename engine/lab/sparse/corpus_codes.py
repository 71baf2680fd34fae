"""What a dictionary does on a stretch of text: the codes of every token, and how well it does there.

The numbers are those of sae_evaluation on the same text, by the same functions: explained variance beside
random directions, active latents a token, the share of latents that fire. The codes say on which tokens each
latent fires and how strongly, for its strongest contexts and for its correlation with another dictionary's.
They can be kept in a file, so that a dictionary that is shipped is looked at without running the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engine.data.corpora import Corpus
from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.lab.activations import Activations
from engine.lab.contexts import cut
from engine.lab.harvest import HarvestJob
from engine.lab.massive_activations import massive_rows, norm_limit
from engine.lab.site_vectors import readable_site
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.dictionary_evidence import Contenders, explained_variance, sparsity
from engine.lab.sparse.held_out import HeldOutActivations
from engine.models.hooked import HookedModel
from engine.spec.family_params import HarvestParams

READ_TOKENS = 8_000
"""At the head of a corpus: enough for every common latent to fire, and read in half a minute."""
READ = HarvestParams(held_out=0.9)
"""A tenth of the contexts fits the controls, the rest is measured on."""
BATCH_TOKENS = 1024
AT_ONCE = 2048
"""Tokens that are read before progress is told again."""
TENSORS = ("starts", "latents", "values", "ids", "context")
NUMBERS = ("explained_variance", "random_explained_variance", "pca_explained_variance", "l0", "frac_alive")
"""What is kept of the evidence, by the names of sae_evaluation."""


@dataclass(frozen=True, eq=False)
class CorpusRows:
    """A text read by a model at one site: what controls are fitted to, and the rows that are measured."""

    fitted: Activations
    held: HeldOutActivations


@dataclass(frozen=True, eq=False)
class CorpusCodes:
    """The codes of a text's tokens with each token's id and context; massive activations have no row.

    `norm_limit` is the norm from which an activation is massive; `numbers` are measured on the same rows.
    """

    codes: Codes
    ids: Int[np.ndarray, " row"]
    context: Int[np.ndarray, " row"]
    norm_limit: float
    numbers: Mapping[str, float]

    @property
    def live(self) -> np.ndarray:
        """Which latents fire on at least one token."""
        return self.codes.fired().numpy() > 0


def read_corpus(
    model: HookedModel,
    corpus: Corpus,
    site: str,
    params: HarvestParams,
    *,
    progress: Callable[..., None] = lambda fraction, message="": None,
) -> CorpusRows:
    """The activations at a site over a text, in memory, split and rid of massive ones as `hold_out` does.

    Without the receipts that a run owes: a model is proved once when it is loaded. `progress` hears of every
    few thousand tokens, and may raise to end it.
    """
    contexts = cut(corpus, model, context_tokens=params.context_tokens, tokens=params.tokens)
    names = (readable_site(model, site),)
    job = HarvestJob(model, names, contexts, max(1, AT_ONCE // params.context_tokens), progress)
    shards = [job.shard_with_progress(shard) for shard in range(job.n_shards)]
    acts = job.activations(shards.__getitem__)
    fitted, rest = acts.split(params.held_out)
    limit = norm_limit(fitted, acts.site, params.max_norm)
    kept = fitted.without(massive_rows(fitted, acts.site, limit))
    measured = rest.without(massive_rows(rest, acts.site, limit))
    return CorpusRows(kept, HeldOutActivations.of(measured, acts.site, limit))


def corpus_codes(rows: CorpusRows, coder: Coder, k: int, seed: int = 0) -> CorpusCodes:
    """The codes of the measured rows, and the numbers of sae_evaluation; `k` is that of its controls."""
    held = rows.held
    codes = held.codes(coder)
    ev = Evidence("context", held.names, groups=held.documents, group_unit="document")
    explained_variance(ev, held, Contenders.of(coder, k, rows.fitted, BATCH_TOKENS, seed))
    sparsity(ev, held, codes)
    measured = ev.result().measurements
    numbers = {name: measured[name].value for name in NUMBERS}
    return CorpusCodes(codes, held.ids, held.context, held.norm_limit, numbers)


def write_codes(found: CorpusCodes, file: Path) -> None:
    """Keep codes in a safetensors file: latents, ids and contexts in 16 bits, values in half precision.

    Raises DataError where 16 bits are too few.
    """
    largest = max(found.codes.n_latents, int(found.ids.max()), int(found.context.max()))
    if largest > np.iinfo(np.uint16).max:
        raise DataError(
            "too large for 16 bits", where=str(file), expected="at most 65,535", seen=f"{largest:,}"
        )
    tensors = {
        "starts": found.codes.starts.to(torch.int32),
        "latents": found.codes.latents.to(torch.uint16),
        "values": found.codes.values.half(),
        "ids": torch.from_numpy(found.ids.astype(np.uint16)),
        "context": torch.from_numpy(found.context.astype(np.uint16)),
    }
    numbers = {name: repr(value) for name, value in found.numbers.items()}
    about = {"n_latents": str(found.codes.n_latents), "norm_limit": repr(found.norm_limit)}
    save_file(tensors, file, metadata=numbers | about)


def read_codes(file: Path) -> CorpusCodes:
    """What `write_codes` kept; DataError where the file is no such one."""
    try:
        with safe_open(file, framework="pt") as opened:
            about = dict(opened.metadata() or {})
            tensors = {
                name: opened.get_tensor(name) for name in ("starts", "latents", "values", "ids", "context")
            }
        codes = Codes(
            tensors["starts"].long(),
            tensors["latents"].long(),
            tensors["values"].float(),
            int(about["n_latents"]),
        )
        numbers = {name: float(about[name]) for name in NUMBERS}
        limit = float(about["norm_limit"])
    except (OSError, KeyError, ValueError, SafetensorError) as problem:
        raise DataError("these codes cannot be read", where=str(file), seen=str(problem)) from None
    ids = tensors["ids"].numpy().astype(np.int32)
    return CorpusCodes(codes, ids, tensors["context"].numpy().astype(np.int64), limit, numbers)
