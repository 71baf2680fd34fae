"""What keeps a typed pair from being patched, each in words of its own."""

import pytest

from engine.demo.live_model import LiveModel
from engine.demo.pair_tokens import alignment_html, typed_html
from engine.demo.token_alignment import align
from engine.demo.typed_pair import MOST_PATCHED, TypedPair, require_pair, with_space
from engine.errors import DemoError
from engine.models.micro import micro_model

MODEL = micro_model(n_layers=2)
FRANCE = "the capital city of France is"
ITALY = "the capital city of Italy is"


def pair(
    clean: str = FRANCE, corrupted: str = ITALY, answer: str = "Paris", wrong: str = "Rome"
) -> TypedPair:
    return TypedPair.of(clean, corrupted, answer, wrong)


def test_a_sound_pair_is_laid_token_against_token():
    columns = require_pair(MODEL, pair()).columns
    assert [c.differs for c in columns] == [False] * 4 + [True, False]


def test_an_answer_gets_the_space_that_nobody_types():
    assert pair().answer == " Paris"
    assert [with_space(p, a) for p, a in (("is", " Paris"), ("is ", "Paris"), ("是", "P"), ("", "a"))] == [
        " Paris",
        "Paris",
        "P",
        "a",
    ]


def test_a_spec_has_the_pair_and_its_swap():
    own, swapped = pair().rows
    assert own == {"id": "typed", "relation": "typed", **vars(pair())}
    assert (swapped["clean"], swapped["answer"]) == (own["corrupted"], own["wrong_answer"])
    assert swapped["id"] != own["id"]


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        (pair(clean=""), "the clean prompt is empty"),
        (pair(corrupted=" \n "), "the corrupted prompt is empty"),
        (pair(answer=""), "the answer is empty"),
        (pair(wrong="  "), "the wrong answer is empty"),
        (pair(corrupted=FRANCE), "both prompts are the same"),
        (pair(corrupted="the capital city of Italy"), "in the clean prompt is at position 5 is too many"),
        (pair(answer="Paris Rome"), "the answer ' Paris Rome' is 2 tokens, not one"),
        (pair(wrong="Paris"), "answer and wrong answer are the same token"),
        (pair(clean="a" * 2001), "the clean prompt is too long"),
        (pair(clean="cat " * 101), "the clean prompt is too long"),
        (pair(clean=FRANCE + "\x00"), "the clean prompt has a control character"),
        (pair(answer="Par\x1bis"), "the answer has a control character"),
        (pair(wrong="\ud83d"), "the wrong answer has a control character"),
    ],
)
def test_what_cannot_be_patched_is_told(typed, problem):
    with pytest.raises(DemoError) as told:
        require_pair(MODEL, typed)
    assert problem in told.value.problem


def test_a_long_rest_after_the_difference_is_refused_and_a_long_start_is_not():
    rest = " cat" * MOST_PATCHED
    with pytest.raises(DemoError, match="too much of the prompts"):
        require_pair(MODEL, pair(clean=f"France{rest}", corrupted=f"Italy{rest}"))
    require_pair(MODEL, pair(clean=f"cat{rest} France", corrupted=f"cat{rest} Italy"))


def test_a_control_character_is_named_with_its_place():
    with pytest.raises(DemoError) as told:
        require_pair(MODEL, pair(clean="the\x07 cat"))
    assert told.value.seen == "U+0007, its character 4"


def test_typing_shows_the_tokens_and_what_is_wrong_with_them():
    live = LiveModel.of(MODEL)
    assert "6 tokens each; they differ at position 4." in typed_html(live, pair())
    assert "Italy at position 4 and is at position 5 are too many" in typed_html(
        live, pair(clean="the capital city of")
    )
    assert "2 tokens, not one" in typed_html(live, pair(answer="Paris Rome"))
    assert "Both prompts need a text" in typed_html(live, pair(clean=" "))
    assert "At most 2,000 characters" in typed_html(live, pair(clean="a" * 5000))
    assert "control character: U+0000" in typed_html(live, pair(clean="\x00"))


def test_typing_before_the_model_is_there_says_so():
    assert "once the model is loaded" in typed_html(LiveModel("smollm2-135m-instruct"), pair())


def test_tokens_are_written_and_never_run():
    shown = alignment_html(align(["<script>alert(1)</script>", "a"], ["<img src=x onerror=alert(1)>", "a"]))
    assert "<script" not in shown and "<img" not in shown
    assert "&lt;script&gt;" in shown


def test_what_is_too_many_is_told_without_colour():
    assert "too many</span>" in alignment_html(align(["a", "b"], ["a"]))
    assert "no token</span>" in alignment_html(align(["a", "b"], ["a"]))
