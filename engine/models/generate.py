"""Continues prompts: in batches, greedily or sampled, with edits at hook sites while it generates.

1. A start that all prompts share (a chat template's, a system text) is computed once, in a batch of 1.
2. The rest of each prompt is computed, in groups of similar length; keys and values are kept.
3. A token of each text is chosen from the logits of its last position, and is computed in its turn, at that
   text's own position. A text that has come to its stop leaves the batch.

A model that is read through a bridge, which keeps no keys and values, computes whole texts at every step.

What a text becomes does not depend on the others in the batch: greedily up to rounding, sampled because each
has its own generator (`engine.models.sampling`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.errors import DataError, ModelError, SpecError, nearest
from engine.models.batch_cache import BatchCache, closed_up
from engine.models.blocks import Resid
from engine.models.forward import NO_EDITS, NO_PREFIX, Edit, Extent, KVPrefix, forward
from engine.models.growing_text import GrowingText
from engine.models.hooked import HookedModel
from engine.models.sampling import GREEDY, Greedy, Sampling
from engine.models.sites import Site

Prompt = str | Sequence[int]
"""A text, with the special tokens that the tokenizer adds by itself, or token ids as they are."""
EditPositions = Literal["all", "prompt", "generated", "predicting"]
"""Where edits apply: at every position, at the prompt's, at generated tokens', or at those from which a new
token is read (the prompt's last and all generated ones)."""
OnPrompts = Callable[[list[int], Float[Tensor, "batch vocab"]], None]
"""Is told the logits that follow some prompts, edits included, and which prompts these are, from 0 on."""
StopReason = Literal["token", "string", "max_tokens", "context"]
"""A stop token, a stop string, as many tokens as asked for, or as many as the model can read."""

PREFILL_TOKENS = 4096  # of a group of prompts computed together; bounds the memory of their activations
WORTH_SHARING = 32  # positions saved, below which another call costs more than they do


@dataclass(frozen=True)
class Stop:
    """Where a text ends: after a token (its text is left out) or before a string.

    `at_end` adds the tokens with which the model ends a text or a turn. SpecError for an empty string.
    """

    tokens: Collection[int] = ()
    strings: Sequence[str] = ()
    at_end: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.strings, str):
            raise SpecError(
                "stop strings are a list", expected=f"[{self.strings!r}]", seen=repr(self.strings)
            )
        if "" in self.strings:
            raise SpecError(
                "an empty stop string would stop every text at once",
                expected="strings of one character or more",
                seen=repr(list(self.strings)),
            )


AT_END = Stop()


@dataclass(frozen=True)
class Completion:
    """What a prompt was continued by.

    `text` ends before what stopped it; `token_ids` has all tokens, the stop token or those of the stop string
    included. `log_probs` are natural logarithms of their probabilities, edits included, at temperature 1.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    stopped: StopReason


@dataclass(frozen=True)
class NewToken:
    """One token more of the text that continues `prompts[prompt]`.

    `text` is what is certain now: it may be empty, and the pieces of one prompt add up to its completion's
    text. `stopped` says why this token is the last, and is None where it is not.
    """

    prompt: int
    token_id: int
    text: str
    log_prob: float
    stopped: StopReason | None


def generate(
    model: HookedModel,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int,
    sampling: Greedy | Sampling = GREEDY,
    stop: Stop = AT_END,
    edit: Mapping[Site, Edit] = NO_EDITS,
    edit_positions: EditPositions = "all",
    batch_size: int = 32,
    share_prefix: bool = True,
    on_prompts: OnPrompts | None = None,
) -> list[Completion]:
    """Every prompt continued by up to `max_tokens` tokens, in the order of the prompts.

    An edit sees some rows and some positions of the batch at a time, "batch pos ..." of its site, and has to
    treat them alike. `batch_size` prompts are continued together, those of similar length in one batch.
    `share_prefix=False` computes a common start for each prompt anew. `on_prompts` is told what the model
    predicts after each prompt, before the first token is chosen.

    SpecError for settings that say something impossible, DataError for a prompt that is empty, too long for
    the model or not of its vocabulary, ModelError for a site that is not reached and for logits that are no
    numbers.
    """
    found: dict[int, list[NewToken]] = {}
    for new in stream(
        model,
        prompts,
        max_tokens=max_tokens,
        sampling=sampling,
        stop=stop,
        edit=edit,
        edit_positions=edit_positions,
        batch_size=batch_size,
        share_prefix=share_prefix,
        on_prompts=on_prompts,
    ):
        found.setdefault(new.prompt, []).append(new)
    return [_completion(found[prompt]) for prompt in range(len(prompts))]


def stream(
    model: HookedModel,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int,
    sampling: Greedy | Sampling = GREEDY,
    stop: Stop = AT_END,
    edit: Mapping[Site, Edit] = NO_EDITS,
    edit_positions: EditPositions = "all",
    batch_size: int = 32,
    share_prefix: bool = True,
    on_prompts: OnPrompts | None = None,
) -> Generator[NewToken, None, None]:
    """The same tokens as `generate` gives, each as soon as it is chosen; whoever stops asking stops it.

    The texts of a batch grow in turns, and the next batch begins when all of one are finished. What cannot be
    generated is said at the call, before the first token is asked for.
    """
    settings = _Settings(
        max_tokens, sampling, stop, edit, edit_positions, batch_size, share_prefix, on_prompts
    )
    prompt_ids = _token_ids(model, prompts)
    _require_sites(model, edit)
    return _batches(model, prompt_ids, settings)


def end_tokens(model: HookedModel) -> frozenset[int]:
    """The tokens with which the model ends a text or a turn, as its files name them; there may be none."""
    found = set()
    generation = _json(model, "generation_config.json")
    for named in (model.config.get("eos_token_id"), generation.get("eos_token_id")):
        found |= set(named if isinstance(named, list) else [named])
    # Chat models are often published with a configuration that still names the pretraining's token.
    named = _json(model, "tokenizer_config.json").get("eos_token")
    text = named.get("content") if isinstance(named, dict) else named
    found.add(model.text.token_to_id(text) if text else None)
    return frozenset(token for token in found if token is not None)


def _json(model: HookedModel, name: str) -> dict[str, Any]:
    """A file of the model's folder; empty where there is none, as of a model that was built in code."""
    file = model.folder / name if model.folder else None
    return json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else {}


@dataclass(frozen=True)
class _Settings:
    """What `generate` and `stream` were asked for; SpecError where it is impossible."""

    max_tokens: int
    sampling: Greedy | Sampling
    stop: Stop
    edit: Mapping[Site, Edit]
    edit_positions: EditPositions
    batch_size: int
    share_prefix: bool
    on_prompts: OnPrompts | None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise SpecError(
                    f"{name} leaves nothing to do", expected="1 or more", seen=str(getattr(self, name))
                )
        if self.edit_positions not in get_args(EditPositions):
            raise SpecError(
                "edits apply at no such positions",
                expected=", ".join(get_args(EditPositions)),
                seen=str(self.edit_positions),
                near=nearest(str(self.edit_positions), get_args(EditPositions)),
            )
        # The first token is read from the prompt, and what is chosen last is never computed.
        if self.edit and self.edit_positions == "generated" and self.max_tokens == 1:
            raise SpecError(
                "edits at generated positions would change nothing",
                expected="max_tokens of 2 or more, or edit_positions that have the prompt's last",
                seen="max_tokens 1",
            )

    def edit_at(
        self,
        positions: Int[Tensor, "batch pos"],
        prompts: Int[Tensor, " batch"],
        real: Bool[Tensor, "batch pos"],
    ) -> Mapping[Site, Edit]:
        """The edits of a forward over these positions, given how long each prompt is and what is no pad."""
        if not self.edit or self.edit_positions == "all":
            return self.edit
        generated = positions >= prompts[:, None]
        # The prompt's last position is the first from which a new token is read.
        chosen = {
            "prompt": ~generated,
            "generated": generated,
            "predicting": positions >= prompts[:, None] - 1,
        }[self.edit_positions]
        chosen = chosen & real
        if bool(chosen.all()):
            return self.edit
        return (
            {site: _only_at(chosen, edit) for site, edit in self.edit.items()} if chosen.any() else NO_EDITS
        )


def _only_at(chosen: Bool[Tensor, "batch pos"], edit: Edit) -> Edit:
    """The edit at these positions alone."""

    def edited(value: Tensor) -> Tensor:
        new = edit(value)
        if new.shape != value.shape:
            return new  # refused where edits are applied; broadcasting would hide it
        return new.where(chosen.view(*chosen.shape, *[1] * (value.ndim - 2)), value)

    return edited


@dataclass(eq=False)
class _Text:
    """A text that grows: its prompt, what random draws it has, and how far it has come."""

    prompt: int
    ids: list[int]  # the prompt's, and the new ones behind them
    n_prompt: int
    limit: int  # how many tokens it may get
    generator: torch.Generator | None
    growing: GrowingText
    stopped: StopReason | None = None

    def take(self, token: int, log_prob: float, settings: _Settings, ends: Collection[int]) -> NewToken:
        """One token more, and whether it is the last."""
        self.ids.append(token)
        n_new = len(self.ids) - self.n_prompt
        piece = "" if token in ends else self.growing.add(token)
        if token in ends:
            self.stopped = "token"
        elif self.growing.found is not None:
            self.stopped = "string"
        elif n_new == self.limit:
            self.stopped = "max_tokens" if n_new == settings.max_tokens else "context"
        if self.stopped is not None:
            piece += self.growing.finish()
        return NewToken(self.prompt, token, piece, log_prob, self.stopped)


def _batches(
    model: HookedModel, prompts: list[list[int]], settings: _Settings
) -> Generator[NewToken, None, None]:
    """All prompts, a batch of similar lengths after the other, the longest first."""
    texts = _texts(model, prompts, settings)
    prefix = _shared_prefix(model, prompts, settings)
    ends = set(settings.stop.tokens) | (end_tokens(model) if settings.stop.at_end else set())
    # Stable: prompts of one length stay in their order.
    texts.sort(key=lambda text: -text.n_prompt)
    for start in range(0, len(texts), settings.batch_size):
        yield from _continued(model, texts[start : start + settings.batch_size], prefix, settings, ends)


def _texts(model: HookedModel, prompts: list[list[int]], settings: _Settings) -> list[_Text]:
    texts = []
    equal_before: Counter[tuple[int, ...]] = Counter()
    for prompt, ids in enumerate(prompts):
        copy = equal_before[tuple(ids)]
        equal_before[tuple(ids)] += 1
        room = model.anatomy.context_tokens - len(ids)
        texts.append(
            _Text(
                prompt=prompt,
                ids=list(ids),
                n_prompt=len(ids),
                limit=min(settings.max_tokens, room),
                generator=settings.sampling.generator(ids, copy),
                growing=GrowingText(model.decode, ids, settings.stop.strings),
            )
        )
    return texts


def _continued(
    model: HookedModel, texts: list[_Text], prefix: KVPrefix, settings: _Settings, ends: Collection[int]
) -> Iterator[NewToken]:
    """One batch until the last of its texts is finished."""
    reader = (
        _CachedReader(model, texts, prefix, settings) if model.is_plain else _WholeReader(model, settings)
    )
    logits = reader.read_prompts(texts)
    if settings.on_prompts is not None:
        settings.on_prompts([text.prompt for text in texts], logits)
    while True:
        tokens, log_probs = _chosen(logits, texts, settings.sampling)
        for text, token, log_prob in zip(texts, tokens, log_probs, strict=True):
            yield text.take(token, log_prob, settings, ends)
        order = closed_up([row for row, text in enumerate(texts) if text.stopped is None])
        if not order:
            return
        texts = [texts[row] for row in order]
        logits = reader.read_tokens(texts, order)


@torch.no_grad()
def _shared_prefix(model: HookedModel, prompts: list[list[int]], settings: _Settings) -> KVPrefix:
    """Keys and values of what all prompts begin with, under the edits; of nothing where it does not pay."""
    n_shared = common_start(prompts) if settings.share_prefix and model.is_plain else 0
    if n_shared * (len(prompts) - 1) < WORTH_SHARING:
        return NO_PREFIX
    input_ids = torch.tensor([prompts[0][:n_shared]], device=model.device)
    # As a part of a longer prompt: each has at least one position more.
    edit = settings.edit_at(
        torch.arange(n_shared, device=model.device)[None],
        torch.tensor([n_shared + 1], device=model.device),
        torch.ones_like(input_ids, dtype=torch.bool),
    )
    return forward(model.decoder, model.embed(input_ids), edit=edit, keep_prefix=True).prefix


def common_start(prompts: list[list[int]]) -> int:
    """How many tokens all prompts begin with alike, the last token of the shortest never among them."""
    shortest = min((len(ids) for ids in prompts), default=1)
    # Between the first and the last in order lie all others.
    first = min(prompts, default=[])
    last = max(prompts, default=[])
    for position in range(shortest - 1):
        if first[position] != last[position]:
            return position
    return shortest - 1


class _CachedReader:
    """Reads a batch of texts, each position once: keys and values are kept."""

    def __init__(self, model: HookedModel, texts: list[_Text], prefix: KVPrefix, settings: _Settings) -> None:
        self.model = model
        self.settings = settings
        self.cache = BatchCache(len(texts), max(text.n_prompt + text.limit for text in texts))
        self.cache.fill(prefix)
        self.n_shared = prefix.keys[0].shape[2] if prefix.keys else 0

    @torch.no_grad()
    def read_prompts(self, texts: list[_Text]) -> Float[Tensor, "batch vocab"]:
        """The logits that follow each prompt."""
        model = self.model
        last_resids: list[Tensor] = []
        for rows in _groups([text.n_prompt - self.n_shared for text in texts]):
            group = texts[rows]
            # Padded on the right: no real position sees a pad, and new tokens overwrite what pads left.
            input_ids, mask, last = model.pad([text.ids[self.n_shared :] for text in group])
            positions = self.n_shared + torch.arange(input_ids.shape[1], device=model.device)
            positions = positions.expand_as(input_ids)
            self.cache.write_block(rows, self.n_shared)
            extent = Extent(first_position=self.n_shared, store=self.cache)
            edit = self.settings.edit_at(positions, _prompt_lengths(model, group), mask.bool())
            resid = model.decoder.embed(input_ids, positions)
            resid = forward(model.decoder, resid, edit=edit, extent=extent).resid
            last_resids.append(_at(resid, last))
        # The vocabulary is large: only the positions from which a token is read are unembedded.
        return model.unembed(torch.cat(last_resids))

    @torch.no_grad()
    def read_tokens(self, texts: list[_Text], order: Sequence[int]) -> Float[Tensor, "batch vocab"]:
        """The logits that follow each text's newest token, which is computed at that text's own position.

        Text i was in row order[i] when the last one was read.
        """
        model = self.model
        self.cache.keep(order)
        positions = torch.tensor([len(text.ids) - 1 for text in texts], device=model.device)
        input_ids = torch.tensor([text.ids[-1:] for text in texts], device=model.device)
        self.cache.write_next(positions, max(len(text.ids) for text in texts))
        extent = Extent(store=self.cache, next_positions=positions)
        real = torch.ones_like(input_ids, dtype=torch.bool)
        edit = self.settings.edit_at(positions[:, None], _prompt_lengths(model, texts), real)
        resid = model.decoder.embed(input_ids, positions[:, None])
        resid = forward(model.decoder, resid, edit=edit, extent=extent).resid
        return model.unembed(resid[:, -1])


class _WholeReader:
    """Reads every text anew at each step: a model that is read through a bridge keeps no keys and values."""

    def __init__(self, model: HookedModel, settings: _Settings) -> None:
        self.model = model
        self.settings = settings

    @torch.no_grad()
    def read_prompts(self, texts: list[_Text]) -> Float[Tensor, "batch vocab"]:
        """The logits that follow each text."""
        model = self.model
        input_ids, mask, last = model.pad([text.ids for text in texts])
        positions = torch.arange(input_ids.shape[1], device=model.device).expand_as(input_ids)
        edit = self.settings.edit_at(positions, _prompt_lengths(model, texts), mask.bool())
        resid = model.forward(input_ids, edit=edit, attention_mask=mask).resid
        return model.unembed(_at(resid, last))

    def read_tokens(self, texts: list[_Text], order: Sequence[int]) -> Float[Tensor, "batch vocab"]:
        """The same: nothing is left of the step before."""
        return self.read_prompts(texts)


def _prompt_lengths(model: HookedModel, texts: list[_Text]) -> Int[Tensor, " batch"]:
    return torch.tensor([text.n_prompt for text in texts], device=model.device)


def _at(resid: Resid, last: Int[Tensor, " batch"]) -> Float[Tensor, "batch d_model"]:
    """The stream of each row's last real position."""
    return resid[torch.arange(len(resid), device=resid.device), last]


def _groups(lengths: Sequence[int]) -> Iterator[slice]:
    """Consecutive rows, the longest first, that together have no more than PREFILL_TOKENS with their pads."""
    start = 0
    while start < len(lengths):
        stop = start + max(1, PREFILL_TOKENS // lengths[start])
        yield slice(start, min(stop, len(lengths)))
        start = stop


@torch.no_grad()
def _chosen(
    logits: Float[Tensor, "batch vocab"], texts: list[_Text], sampling: Greedy | Sampling
) -> tuple[list[int], list[float]]:
    """A token of each text, and the logarithm of its probability; ModelError where that is no number."""
    logits = logits.float()
    # log softmax of the chosen token alone: its logit minus log sum exp of all
    normaliser = logits.logsumexp(-1)
    if not bool(normaliser.isfinite().all()):
        raise ModelError(
            "logits are not finite",
            expected="numbers",
            seen="NaN or infinity",
            hint="an edit that divides by a norm of 0, or a dtype whose range is exceeded",
        )
    tokens = sampling.choose(logits, [text.generator for text in texts])
    log_probs = logits.gather(1, tokens[:, None])[:, 0] - normaliser
    return tokens.tolist(), log_probs.tolist()


def _completion(tokens: list[NewToken]) -> Completion:
    stopped = tokens[-1].stopped
    assert stopped is not None  # a text's stream ends with the token that stops it
    return Completion(
        text="".join(new.text for new in tokens),
        token_ids=tuple(new.token_id for new in tokens),
        log_probs=tuple(new.log_prob for new in tokens),
        stopped=stopped,
    )


def _token_ids(model: HookedModel, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Each prompt as token ids; DataError for one that the model cannot continue."""
    if isinstance(prompts, str):
        raise DataError("prompts are a list", expected=f"[{prompts[:20]!r}, ...]", seen="one text")
    found = []
    for number, prompt in enumerate(prompts):
        ids = model.token_ids([prompt])[0] if isinstance(prompt, str) else [int(token) for token in prompt]
        _require_continuable(model, ids, f"prompt {number}")
        found.append(ids)
    return found


def _require_continuable(model: HookedModel, ids: list[int], where: str) -> None:
    if not ids:
        raise DataError("an empty prompt has nothing to continue", where=where, expected="a token or more")
    if not 0 <= min(ids) <= max(ids) < model.shape.vocab:
        raise DataError(
            f"token ids are not of {model.name}'s vocabulary",
            where=where,
            expected=f"0 to {model.shape.vocab - 1}",
            seen=f"{min(ids)} to {max(ids)}",
        )
    context = model.anatomy.context_tokens
    if len(ids) >= context:
        raise DataError(
            f"a prompt leaves no room in what {model.name} can read",
            where=where,
            expected=f"at most {context - 1} tokens",
            seen=str(len(ids)),
        )


def _require_sites(model: HookedModel, edit: Mapping[Site, Edit]) -> None:
    """ModelError for a site that no forward reaches: said before the first token."""
    kinds = model.site_kinds
    silent = [str(site) for site in edit if site.kind not in kinds or not 0 <= site.layer < model.n_layers]
    if silent:
        names = ", ".join(kind.name for kind in kinds)
        raise ModelError(
            "an edit is set at a site that this model does not have",
            expected=f"blocks.0 to blocks.{model.n_layers - 1}, with {names}",
            seen=", ".join(silent),
        )
