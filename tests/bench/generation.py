"""Greedy generation against Hugging Face's own `generate` with its dynamic cache, interleaved.

    python -m tests.bench.generation [--model NAME] [--rounds 5] [--tokens 32] [--json FILE]

Prompts are random tokens of one length, so that nothing is padded and no start is shared; no text ends before
it has all its tokens. The first token of each text, read from the prompt, is counted like the others.

`ratio` is of time on the clock, `cpu_ratio` of processor time, which says more where other work takes the
processors (with OMP_NUM_THREADS=1: threads that wait for each other spin, and count).
"""

from __future__ import annotations

from collections.abc import Sequence
from time import process_time
from typing import Any

import pandas as pd
import torch

from engine.models.generate import Completion, Stop, generate
from engine.models.hooked import HookedModel
from engine.models.load import load
from tests.bench.options import options, show
from tests.bench.patching import MODEL
from tests.bench.rounds import moment, seconds, tell

BATCHES = (1, 16)
PROMPT_TOKENS = 32
TIE = 1e-4  # between the two best logits; below it rounding decides which token is the most likely


def made_up_prompts(model: HookedModel, batch: int) -> list[list[int]]:
    """Random tokens: what they say changes no arithmetic."""
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, model.shape.vocab, (batch, PROMPT_TOKENS), generator=generator).tolist()


def hugging_face(model: HookedModel, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """What its `generate` adds to each prompt."""
    model.hf.generation_config.eos_token_id = None
    input_ids = torch.tensor(prompts, device=model.device)
    with torch.inference_mode():
        found = model.hf.generate(
            input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )
    return found[:, input_ids.shape[1] :].tolist()


def ours(model: HookedModel, prompts: Sequence[Sequence[int]], tokens: int) -> list[Completion]:
    return generate(model, prompts, max_tokens=tokens, stop=Stop(at_end=False))


def equal_texts(
    model: HookedModel,
    prompts: Sequence[Sequence[int]],
    found: Sequence[Completion],
    expected: Sequence[Sequence[int]],
) -> int:
    """How many texts are the same, token for token, up to a place where two tokens are equally likely."""
    return sum(
        _same(model, prompt, one.token_ids, other)
        for prompt, one, other in zip(prompts, found, expected, strict=True)
    )


def _same(model: HookedModel, prompt: Sequence[int], one: Sequence[int], other: Sequence[int]) -> bool:
    for place, (mine, their) in enumerate(zip(one, other, strict=True)):
        if mine != their:
            text = torch.tensor([[*prompt, *one[:place]]], device=model.device)
            with torch.no_grad():
                best = model.logits(text)[0, -1].topk(2).values
            return bool(best[0] - best[1] <= TIE)
    return True


def one_round(model: HookedModel, batch: int, tokens: int) -> dict[str, Any]:
    """Both, back to back, over the same prompts."""
    prompts = made_up_prompts(model, batch)
    now = moment()
    found: dict[str, Any] = {}
    began = process_time()
    theirs = seconds(lambda: found.update(theirs=hugging_face(model, prompts, tokens)))
    between = process_time()
    mine = seconds(lambda: found.update(ours=ours(model, prompts, tokens)))
    ended = process_time()
    return {
        "batch": batch,
        "their_tokens_per_second": batch * tokens / theirs,
        "our_tokens_per_second": batch * tokens / mine,
        "ratio": theirs / mine,
        "cpu_ratio": (between - began) / (ended - between),
        "equal": equal_texts(model, prompts, found["ours"], found["theirs"]),
        **now,
    }


def run(name: str = MODEL, rounds: int = 5, tokens: int = 32) -> dict[str, Any]:
    """Medians over the rounds, by size of batch, after one round to warm up."""
    return measured(load(name), rounds, tokens)


def measured(model: HookedModel, rounds: int, tokens: int) -> dict[str, Any]:
    """The same for a model that is loaded."""
    rows = []
    for number in range(rounds + 1):
        for batch in BATCHES:
            result = one_round(model, batch, tokens)
            tell("generation", number, rounds, result)
            rows += [result] if number else []
    table = pd.DataFrame(rows).groupby("batch", sort=False).median().reset_index()
    found = {"model": model.name, "threads": torch.get_num_threads(), "tokens": tokens}
    return found | {"generation": table.to_dict("records")}


def report(found: dict[str, Any]) -> str:
    """The numbers as a table, each beside its bar."""
    table = pd.DataFrame(found["generation"]).round(
        {
            "their_tokens_per_second": 1,
            "our_tokens_per_second": 1,
            "ratio": 2,
            "cpu_ratio": 2,
            "gflops": 0,
            "load": 1,
        }
    )
    head = (
        f"{found['model']}, fp32, {found['threads']} threads; {found['tokens']} tokens after prompts of "
        f"{PROMPT_TOKENS}, greedily; tokens per second over Hugging Face's generate, medians (bar: ratio 1)"
    )
    return f"{head}\n{table.to_string(index=False)}"


def main() -> None:
    parser = options(__doc__, MODEL)
    parser.add_argument("--tokens", type=int, default=32)
    given = parser.parse_args()
    show(run(given.model, given.rounds, given.tokens), report, given.json)


if __name__ == "__main__":
    main()
