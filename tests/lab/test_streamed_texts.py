"""Texts from one batch are those of each condition alone; one that breaks is told apart from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.errors import DataError, ModelError
from engine.lab.steering_vectors import SteeringVector
from engine.lab.streamed_texts import SteeringCondition, StreamedText, edits_by_row, streamed_texts
from engine.models import generate as generation
from engine.models.generate import generate
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model
from engine.models.sites import Site
from engine.runs.steered_texts import steering_conditions
from engine.spec.sites import RESID_POST
from tests.models.random_models import random_model

SITE = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> HookedModel:
    return micro_model(request.param)


def conditions(model: HookedModel, coefficient: float = 3.0) -> list[SteeringCondition]:
    """Three of one prompt, and one of a longer prompt in front of which an instruction stands."""
    direction = np.linspace(-1, 1, model.shape.d_model, dtype=np.float32)
    prompt = model.token_ids(["the city of Spain is"])[0]
    instructed = model.token_ids(["People speak . the city of Spain is"])[0]
    made = steering_conditions(model, SteeringVector({SITE: direction}), prompt, coefficient, seed=1)
    return [*made, SteeringCondition("instructed", instructed, {})]


def last(model: HookedModel, asked: Sequence[SteeringCondition], max_tokens: int) -> list[StreamedText]:
    *_, texts = streamed_texts(model, asked, max_tokens)
    return texts


def alone(model: HookedModel, condition: SteeringCondition, max_tokens: int):
    return generate(model, [condition.prompt], max_tokens=max_tokens, edit=condition.edit)[0]


def test_the_texts_of_one_batch_are_those_of_each_condition_alone(model: HookedModel) -> None:
    asked = conditions(model)
    made = last(model, asked, 12)
    assert [text.condition for text in made] == [condition.name for condition in asked]
    # No two conditions are alike, or their rows could be exchanged.
    assert len({text.completion.log_probs for text in made if text.completion}) == 4
    for text, condition in zip(made, asked, strict=True):
        expected = alone(model, condition, 12)
        assert text.completion is not None
        assert (text.text, text.completion.text) == (expected.text, expected.text)
        assert text.completion.token_ids == expected.token_ids
        assert text.completion.stopped == expected.stopped
        np.testing.assert_allclose(text.completion.log_probs, expected.log_probs, atol=1e-5)


def test_a_model_that_is_read_through_a_bridge_writes_the_same() -> None:
    plain = random_model("llama")
    bridged = replace(plain, anatomy=replace(plain.anatomy, style="bridge"))
    texts = [[text.text for text in last(model, conditions(plain), 5)] for model in (plain, bridged)]
    assert texts[0] == texts[1] and len(set(texts[0])) > 1


def test_every_step_has_one_token_more_of_each(model: HookedModel) -> None:
    steps = list(streamed_texts(model, conditions(model), 6))
    assert len(steps) == 6
    for before, after in pairwise(steps):
        assert all(new.text.startswith(old.text) for old, new in zip(before, after, strict=True))
    assert not any(text.is_finished for text in steps[-2])


def test_a_text_that_ends_early_stays_as_it_was_while_the_others_go_on(
    model: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = conditions(model)
    steered = alone(model, asked[1], 8)
    ending = steered.token_ids[2]
    monkeypatch.setattr("engine.lab.streamed_texts.end_tokens", lambda model: frozenset([ending]))
    monkeypatch.setattr(generation, "end_tokens", lambda model: frozenset([ending]))
    for text, condition in zip(last(model, asked, 8), asked, strict=True):
        expected = alone(model, condition, 8)
        assert text.completion is not None and text.text == expected.text
        assert (text.completion.token_ids, text.completion.stopped) == (expected.token_ids, expected.stopped)


def test_all_stop_once_all_have_ended(model: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = frozenset(range(model.shape.vocab))
    monkeypatch.setattr("engine.lab.streamed_texts.end_tokens", lambda model: everything)
    (only,) = streamed_texts(model, conditions(model), 50)
    assert all(text.completion and text.completion.stopped == "token" for text in only)


def test_one_that_breaks_says_why_and_the_others_are_whole(model: HookedModel) -> None:
    asked = conditions(model, 1e39)
    made = {text.condition: text for text in last(model, asked, 4)}
    assert made["steered"].problem == "logits are not finite" and made["steered"].completion is None
    for name, number in (("unmodified", 0), ("instructed", 3)):
        assert made[name].text == alone(model, asked[number], 4).text and not made[name].problem
    with pytest.raises(ModelError, match="not finite"):
        broken = replace(asked[0], edit={})
        list(streamed_texts(_without_numbers(model), [broken], 4))


def _without_numbers(model: HookedModel) -> HookedModel:
    weights = {name: torch.full_like(tensor, torch.nan) for name, tensor in model.weights.items()}
    return replace(model, weights=weights)


def test_what_leaves_no_room_for_a_batch_is_made_one_after_the_other(
    model: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = conditions(model)
    expected = [text.text for text in last(model, asked, 6)]
    monkeypatch.setattr("engine.lab.streamed_texts.PREFILL_TOKENS", 8)
    steps = list(streamed_texts(model, asked, 6))
    assert len(steps) == 4 * 6 and [text.text for text in steps[-1]] == expected
    # Up to the end of what the model can read: rows would leave the batch at different times.
    long = [replace(each, prompt=[*each.prompt, *[5] * 118]) for each in asked]
    for text, condition in zip(last(model, long, 20), long, strict=True):
        assert text.completion is not None and text.completion.stopped == "context"
        assert text.text == alone(model, condition, 20).text


def test_a_prompt_that_the_model_cannot_read_is_refused(model: HookedModel) -> None:
    asked = [replace(each, prompt=[5] * 200) for each in conditions(model)]
    with pytest.raises(DataError, match="at most 127 tokens"):
        list(streamed_texts(model, asked, 4))


def test_edits_by_row_reach_their_own_row_alone() -> None:
    site, other = Site(0, RESID_POST), Site(1, RESID_POST)
    edits = edits_by_row([{}, {site: lambda x: x + 1}, {site: lambda x: 2 * x, other: lambda x: -x}])
    value = torch.arange(1.0, 4.0).reshape(3, 1, 1)
    assert edits[site](value).flatten().tolist() == [1, 3, 6]
    assert edits[other](value).flatten().tolist() == [1, 2, -3]
    assert value.flatten().tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="longer"):
        edits[site](value[:2])
