"""Whether a completion is an answer at all, which no scorer of a behaviour sees.

Of each completion, token by token under the model without any edit, given its prompt and its first token:

    nats_per_token   mean -ln p(token | all before it); its exponential is the perplexity
    relevance        by how many nats per token the completion is likelier after its own prompt than after
                     another one: what the answer owes to its request; not of refusals
    repetition       the share of runs of 4 tokens that occurred before in it (Welleck et al. 2020, seq-rep-4)
    longest_run      how often one token stands in a row
    empty            not a letter or digit in it

and what follows, the first that holds:

    empty       nothing in it
    broken      less likely, or more repetitive, than an answer of this model is
    off topic   as likely after another request; a refusal, which suits any, is never off topic
    coherent    none of these

How unlikely is broken is calibrated on the model's own answers, against the same answers with a quarter of
their tokens replaced (`calibrate_coherence`). An answer's first token is not counted: with it the model
refuses or does not, and an intervention that works brings about one that the unmodified model finds unlikely.
The next few may be unlikely as well: a short answer is called broken sooner than a long one.

Source: Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training"; perplexity under a reference
model as a measure of what steering costs, as in Turner et al. 2023, "Steering Language Models With Activation
Engineering".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from engine.errors import DataError
from engine.lab.continuations import Continuations, log_probs
from engine.lab.prompt_batches import TokenRows
from engine.models.generate import Completion

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

State = Literal["empty", "broken", "off topic", "coherent"]
Readings = dict[tuple[tuple[int, ...], tuple[int, ...]], float]
"""Nats per token of answers under the unmodified model, by prompt and answer."""

NGRAM = 4  # tokens, as in seq-rep-4
LEAST_REPETITION = 0.5
"""Less is never broken: a list with a repeated beginning has some."""
LONG_RUN = 8  # tokens: rules and rows of dots are shorter
SHORT_RUN = 4  # tokens, where they are all of an answer
REPETITION_QUANTILE = 0.95
REPLACED = 0.25
"""Of an answer's tokens, in what limits are calibrated against. All of them in random order are so unlikely
that the limit would pass text that a person calls broken."""


@dataclass(frozen=True)
class Coherence:
    """What was measured of each completion (see the module), in the order of the completions.

    `nats_per_token` is NaN of a completion without a second token; `relevance` also of refusals, where there
    is no other prompt, or where the completion after it is longer than the model can read.
    """

    nats_per_token: Float[np.ndarray, " prompt"]
    relevance: Float[np.ndarray, " prompt"]
    repetition: Float[np.ndarray, " prompt"]
    longest_run: Int[np.ndarray, " prompt"]
    n_tokens: Int[np.ndarray, " prompt"]
    empty: Bool[np.ndarray, " prompt"]

    def __len__(self) -> int:
        return len(self.empty)

    @property
    def perplexity(self) -> Float[np.ndarray, " prompt"]:
        """How many tokens the model hesitates between on average; infinite beyond what a float can hold."""
        with np.errstate(over="ignore"):
            return np.exp(self.nats_per_token)

    def broken(self, limits: CoherenceLimits) -> Bool[np.ndarray, " prompt"]:
        """Too unlikely or too repetitive; one without a token is empty and not broken."""
        unlikely = self.nats_per_token > limits.nats_per_token  # False of NaN
        # One token over and over: LONG_RUN times, or all of a shorter answer.
        stuck = self.longest_run >= np.clip(self.n_tokens, SHORT_RUN, LONG_RUN)
        return ~self.empty & (unlikely | stuck | (self.repetition > limits.repetition))

    def off_topic(self, limits: CoherenceLimits) -> Bool[np.ndarray, " prompt"]:
        """No likelier after its own request than after another; not where that could not be measured."""
        return ~self.empty & (self.relevance <= limits.relevance)

    def states(
        self, limits: CoherenceLimits, refused: Bool[np.ndarray, " prompt"] | None = None
    ) -> list[State]:
        """What each completion is; those that `refused` are not called off topic."""
        answers = np.ones(len(self), dtype=bool) if refused is None else ~refused
        broken = self.broken(limits)
        off_topic = self.off_topic(limits) & answers
        states: list[State] = []
        for row in range(len(self)):
            if self.empty[row]:
                states.append("empty")
            elif broken[row]:
                states.append("broken")
            else:
                states.append("off topic" if off_topic[row] else "coherent")
        return states


@dataclass(frozen=True)
class CoherenceLimits:
    """Beyond which a completion is no answer, as calibrated; the rates of error that this left.

    `answers_called_broken` is the share of the model's own answers above `nats_per_token`, `missed` that of
    answers with replaced tokens that are not. `n_answers` is how many were compared.
    """

    nats_per_token: float
    repetition: float = LEAST_REPETITION
    relevance: float = 0.0
    answers_called_broken: float = float("nan")
    missed: float = float("nan")
    n_answers: int = 0

    def in_words(self) -> str:
        """The limits, for a page."""
        if not self.n_answers:
            return "No answer of the unmodified model has two tokens: the limit is that of random tokens."
        return (
            f"An answer is broken above a perplexity of {np.exp(self.nats_per_token):.3g} under the "
            f"unmodified model, where more than {self.repetition:.0%} of its runs of {NGRAM} tokens occurred "
            f"before, or with one token {LONG_RUN} times in a row. Calibrated on {self.n_answers} of the "
            f"model's own answers: {self.answers_called_broken:.0%} of them are above that perplexity, and "
            f"{self.missed:.0%} of the same answers with {REPLACED:.0%} of their tokens replaced are not."
        )


def coherence(
    model: HookedModel,
    prompts: TokenRows,
    completions: Sequence[Completion],
    others: Sequence[int] | None = None,
    *,
    refused: Bool[np.ndarray, " prompt"] | None = None,
    readings: Readings | None = None,
) -> Coherence:
    """What was generated for each prompt, read by the model without edits: give it the unmodified one.

    `others` names for each prompt the one that relevance compares with; left out, it is the one half the list
    further on, so that prompts sorted by topic meet another topic. Where a prompt is compared with itself,
    and for completions that `refused`, there is no relevance and no second reading. The token that ended a
    completion counts: to stop where one should not is incoherent too. What `readings` has is not read again,
    and what is read is put in: many an answer stays what it was under an edit.
    """
    if len(prompts) != len(completions):
        raise DataError(
            "each completion has a prompt", expected=f"{len(prompts)} completions", seen=str(len(completions))
        )
    n = len(prompts)
    compared = [(row + (n + 1) // 2) % n for row in range(n)] if others is None else others
    tokens = [completion.token_ids for completion in completions]
    n_tokens = np.array([len(ids) for ids in tokens], dtype=int)
    own = _nats_per_token(model, prompts, tokens, readings)
    # log p(answer | its request) - log p(answer | another): 0 where the answer owes nothing to the request.
    answered = np.ones(n, dtype=bool) if refused is None else ~refused
    after_other = _nats_per_token(
        model,
        [prompts[other] if other != row and answered[row] else () for row, other in enumerate(compared)],
        tokens,
    )
    return Coherence(
        nats_per_token=own,
        relevance=after_other - own,
        repetition=np.array([repetition(ids) for ids in tokens], dtype=float),
        longest_run=np.array([longest_run(ids) for ids in tokens], dtype=int),
        n_tokens=n_tokens,
        empty=np.array([is_empty(completion.text) for completion in completions], dtype=bool),
    )


def calibrate_coherence(
    model: HookedModel, prompts: TokenRows, completions: Sequence[Completion], seed: int = 0
) -> CoherenceLimits:
    """Limits from the unmodified model's own completions, known to be answers, and from the same with a
    quarter of their tokens replaced by tokens of any of them, known to be none.

    The limit of `nats_per_token` is where the two shares of errors have the smallest sum; where a whole range
    has, its middle; ln(vocab) where no completion has two tokens. Repetition may be as high as in 95 % of the
    model's own answers, and LEAST_REPETITION in any case.
    """
    given = [row for row, each in enumerate(completions) if len(each.token_ids) > 1]
    if not given:
        # Of which it knows nothing, a model is no more surprised than by a token drawn at random.
        return CoherenceLimits(nats_per_token=float(np.log(model.shape.vocab)))
    tokens = [completions[row].token_ids for row in given]
    own_prompts = [prompts[row] for row in given]
    rng = np.random.default_rng(seed)
    replaced = [_with_replaced_tokens(ids, np.concatenate(tokens), rng) for ids in tokens]
    answers = _nats_per_token(model, own_prompts, tokens)
    broken = _nats_per_token(model, own_prompts, replaced)
    limit = _between(answers, broken)
    repeated = float(np.quantile([repetition(ids) for ids in tokens], REPETITION_QUANTILE))
    return CoherenceLimits(
        nats_per_token=limit,
        repetition=max(LEAST_REPETITION, repeated),
        answers_called_broken=float((answers > limit).mean()),
        missed=float((broken <= limit).mean()),
        n_answers=len(given),
    )


def _with_replaced_tokens(
    ids: Sequence[int], drawn_from: Int[np.ndarray, " token"], rng: np.random.Generator
) -> list[int]:
    """An answer in which a share REPLACED of the tokens, one at least, are others drawn at random."""
    found = np.array(ids)
    n_replaced = int(np.ceil(REPLACED * len(found)))
    places = rng.choice(len(found), n_replaced, replace=False)
    found[places] = rng.choice(drawn_from, n_replaced)
    return found.tolist()


def _between(low: Float[np.ndarray, " answer"], high: Float[np.ndarray, " answer"]) -> float:
    """The limit with the least share of `low` above plus share of `high` at or below it."""
    values = np.unique(np.concatenate((low, high)))
    # Below all, between any two neighbours, above all: no other limit divides them in another way.
    limits = np.concatenate((values[:1] - 1, (values[:-1] + values[1:]) / 2, values[-1:] + 1))
    errors = (low[:, None] > limits).mean(0) + (high[:, None] <= limits).mean(0)
    best = limits[np.isclose(errors, errors.min())]
    # An odd number of best limits has a middle one; of an even number, the lower of the two in the middle.
    return float(best[(len(best) - 1) // 2])


def own_readings(prompts: TokenRows, completions: Sequence[Completion]) -> Readings:
    """The readings of what the unmodified model answered itself: it told their probabilities as it went."""
    return {
        _reading(prompt, completion.token_ids): -float(np.mean(completion.log_probs[1:]))
        for prompt, completion in zip(prompts, completions, strict=True)
        if len(completion.token_ids) > 1
    }


def _reading(prompt: Sequence[int], ids: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(prompt), tuple(ids)


def _nats_per_token(
    model: HookedModel,
    prompts: TokenRows,
    tokens: Sequence[Sequence[int]],
    readings: Readings | None = None,
) -> Float[np.ndarray, " prompt"]:
    """Mean -ln p(token | all before it) from each completion's second token on; NaN where there is none, no
    prompt, or no room for both."""
    context = model.anatomy.context_tokens
    readings = {} if readings is None else readings
    keys = [_reading(prompt, ids) for prompt, ids in zip(prompts, tokens, strict=True)]
    read = [
        row
        for row, (prompt, ids) in enumerate(keys)
        if prompt and len(ids) > 1 and len(prompt) + len(ids) <= context and keys[row] not in readings
    ]
    found = np.array([readings.get(key, np.nan) for key in keys])
    if read:
        texts = Continuations(
            [[*prompts[row], *tokens[row]] for row in read], [len(prompts[row]) + 1 for row in read]
        )
        found[read] = -log_probs(model, texts) / texts.n_tokens
        readings.update({keys[row]: float(found[row]) for row in read})
    return found


def repetition(ids: Sequence[int]) -> float:
    """The share of runs of NGRAM tokens that occurred before; 0 of a completion that is shorter."""
    runs = [tuple(ids[start : start + NGRAM]) for start in range(len(ids) - NGRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def longest_run(ids: Sequence[int]) -> int:
    """How many times at most one token stands in a row; 0 without a token."""
    longest = 0
    run = 0
    before = None
    for token in ids:
        run = run + 1 if token == before else 1
        before = token
        longest = max(longest, run)
    return longest


def is_empty(text: str) -> bool:
    """Whether there is not one letter or digit, of whatever script: spaces, marks and symbols say nothing."""
    return not any(character.isalnum() for character in text)
