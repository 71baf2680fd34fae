"""One request: progress while it computes, one at a time, stopped when nobody listens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from engine.demo.limits import RequestLimits
from engine.demo.live_model import LiveModel
from engine.demo.panel import PanelState
from engine.demo.request import PartialAnswer, ProgressNote, answered
from engine.errors import DemoError, EngineError, RequestStopped
from engine.models.micro import micro_model
from tests.demo.toy_panel import PANEL, ToyState, running


@pytest.fixture
def live() -> LiveModel:
    return LiveModel.of(micro_model())


def collected(live: LiveModel, state: PanelState, limits: RequestLimits = RequestLimits()) -> list:
    async def all_of_it() -> list:
        return [message async for message in answered(PANEL, live, state, limits)]

    return asyncio.run(all_of_it())


def test_progress_and_parts_come_before_the_whole(live: LiveModel) -> None:
    messages = collected(live, ToyState(seconds=0.2))
    parts = [message.answer.said for message in messages if isinstance(message, PartialAnswer)]
    fractions = [message.fraction for message in messages if isinstance(message, ProgressNote)]
    assert parts == ["first part", f"picked nothing on {live.name}"]
    assert len(fractions) > 3 and fractions == sorted(fractions)


def test_a_request_that_takes_too_long_is_stopped(live: LiveModel) -> None:
    with pytest.raises(RequestStopped, match=r"more than 0\.1 seconds"):
        collected(live, ToyState(seconds=30), RequestLimits(seconds=0.1))
    assert running == []


def test_a_request_that_nobody_listens_to_ends(live: LiveModel) -> None:
    async def listened_to_once() -> None:
        async with aclosing(answered(PANEL, live, ToyState(seconds=30))) as messages:
            async for _ in messages:
                break
        for _ in range(200):
            if not running:
                break
            await asyncio.sleep(0.02)

    asyncio.run(listened_to_once())
    assert running == []


def test_two_requests_compute_one_after_the_other(live: LiveModel) -> None:
    at_once: list[int] = []

    async def one(text: str) -> None:
        async for _ in answered(PANEL, live, ToyState(text=text, seconds=0.1)):
            at_once.append(len(running))

    async def both() -> None:
        await asyncio.gather(one("a"), one("b"))

    asyncio.run(both())
    assert set(at_once) <= {0, 1} and 1 in at_once


def test_while_the_model_loads_that_is_the_progress() -> None:
    live = LiveModel("smollm2-135m-instruct")

    async def until_it_is_there() -> list[str]:
        words: list[str] = []
        async for message in answered(PANEL, live, ToyState()):
            if isinstance(message, ProgressNote):
                words.append(message.words)
            if not live.is_ready:
                live._model = micro_model()
                live._done.set()
        return words

    assert asyncio.run(until_it_is_there())[0] == "smollm2-135m-instruct is loading"


def test_a_refusal_is_passed_on_and_a_fault_is_not_told_in_full(
    live: LiveModel, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DemoError, match="refused"):
        collected(live, ToyState(does="refuse"))
    with pytest.raises(EngineError) as error:
        collected(live, ToyState(does="break"))
    assert "ZeroDivisionError" in str(error.value) and "secret" not in str(error.value)
    assert "secret" in capsys.readouterr().err
