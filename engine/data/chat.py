"""Chat requests in a model's own chat template, and where in its tokens the request stands.

1. The template is rendered with a marker in the request's place: what stands around the marker is the
   template's.
2. It is rendered with the request itself. The text has to be the same around it, and the request within,
   since a template may trim what it is given, or do more with it than it should.
3. The text is cut into tokens with their places in it. A token that holds both a part of the request and of
   what is around it counts as the request's.

The positions after the request are those that the template adds at the end, such as `<|im_end|>` and the
assistant's turn: at them a model has read the request and not begun to answer, where refusal is read (Arditi
et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction", post-instruction tokens).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from engine.data.prompts import PromptSet
from engine.data.tokenized_prompts import TokenIds, TokenizedPrompts, divided, refusal, too_long
from engine.errors import DataError

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

MARKER = "\u2402request\u2403"  # no template has it, and it has no space at an end that could be trimmed
DAY = datetime.date(2024, 7, 26)
"""Templates may tell the day: the same one in every run, or the numbers would change from day to day."""


@dataclass(frozen=True, kw_only=True)
class ChatPrompts(TokenizedPrompts):
    """Rendered requests, padded on the right. `request_first` and `request_last` are the request's own
    tokens; `last` is the end of the prompt, after which the model would answer.

    The table has the text that the model reads as `rendered`.
    """

    tokens: Int[Tensor, "prompt pos"]
    mask: Int[Tensor, "prompt pos"]
    last: Int[Tensor, " prompt"]
    request_first: Int[Tensor, " prompt"]
    request_last: Int[Tensor, " prompt"]

    @property
    def in_request(self) -> Bool[Tensor, "prompt pos"]:
        """The positions of the request."""
        position = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return (position >= self.request_first[:, None]) & (position <= self.request_last[:, None])

    @property
    def after_request(self) -> Bool[Tensor, "prompt pos"]:
        """The positions after the request, up to the last: what the template adds before the answer."""
        position = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return (position > self.request_last[:, None]) & (position <= self.last[:, None])


@dataclass(frozen=True)
class ChatText:
    """One rendered request; the request is `text[start:end]`."""

    text: str
    start: int
    end: int


def render_chat(prompts: PromptSet, model: HookedModel) -> ChatPrompts:
    """The requests in the model's chat template, with the generation prompt after them.

    DataError where the model has no template, where its template does not take what it is given, or where no
    request is short enough for the model.
    """
    require_template(model)
    rows = prompts.table.to_dict("records")
    rendered = [rendered_request(model, str(row["request"]), _system(row), str(row["id"])) for row in rows]
    # The template has written the special tokens itself: none are added.
    encodings = model.text.encode_batch([chat.text for chat in rendered], add_special_tokens=False)
    ids: list[TokenIds] = [encoding.ids for encoding in encodings]
    reasons = too_long(ids, model.anatomy.context_tokens)
    spans = {}
    for row, (chat, encoding) in enumerate(zip(rendered, encodings, strict=True)):
        span = token_span(encoding.offsets, chat.start, chat.end)
        if span is None:
            reasons.setdefault(row, "the model's tokenizer leaves nothing of the request")
        else:
            spans[row] = span
    table = prompts.table.assign(rendered=[chat.text for chat in rendered])
    fitting, dropped = divided(PromptSet(prompts.name, table, prompts.hash, prompts.source), reasons)
    fits = [row for row in range(len(rows)) if row not in reasons]
    if not fits:
        expected = f"at most {model.anatomy.context_tokens} tokens"
        raise refusal(prompts, dropped, "chat requests", expected)
    tokens, mask, last = model.pad([ids[row] for row in fits])
    return ChatPrompts(
        table=fitting,
        dropped=dropped,
        cluster_column=prompts.cluster_column,
        tokens=tokens,
        mask=mask,
        last=last,
        request_first=torch.tensor([spans[row][0] for row in fits], device=tokens.device),
        request_last=torch.tensor([spans[row][1] for row in fits], device=tokens.device),
    )


def require_template(model: HookedModel) -> None:
    """DataError where the model has no chat template."""
    if not model.tokenizer.chat_template:
        raise DataError(
            f"{model.name} has no chat template",
            expected="a model that was trained on chats, whose tokenizer brings its template",
            seen="a tokenizer without one",
            hint="an instruct model; `engine models` lists what can be had",
        )


def rendered_request(model: HookedModel, request: str, system: str, id: str) -> ChatText:
    """One request in the chat template, after the system text where there is one."""
    # 1. What the template puts around a request.
    around = _apply(model, MARKER, system, id)
    before, found, after = around.partition(MARKER)
    if not found or MARKER in after:
        raise _changed(model, id, "the template does not write the request once, as it is")
    # 2. The same around the request itself, trimmed at most.
    text = _apply(model, request, system, id)
    for written in dict.fromkeys((request, request.strip())):
        if text == before + written + after:
            return ChatText(text, len(before), len(before) + len(written))
    raise _changed(model, id, "the template writes something else for this request")


def token_span(offsets: Iterable[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """The first and last token with a character in [start, end); None where there is none."""
    # 3. A token's place in the text is [left, right); special tokens that were written have theirs too.
    inside = [i for i, (left, right) in enumerate(offsets) if left < end and right > start]
    return (inside[0], inside[-1]) if inside else None


def _system(row: Mapping[Any, Any]) -> str:
    system = row.get("system")
    # A column that some rows leave out is NaN there.
    return system if isinstance(system, str) and system.strip() else ""


def _apply(model: HookedModel, request: str, system: str, id: str) -> str:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": request})
    tokenizer = model.tokenizer
    template = _on_one_day(tokenizer.get_chat_template())
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    # A template is a program of the model's maker: whatever it raises, it does not take this prompt.
    except Exception as error:
        raise DataError(
            f"{model.name}'s chat template refuses the prompt {id!r}",
            expected="a request without a system text" if system else "a request",
            seen=str(error),
            hint="leave the column system out, or put its text into the request" if system else "",
        ) from error


def _on_one_day(template: str) -> str:
    """The template with the clock that some ask for, `strftime_now`, standing still at DAY."""
    if "strftime_now" not in template:
        return template
    codes = "".join(f" | replace('%{code}', '{DAY.strftime('%' + code)}')" for code in "YymBbdAaHMS")
    # A macro hides the function of the same name. `+%}` keeps a line break that follows it.
    return f"{{% macro strftime_now(layout) %}}{{{{ layout{codes} }}}}{{% endmacro +%}}{template}"


def _changed(model: HookedModel, id: str, problem: str) -> DataError:
    return DataError(
        f"the chat template of {model.name} cannot be used for the prompt {id!r}",
        expected="a template that writes the request once and unchanged, trimmed at most",
        seen=problem,
    )
