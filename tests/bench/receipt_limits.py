"""How far sound prompts and planted faults are from the limits of the numerical receipts.

    python -m tests.bench.receipt_limits [--prompts 1000] [--dtype float32] [--model smollm2-135m-instruct]

Prompts are the packaged ones, the same with a space at their end, and snippets of the packaged corpus, in a
random order. A reading is a difference over what rounding explains: 1 is the limit. Sound prompts have to
stay below it, faults above, each time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

import engine.data
from engine.data.packed import read_packed
from engine.lab.attribution import attribute
from engine.lab.groups import equal_length_groups
from engine.lab.receipts import SAMPLED_PROMPTS, attribution_receipt, forward_differences
from engine.models.hooked import HookedModel
from engine.models.load import load
from engine.models.rounding import rounding_limit
from tests.lab.forward_faults import FAULTS, planted

DATA = Path(engine.data.__file__).parent
SNIPPET_TOKENS = (4, 25)
"""From how many tokens to fewer than how many a snippet has."""
SPACED_PROMPTS = 60
"""How many prompts end in a space, which tokenises badly and makes large activations."""
FEW_GROUPS = 8
"""How many groups of prompts go through the receipts themselves, prompt by prompt."""
FAULTY_PROMPTS = 200
"""How many prompts each fault is planted under."""
QUANTILES = (0.5, 0.9, 0.99, 1.0)


def prompts_of(model: HookedModel, n_prompts: int) -> list[list[int]]:
    """Token ids of packaged prompts, spaced ones and snippets, in a random order that is always the same."""
    rows = [json.loads(line) for line in (DATA / "prompts" / "facts.jsonl").read_text().splitlines()]
    texts = list(dict.fromkeys(row[column] for row in rows for column in ("clean", "corrupted")))
    spaced = [f"{text} " for text in texts[:SPACED_PROMPTS]]
    corpus = read_packed(DATA / "corpora" / "smollm2-samples.xz").texts()
    rng = np.random.default_rng(0)
    ids = model.token_ids([*texts, *spaced])
    while len(ids) < n_prompts:
        document = model.token_ids([corpus[rng.integers(len(corpus))]])[0]
        length = int(rng.integers(*SNIPPET_TOKENS))
        start = int(rng.integers(max(1, len(document) - length)))
        # Shorter at the end of a document; one token alone has nothing to be padded beside.
        if len(snippet := document[start : start + length]) > 1:
            ids.append(snippet)
    return [ids[i] for i in rng.permutation(len(ids))[:n_prompts]]


def receipts(model: HookedModel, prompts: Sequence[Sequence[int]]) -> Iterator[tuple[float, float]]:
    """By group of prompts, as a run takes them: Hugging Face's logits and padding, each over its limit."""
    for start in range(0, len(prompts), SAMPLED_PROMPTS):
        input_ids, _, last = model.pad(prompts[start : start + SAMPLED_PROMPTS])
        found = forward_differences(model, input_ids, last)
        limit = rounding_limit(model.dtype, model.shape, float(found.largest_logit.max()))
        yield float(found.hugging_face.max()) / limit, float(found.padding.max()) / limit


def without_padding(model: HookedModel, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits at each prompt's last position, each together with others of its length: no mask, no padding."""
    last = torch.tensor([len(prompt) - 1 for prompt in prompts])
    alone = torch.empty(len(prompts), model.shape.vocab)
    for index in equal_length_groups(last, SAMPLED_PROMPTS):
        alone[index] = last_logits(model, [prompts[i] for i in index], masked=False)
    return alone


def padding(model: HookedModel, prompts: Sequence[Sequence[int]], alone: torch.Tensor) -> np.ndarray:
    """By prompt, how far its logits in a padded batch are from those without padding, over the limit.

    By prompt, which is stricter than a receipt: that takes the largest logit of all its prompts.
    """
    found = []
    for start in range(0, len(prompts), SAMPLED_PROMPTS):
        rows = slice(start, start + SAMPLED_PROMPTS)
        # One position more, so that the longest prompt is padded too, as in the receipt.
        gaps = (last_logits(model, prompts[rows], masked=True) - alone[rows]).abs().amax(-1)
        sizes = alone[rows].abs().amax(-1)
        found += [
            float(gap) / rounding_limit(model.dtype, model.shape, float(size))
            for gap, size in zip(gaps, sizes, strict=True)
        ]
    return np.array(found)


def last_logits(model: HookedModel, prompts: Sequence[Sequence[int]], *, masked: bool) -> torch.Tensor:
    """Logits at each prompt's last position, from one batch."""
    input_ids, mask, last = model.pad(prompts)
    if masked:
        input_ids = torch.nn.functional.pad(input_ids, (0, 1))
        mask = torch.nn.functional.pad(mask, (0, 1))
    resid = model.forward(input_ids, attention_mask=mask if masked else None).resid
    return model.unembed(resid[torch.arange(len(last)), last]).float().cpu()


def sums(model: HookedModel, prompts: Sequence[Sequence[int]]) -> Iterator[float]:
    """By group of prompts: the residue of attributions, likeliest token against the next, over its limit."""
    for start in range(0, len(prompts), SAMPLED_PROMPTS):
        input_ids, mask, last = model.pad(prompts[start : start + SAMPLED_PROMPTS])
        resid = model.forward(input_ids, attention_mask=mask).resid
        top = model.unembed(resid[torch.arange(len(last)), last]).topk(2).indices
        directions = model.W_U.T[top[:, 0]] - model.W_U.T[top[:, 1]]
        check = attribution_receipt(model, attribute(model, input_ids, last, directions[:, None]))
        yield check.value / check.limit


def told(name: str, values: np.ndarray) -> str:
    """One line: quantiles, and how many readings are beyond the limit."""
    quantiles = " ".join(f"{value:9.3g}" for value in np.quantile(values, QUANTILES))
    return f"{name:32} least {values.min():9.3g}  {quantiles}  beyond {(values > 1).sum()} of {len(values)}"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--prompts", type=int, default=1000)
    asked.add_argument("--dtype", default="float32")
    asked.add_argument("--model", default="smollm2-135m-instruct")
    options = asked.parse_args()
    torch.set_grad_enabled(False)
    model = load(options.model, dtype=options.dtype)
    prompts = prompts_of(model, options.prompts)
    print(f"{options.model} in {options.dtype}; over the limit: quantiles {QUANTILES}", flush=True)
    alone = without_padding(model, prompts)
    print(told("sound, padding, prompts", padding(model, prompts, alone)), flush=True)
    for name in FAULTS:
        with planted(name):
            found = padding(model, prompts[:FAULTY_PROMPTS], alone)
        print(told(f"planted, {name}, prompts", found))
        # A receipt fires where the worst of its prompts does.
        print(told(f"planted, {name}, groups", found.reshape(-1, SAMPLED_PROMPTS).max(1)), flush=True)
    few = prompts[: FEW_GROUPS * SAMPLED_PROMPTS]
    print(told("sound, attributions sum, groups", np.array(list(sums(model, few)))), flush=True)
    both = np.array(list(receipts(model, few)))
    print(told("sound, Hugging Face, groups", both[:, 0]))
    print(told("sound, padding, groups", both[:, 1]))


if __name__ == "__main__":
    main()
