"""How much of a concept a text has, by its words."""

import math

import pytest

from engine.families.caa_steering.word_score import learned_weights, listed_weights, word_score, words_of


def test_words_are_letters_of_any_script_in_one_case():
    assert words_of("It's LOVELY, isn\u2019t it? Das wei\u00df ich: 42 Stra\u00dfen.") == [
        "it's",
        "lovely",
        "isn\u2019t",
        "it",
        "das",
        "weiss",
        "ich",
        "strassen",
    ]


def test_listed_words_count_one_each_for_their_side():
    weights = listed_weights(["Lovely", "great"], ["awful"])
    assert word_score("A great, lovely, lovely walk. And awful shoes.", weights) == 2.0
    assert word_score("", weights) == word_score("nothing of the kind", weights) == 0.0


def test_learned_weights_are_log_odds_over_texts_and_not_over_occurrences():
    weights = learned_weights(["good good soup", "good bread"], ["bad soup"])
    assert weights["good"] == pytest.approx(math.log(3 / 1))
    assert weights["bad"] == pytest.approx(math.log(1 / 2))
    assert weights["soup"] == 0.0
    assert word_score("good, good, bad", weights) == pytest.approx(math.log(9 / 2))
