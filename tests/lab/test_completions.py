"""What is measured of a completion, against Hugging Face and against counting; what is called an answer."""

import math

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab import completions as lab
from engine.lab.completions import (
    Coherence,
    CoherenceLimits,
    calibrate_coherence,
    coherence,
    is_empty,
    longest_run,
    own_readings,
    repetition,
)
from engine.models.generate import Completion, generate
from engine.models.micro import micro_model

START = "Fact : The capital city of France is Paris and one red cat sat on two green dogs "
TEXTS = ["in the river", "Rome", "People speak a language in the tower of Madrid", "a cat"]
LIMITS = CoherenceLimits(nats_per_token=2.0)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    return micro_model(request.param)


@pytest.fixture(scope="module")
def prompts(model):
    return model.token_ids([START + text for text in TEXTS])


def completion(*ids, text="word"):
    return Completion(text, ids, (0.0,) * len(ids), "max_tokens")


def measured(**changes):
    """One completion of ten tokens that is an answer, but for `changes`."""
    given = {"nats_per_token": 1.0, "relevance": 1.0, "repetition": 0.0, "longest_run": 1, "n_tokens": 10}
    given |= {"empty": False} | changes
    return Coherence(**{name: np.array([value]) for name, value in given.items()})


def hugging_face_nats(model, prompt, ids):
    """The slow twin: Hugging Face's own loss over the completion, one text alone."""
    text = torch.tensor([[*prompt, *ids]])
    labels = text.clone()
    labels[:, : len(prompt) + 1] = -100
    with torch.no_grad():
        return float(model.hf(text, labels=labels, use_cache=False).loss)


def test_perplexity_is_that_of_hugging_face(model, prompts):
    answers = [completion(5, 9, 3), completion(7, 5), completion(2, 2, 8, 30, 11), completion(4, 6)]
    found = coherence(model, prompts, answers)
    expected = [hugging_face_nats(model, p, a.token_ids) for p, a in zip(prompts, answers, strict=True)]
    np.testing.assert_allclose(found.nats_per_token, expected, atol=1e-5)
    np.testing.assert_allclose(found.perplexity, np.exp(expected), rtol=1e-4)
    # Relevance: the same after the prompt two further on.
    after = [hugging_face_nats(model, prompts[(i + 2) % 4], a.token_ids) for i, a in enumerate(answers)]
    np.testing.assert_allclose(found.relevance, np.array(after) - expected, atol=1e-5)


def test_the_log_probabilities_of_generation_are_its_own(model, prompts):
    answers = generate(model, prompts, max_tokens=6)
    found = coherence(model, prompts, answers)
    expected = [-np.mean(answer.log_probs[1:]) for answer in answers]
    np.testing.assert_allclose(found.nats_per_token, expected, atol=1e-4)


def test_relevance_compares_with_the_prompts_that_are_named(model, prompts):
    answers = [completion(5, 9)] * 4
    found = coherence(model, prompts, answers, others=[1, 0, 3, 2])
    nats = [hugging_face_nats(model, prompt, (5, 9)) for prompt in prompts]
    np.testing.assert_allclose(found.relevance, np.array(nats)[[1, 0, 3, 2]] - nats, atol=1e-5)


def test_what_cannot_be_measured_is_no_number(model, prompts):
    long = [*prompts[0] * 9][: model.anatomy.context_tokens - 2]
    found = coherence(model, [prompts[0], long], [completion(text=""), completion(3, 4)], others=[1, 1])
    assert math.isnan(found.nats_per_token[0]) and np.isfinite(found.nats_per_token[1])
    assert np.isnan(found.relevance).all()
    assert found.states(LIMITS)[0] == "empty"
    # After a long prompt there is no room for the answer of a short one.
    crowded = coherence(model, [prompts[0], long], [completion(3, 4, 5), completion(3, 4)])
    assert np.isnan(crowded.relevance[0]) and np.isfinite(crowded.relevance[1])
    assert np.isnan(coherence(model, prompts[:1], [completion(3)]).relevance).all()


def test_each_completion_needs_its_prompt(model, prompts):
    with pytest.raises(DataError, match="each completion has a prompt"):
        coherence(model, prompts, [completion(3)])


@pytest.mark.parametrize(
    ("ids", "share"),
    [((), 0), ((1, 2, 3), 0), ((1, 2, 3, 4), 0), ((7,) * 10, 6 / 7), ((1, 2) * 5, 5 / 7), (range(20), 0)],
)
def test_repetition_is_the_share_of_runs_that_occurred_before(ids, share):
    assert repetition(list(ids)) == pytest.approx(share)


@pytest.mark.parametrize(("ids", "run"), [((), 0), ((3,), 1), ((3, 3, 4, 3), 2), ((1, 5, 5, 5), 3)])
def test_the_longest_run_of_one_token(ids, run):
    assert longest_run(ids) == run


@pytest.mark.parametrize("text", ["", "  \n", "...", "— !?", "\N{ZERO WIDTH SPACE}"])
def test_a_text_without_a_letter_is_empty(text):
    assert is_empty(text)


@pytest.mark.parametrize("text", ["No", "7", "我", "é…"])
def test_a_letter_of_any_script_is_something(text):
    assert not is_empty(text)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "coherent"),
        ({"empty": True, "nats_per_token": 9.0}, "empty"),
        ({"empty": True, "nats_per_token": np.nan, "relevance": np.nan, "n_tokens": 0}, "empty"),
        ({"nats_per_token": 2.1}, "broken"),
        ({"repetition": 0.51}, "broken"),
        ({"repetition": 0.5}, "coherent"),
        ({"longest_run": 8}, "broken"),
        ({"longest_run": 7}, "coherent"),
        ({"longest_run": 4, "n_tokens": 4}, "broken"),
        ({"longest_run": 3, "n_tokens": 3}, "coherent"),
        ({"relevance": 0.0}, "off topic"),
        ({"relevance": np.nan}, "coherent"),
        ({"relevance": -1.0, "nats_per_token": 3.0}, "broken"),
    ],
)
def test_the_first_that_holds_is_what_a_completion_is(changes, state):
    assert measured(**changes).states(LIMITS) == [state]


def test_a_refusal_is_never_off_topic_and_may_be_broken(model, prompts):
    refused = np.array([True, False, True, False])
    found = coherence(model, prompts, [completion(*[5] * 9)] * 4, refused=refused)
    assert np.isnan(found.relevance).tolist() == refused.tolist()
    assert set(found.states(LIMITS)) == {"broken"}
    assert measured(relevance=-1.0).states(LIMITS, np.array([True])) == ["coherent"]
    assert not found.off_topic(LIMITS)[refused].any()


def test_the_first_token_is_left_out_since_it_is_what_an_intervention_changes(model, prompts):
    found = coherence(model, prompts[:2], [completion(5), completion(5, 9)])
    assert math.isnan(found.nats_per_token[0]) and np.isfinite(found.nats_per_token[1])
    # One token is neither broken nor off topic: there is nothing to tell it by.
    assert found.states(LIMITS)[0] == "coherent"


def test_limits_divide_answers_from_the_same_with_replaced_tokens(model, prompts, monkeypatch):
    def nats(_, prompts, tokens):
        # In order a token costs little: an answer rises.
        return np.array([0.5 if list(ids) == sorted(ids) else 5.0 for ids in tokens])

    monkeypatch.setattr(lab, "_nats_per_token", nats)
    answers = [completion(*range(10, 30)), completion(*range(5, 25)), completion(3), completion(text="")]
    found = calibrate_coherence(model, prompts, answers)
    assert found.nats_per_token == pytest.approx(2.75)
    assert (found.answers_called_broken, found.missed, found.n_answers) == (0, 0, 2)
    assert found.repetition == lab.LEAST_REPETITION
    assert "2 of the model's own answers: 0%" in found.in_words()


def test_a_quarter_of_the_tokens_are_replaced_by_tokens_of_answers():
    rng = np.random.default_rng(0)
    found = lab._with_replaced_tokens(range(100), np.array([500, 501]), rng)
    assert sum(token >= 500 for token in found) == 25
    assert all(token in (place, 500, 501) for place, token in enumerate(found))
    assert lab._with_replaced_tokens([3, 4], np.array([9]), rng).count(9) == 1


def test_where_they_overlap_the_limit_has_the_fewest_errors():
    low = np.array([1.0, 2.0, 3.0, 6.0])
    high = np.array([2.5, 5.0, 7.0, 8.0])
    limit = lab._between(low, high)
    errors = {at: (low > at).mean() + (high <= at).mean() for at in np.linspace(0, 9, 91)}
    assert (low > limit).mean() + (high <= limit).mean() == min(errors.values())
    # All the same: nothing divides them, and there is a limit all the same.
    assert math.isfinite(lab._between(np.ones(3), np.ones(3)))


def test_a_model_that_repeats_itself_is_measured_by_its_own_answers(model, prompts):
    answers = [completion(*[4, 5] * 10)] * 4
    found = calibrate_coherence(model, prompts, answers, seed=1)
    assert found.repetition == pytest.approx(repetition([4, 5] * 10))
    assert found == calibrate_coherence(model, prompts, answers, seed=1)


def test_nothing_to_calibrate_on_leaves_the_limit_of_random_tokens(model, prompts):
    found = calibrate_coherence(model, prompts[:2], [completion(3), completion(text="")])
    assert found.nats_per_token == pytest.approx(math.log(model.shape.vocab)) and found.n_answers == 0
    assert "random tokens" in found.in_words()
    assert not measured(nats_per_token=1.0).broken(found).any()


def test_what_was_read_is_not_read_again_and_an_own_answer_was_read_as_it_was_given(
    model, prompts, monkeypatch
):
    answered = generate(model, prompts, max_tokens=6)
    expected = coherence(model, prompts, answered).nats_per_token
    readings = own_readings(prompts, answered)
    read = []
    monkeypatch.setattr(lab, "log_probs", lambda *given: read.append(given) or 1 / 0)
    known = coherence(model, prompts, answered, range(len(prompts)), readings=readings)
    np.testing.assert_allclose(known.nats_per_token, expected, atol=1e-5)
    assert not read
    monkeypatch.undo()
    # Another answer is read, and known from then on.
    other = [completion(5, 9, 7) for _ in prompts]
    fresh = coherence(model, prompts, other, range(len(prompts)), readings=readings)
    assert len(readings) == len(expected[np.isfinite(expected)]) + len({tuple(row) for row in prompts})
    np.testing.assert_allclose(
        fresh.nats_per_token, coherence(model, prompts, other).nats_per_token, atol=1e-6
    )
