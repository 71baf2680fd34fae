"""The two scorers of refusal: phrases in an answer, and the probability of refusal tokens."""

import math

import numpy as np
import pytest
import torch

from engine.errors import ModelError, SpecError
from engine.lab.refusals import (
    ARDITI_2024,
    PHRASE_LISTS,
    ZOU_2023,
    phrase_tokens,
    refusal_score,
    refusal_scores,
    refusal_tokens,
    says_refusal,
)
from engine.models.generate import Completion
from engine.models.micro import WORDS, micro_model
from engine.models.sites import Site
from engine.spec.sites import RESID_PRE

VOCAB = 50


def answer(model, text, *ids):
    tokens = ids or tuple(model.token_ids([text])[0])
    return Completion(text, tokens, (0.0,) * len(tokens), "max_tokens")


def by_numpy(logits, tokens):
    """The slow twin: both probabilities in float64, as the paper writes them."""
    z = logits.double().numpy()
    p = np.exp(z - z.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    others = np.delete(p, tokens, axis=-1).sum(-1)
    return np.log(p[:, tokens].sum(-1)) - np.log(others)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but no.",
        "   \n i CANNOT help",
        "Well. As an AI, I do not.",
        "I am\nnot able to do this",
    ],
)
def test_a_published_phrase_anywhere_is_a_refusal(text):
    assert says_refusal(text)


@pytest.mark.parametrize(
    "text",
    ["", "   ", "Sure, here is how", "Hawaii cannot be reached by car", "Désolé, 我很抱歉", "x" * 10**6],
)
def test_what_has_no_phrase_is_none(text):
    assert not says_refusal(text)


def test_a_phrase_after_a_word_that_ends_like_it_is_still_found():
    assert says_refusal("Hawaii cannot, and I cannot")


def test_the_lists_differ_in_what_they_take_for_a_refusal():
    assert says_refusal("As an example, take a cat.", ZOU_2023) and not says_refusal(
        "As an example, take a cat."
    )
    assert says_refusal("I can't do it") and not says_refusal("I can't do it", ZOU_2023)
    # As written: small letters are no refusal there.
    assert not says_refusal("i'm sorry", ZOU_2023)
    for phrases in PHRASE_LISTS.values():
        assert all(says_refusal(phrase, phrases) for phrase in phrases.phrases)
        assert "et al." in phrases.source


def test_refusal_tokens_are_first_tokens_that_refusals_have_and_answers_have_not():
    model = micro_model(vocab_words=("I", "As", "Sure", "To", *WORDS))
    sorry, an, sure, to = (model.token_ids([word])[0][0] for word in ("I", "As", "Sure", "To"))
    found = refusal_tokens(
        model,
        [
            answer(model, "I cannot", sorry),
            answer(model, "I'm sorry", sorry),
            answer(model, "I can", sorry),
            answer(model, "As an AI", an),
            answer(model, "Sure", sure),
            answer(model, "To begin", to),
            answer(model, "To say it, I cannot", to),
        ],
    )
    assert found.ids == (sorry, an)
    assert (found.n_refusals, found.n_answers, found.coverage) == (4, 7, 0.75)
    assert found.table().to_dict("records") == [
        {"token": "I", "token_id": sorry, "refusals": 2, "other_answers": 1, "counts": True},
        {"token": "As", "token_id": an, "refusals": 1, "other_answers": 0, "counts": True},
        {"token": "To", "token_id": to, "refusals": 1, "other_answers": 1, "counts": False},
    ]


def test_a_model_that_never_refuses_has_no_refusal_tokens():
    model = micro_model()
    found = refusal_tokens(model, [answer(model, "Paris"), Completion("", (), (), "max_tokens")])
    assert found.ids == () and math.isnan(found.coverage) and found.n_answers == 2
    assert list(found.table().columns) == ["token", "token_id", "refusals", "other_answers", "counts"]
    assert refusal_tokens(model, []).n_answers == 0


def test_published_phrases_begin_with_few_tokens():
    model = micro_model(vocab_words=("I", "I'm", "As", "an", *WORDS))
    assert model.token_strings(phrase_tokens(model)) == ["I'm", "I", "As"]
    assert len(ARDITI_2024.phrases) == 12


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_the_score_is_the_log_odds_in_float64(scale):
    logits = scale * torch.randn(7, VOCAB, generator=torch.Generator().manual_seed(0))
    for tokens in ([3], [3, 17, 40], [3, 3, 17], list(range(1, VOCAB))):
        found = refusal_score(logits, tokens)
        np.testing.assert_allclose(found.numpy(), by_numpy(logits, np.unique(tokens)), rtol=1e-5, atol=1e-5)


def test_the_score_is_exact_where_the_probability_is_almost_0_or_1():
    logits = torch.zeros(2, 3)
    logits[0, 0] = -200.0
    logits[1, 0] = 200.0
    assert refusal_score(logits, [0]).tolist() == pytest.approx([-200 - math.log(2), 200 - math.log(2)])
    # bf16 logits are read in fp32
    assert refusal_score(logits.bfloat16(), [0]).dtype == torch.float32


@pytest.mark.parametrize("tokens", [[], list(range(VOCAB)), [VOCAB], [-1]])
def test_tokens_that_give_no_score_are_said(tokens):
    with pytest.raises(SpecError, match="give no score") as caught:
        refusal_score(torch.zeros(1, VOCAB), tokens)
    assert ("phrase_tokens" in caught.value.hint) == (not tokens)


def test_logits_that_are_no_numbers_are_said():
    with pytest.raises(ModelError, match="not finite"):
        refusal_score(torch.full((1, VOCAB), float("nan")), [1])


@pytest.mark.parametrize("style", ["llama", "gpt2"])
def test_scores_of_many_prompts_are_those_of_each_alone_under_edits(style):
    model = micro_model(style)
    start = "Fact : The capital city of France is Paris and one red cat sat on two green dogs "
    rows = model.token_ids([start + text for text in ("in the river", "Rome", "People speak", "a")])
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    edit = {Site(1, RESID_PRE): lambda value: value + direction}
    found = refusal_scores(model, rows, [5, 9], edit=edit)
    runs = [model.forward(torch.tensor([row]), edit=edit).resid[:, -1] for row in rows]
    expected = by_numpy(model.unembed(torch.cat(runs)), [5, 9])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert not np.allclose(refusal_scores(model, rows, [5, 9]).numpy(), expected, atol=1e-2)
