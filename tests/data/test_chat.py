"""Chat requests in a model's template: tokens, the request's place in them, templates that are no use."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.data.chat import ChatPrompts, render_chat, token_span
from engine.data.prompts import load_prompts
from engine.errors import DataError
from engine.models.hooked import HookedModel
from engine.models.micro import WORDS, micro_model
from engine.spec.inputs import CHAT
from engine.spec.models import PromptChoice

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content | trim }} <end>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
TURNS = ("<system>", "<user>", "<assistant>", "<end>", "2024")
REQUEST = "the capital city of France"


def chatty(template: str | None = TEMPLATE) -> HookedModel:
    model = micro_model(vocab_words=(*TURNS, *WORDS))
    model.tokenizer.chat_template = template
    return model


def render(model: HookedModel, *rows: dict[str, str]) -> ChatPrompts:
    choice = PromptChoice.model_validate({"rows": list(rows)})
    return render_chat(load_prompts(choice, Path(), CHAT), model)


def words(model: HookedModel, ids: list[int]) -> list[str]:
    return model.token_strings(ids)


def test_the_request_and_what_comes_after_it_are_found() -> None:
    model = chatty()
    found = render(model, {"request": REQUEST}, {"request": " cat ", "system": "two dogs"})
    first, second = found.tokens
    assert words(model, first[found.in_request[0]].tolist()) == REQUEST.split()
    assert words(model, first[found.after_request[0]].tolist()) == ["<end>", "<assistant>"]
    # Its system text is before it; the space around it was trimmed by the template.
    assert words(model, second[: found.last[1] + 1].tolist()) == [
        *("<system>", "two", "dogs", "<end>"),
        *("<user>", "cat", "<end>", "<assistant>"),
    ]
    assert (found.request_first.tolist(), found.request_last.tolist()) == ([1, 5], [5, 5])
    assert found.table["rendered"].tolist()[0] == f"<user> {REQUEST} <end>\n<assistant> "


def test_the_tokens_are_those_of_the_tokenizers_own_rendering() -> None:
    model = chatty()
    found = render(model, {"request": REQUEST, "system": "red"})
    messages = [{"role": "system", "content": "red"}, {"role": "user", "content": REQUEST}]
    theirs = model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert found.tokens[0].tolist() == theirs


def test_a_model_without_a_template_is_told() -> None:
    with pytest.raises(DataError, match=r"micro-llama.* has no chat template") as caught:
        render(chatty(None), {"request": REQUEST})
    assert "instruct" in caught.value.hint


def test_a_template_that_takes_no_system_text_says_so() -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    model = chatty(refuses + TEMPLATE)
    assert len(render(model, {"request": REQUEST})) == 1
    with pytest.raises(DataError, match="refuses the prompt 'one'") as caught:
        render(model, {"id": "one", "request": REQUEST, "system": "red"})
    assert (caught.value.seen, caught.value.expected) == ("no system role", "a request without a system text")


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[-1].content | upper }}",
        "{{ messages[-1].content }} {{ messages[-1].content }}",
        "<user>",
        "{{ messages[-1].content | replace('city', 'town') }}",
    ],
)
def test_a_template_that_does_not_leave_the_request_as_it_is_is_refused(template: str) -> None:
    with pytest.raises(DataError, match="cannot be used for the prompt"):
        render(chatty(template), {"request": REQUEST})


def test_a_template_that_tells_the_day_tells_the_same_one_in_every_run() -> None:
    model = chatty("<system> {{ strftime_now('%Y') }}{% set day = strftime_now('%d %B') %} <end>" + TEMPLATE)
    assert words(model, render(model, {"request": "cat"}).tokens[0, :2].tolist()) == ["<system>", "2024"]


def test_a_request_that_is_longer_than_the_model_reads_is_dropped() -> None:
    found = render(chatty(), {"request": "cat"}, {"request": "red " * 130})
    assert (found.table["request"].tolist(), len(found.dropped)) == (["cat"], 1)
    assert found.dropped["reason"].tolist() == ["133 tokens, of which the model reads 128"]


def test_template_syntax_in_a_request_is_data() -> None:
    found = render(chatty(), {"request": "{{ 7 * 7 }} {% if %} <end>"})
    assert found.table["rendered"].tolist()[0].startswith("<user> {{ 7 * 7 }} {% if %} <end> <end>")


def test_a_token_across_the_edge_is_the_requests() -> None:
    assert token_span([(0, 2), (2, 5), (5, 6)], 3, 5) == (1, 1)
    assert token_span([(0, 4), (4, 9)], 3, 5) == (0, 1)
    assert token_span([(0, 2), (2, 2)], 2, 4) is None
