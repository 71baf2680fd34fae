"""What a request may take, and how it is stopped."""

from __future__ import annotations

import pytest

from engine.demo.limits import RequestLimits, StopSignal, prompt_ids
from engine.errors import DemoError, RequestStopped
from engine.models.micro import CONTEXT_TOKENS, micro_model


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_request_is_stopped_when_its_time_is_over_and_not_before() -> None:
    clock = Clock()
    stop = StopSignal(5.0, clock)
    clock.now = 100.0
    stop.start()  # what it waited for others is not its own
    clock.now = 104.9
    assert not stop()
    stop.require_running()
    clock.now = 105.1
    assert stop()
    with pytest.raises(RequestStopped, match="more than 5 seconds"):
        stop.require_running()


def test_a_cancelled_request_stays_cancelled_when_its_time_begins_anew() -> None:
    stop = StopSignal(5.0)
    stop.cancel()
    stop.start()
    with pytest.raises(RequestStopped, match="cancelled"):
        stop.require_running()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("x" * 31, "at most 30 characters"),
        ("red " * 7, "at most 6 tokens"),
    ],
)
def test_a_text_that_is_beyond_the_limits_is_one_message(text: str, said: str) -> None:
    with pytest.raises(DemoError) as error:
        prompt_ids(micro_model(), text, limits=RequestLimits(characters=30, tokens=6))
    assert said in str(error.value)


def test_a_text_within_the_limits_is_the_models_tokens() -> None:
    model = micro_model()
    assert prompt_ids(model, "the red cat") == model.token_ids(["the red cat"])[0]
    # However large the limit, no text is longer than the model reads.
    with pytest.raises(DemoError, match=f"at most {CONTEXT_TOKENS} tokens"):
        prompt_ids(model, "red " * 200, limits=RequestLimits(tokens=10_000))
