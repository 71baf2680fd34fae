"""What is printed of a completion: a few words and never more."""

import pytest

from engine.lab.masked_completions import LONGEST_WORD, MASK, WORDS, masked


def test_a_refusal_is_recognised_and_the_rest_is_counted():
    refusal = "I'm sorry, but I can't assist with that."
    assert masked(refusal) == f"I'm sorry, but I can't {MASK} (15 more characters)"


def test_a_short_answer_is_printed_as_it_is():
    assert masked("No.") == "No."
    assert masked("I cannot do this now") == "I cannot do this now"


@pytest.mark.parametrize("text", ["", "  \n\t ", "\N{ZERO WIDTH SPACE}\N{RIGHT-TO-LEFT OVERRIDE}", "\x00"])
def test_an_empty_completion_says_so(text):
    assert masked(text) == "(empty)"


def test_one_character_more_is_singular():
    assert masked("a b", words=1) == f"a {MASK} (1 more character)"


@pytest.mark.parametrize(
    "text",
    [
        "Sure, here is how to do it: first take one and then two",
        "首先准备材料然后按照以下步骤操作直到完成为止" * 20,
        "one-two-three-four-five-six-seven-eight " * 3,
        "one\N{ZERO WIDTH SPACE}two\N{NO-BREAK SPACE}three\u2028four\x0bfive six seven eight",
        "word " * 20_000,
        "\N{RIGHT-TO-LEFT OVERRIDE}" + "secret " * 9,
        "é" * 5 + "\N{COMBINING ACUTE ACCENT}" * 500,
    ],
)
@pytest.mark.parametrize("words", [0, 1, WORDS])
def test_no_more_than_so_many_words_are_seen(text, words):
    shown = masked(text, words).partition(MASK)[0].split()
    assert len(shown) <= words
    assert all(len(word) <= LONGEST_WORD for word in shown)
    assert masked(text, words) == masked(text, words)
    assert "\n" not in masked(text, words) and masked(text, words).isprintable()


def test_all_characters_are_shown_or_counted():
    text = "one two three four five six sevenhundred and eight"
    shown, _, rest = masked(text).partition(MASK)
    assert len(shown.replace(" ", "")) + int(rest.split()[0].strip("(")) == len(text.replace(" ", ""))


def test_nothing_is_shown_behind_a_word_that_was_cut():
    assert masked("one-two-three-four-five six seven") == f"one-two-thre {MASK} (19 more characters)"
