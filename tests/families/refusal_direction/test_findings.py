"""What arms did, as evidence: changes are paired, and rates come by both scorers."""

import numpy as np
import pytest

from engine.evidence.builder import Evidence
from engine.evidence.result import Measurement
from engine.families.refusal_direction.arms import Answers, Predictions
from engine.families.refusal_direction.findings import Rates, changed, positive_control_in_words
from engine.lab.completions import Coherence
from engine.models.generate import Completion

N = 20


def answers(by_text, score, states=None):
    zeros = np.zeros(N)
    measured = Coherence(
        nats_per_token=zeros + 1.5,
        relevance=zeros + 1,
        repetition=zeros,
        longest_run=np.ones(N, dtype=int),
        n_tokens=np.ones(N, dtype=int),
        empty=np.zeros(N, dtype=bool),
    )
    completion = Completion("text", (1,), (0.0,), "max_tokens")
    return Answers(
        about="the model as it is",
        completions=[completion] * N,
        predictions=Predictions(np.asarray(score, dtype=float), zeros),
        by_text=np.asarray(by_text),
        measured=measured,
        states=states or ["coherent"] * N,
    )


def test_what_changed_is_what_was_gained_and_what_was_lost():
    before = np.array([True, True, False, False])
    after = np.array([True, False, True, False])
    found = changed(after, before)
    assert found.gained.tolist() == [False, False, True, False]
    assert found.lost.tolist() == [False, True, False, False]


def test_rates_come_by_both_scorers_with_what_neither_sees():
    said = np.arange(N) < 12
    score = np.where(np.arange(N) < 10, 1.0, -1.0)
    states = ["broken"] * 2 + ["off topic"] * 3 + ["coherent"] * 15
    rates = Rates("refusal", "", "a refusal", "harmful requests", "tokens", "asr")
    ev = Evidence("prompt", [f"p{i}" for i in range(N)])
    arm = answers(said, score, states)
    rates.rates(ev, "ablation", arm)
    rates.rates(ev, "baseline", arm, control=True)
    found = ev.result().measurements
    assert found["refusal_ablation_substrings"].value == 12 / N
    assert found["refusal_ablation_tokens"].value == found["refusal_ablation"].value == 10 / N
    assert found["disagreement_ablation"].value == 2 / N
    assert found["broken_ablation"].value == 2 / N
    assert found["off_topic_ablation"].value == 3 / N
    # Answered: coherent, and no phrase of refusal.
    assert found["asr_ablation"].value == 8 / N
    assert found["refusal_baseline"].role == "control"


def test_a_change_has_the_control_of_its_own_scorer():
    rates = Rates("refusal", "harmless_", "a refusal", "harmless requests", "substrings", "answered")
    ev = Evidence("prompt", [f"p{i}" for i in range(N)])
    none = np.zeros(N, dtype=bool)
    before = answers(none, np.full(N, -1.0))
    controls = rates.change(ev, "random_addition", before, before)
    rates.change(ev, "addition", answers(~none, np.full(N, -1.0)), before, controls=controls)
    found = ev.result().measurements
    assert found["harmless_refusal_change_addition"].value == 1
    assert found["harmless_refusal_change_addition_tokens"].value == 0
    assert (
        found["harmless_refusal_change_addition_tokens"].control
        == "harmless_refusal_change_random_addition_tokens"
    )
    assert found["harmless_refusal_change_random_addition"].role == "control"
    low, high = found["harmless_refusal_change_addition"].low, found["harmless_refusal_change_addition"].high
    assert low is not None and high == 1 and 0 < low < 1


def test_perplexities_stand_beside_those_of_the_random_direction():
    rates = Rates("refusal", "", "a refusal", "harmful requests", "tokens", "asr")
    ev = Evidence("prompt", [f"p{i}" for i in range(N)])
    arms = {
        name: answers(np.ones(N, dtype=bool), np.ones(N))
        for name in ("baseline", "ablation", "random_ablation")
    }
    arms["ablation"].measured.nats_per_token[0] = np.nan  # nothing was said there
    rates.perplexities(ev, arms, "random_ablation")
    found = ev.result().measurements
    assert found["nats_per_token_ablation"].n == N - 1
    assert found["nats_per_token_ablation"].control == "nats_per_token_random_ablation"
    assert found["nats_per_token_baseline"].role == "control"


@pytest.mark.parametrize(
    ("taken", "given", "steers"),
    [
        # Ablation alone vouches for nothing.
        ((-0.5, -0.7, -0.2), (0.0, -0.1, 0.1), False),
        ((0.0, -0.1, 0.1), (0.4, 0.2, 0.6), True),
        ((-0.2, -0.5, 0.1), (0.2, -0.1, 0.5), False),
        # More French with its direction taken out: it moves, and is not steered.
        ((0.3, 0.1, 0.5), (0.0, -0.1, 0.1), False),
        ((-0.5, None, None), (0.0, None, None), False),
    ],
)
def test_a_control_that_moves_the_wrong_way_is_none(taken, given, steers):
    ends = (Measurement("change", value, low, high, 20, "prompt") for value, low, high in (taken, given))
    found, words = positive_control_in_words(*ends)
    assert found == steers
    assert ("nothing follows" in words) != steers
    assert f"{taken[0]:+.2f} by ablation" in words


def test_without_a_control_nothing_is_said_of_absence():
    assert positive_control_in_words(None, None) == (False, "no positive control was measured")
