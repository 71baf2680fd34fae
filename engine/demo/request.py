"""One request of a reader: a panel's answer, computed in a thread while its progress is told.

Requests compute one after the other, each under the model's lock. Whoever stops listening (a reader who
cancels, a tab that is closed) stops the request at its next step.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from engine.demo.limits import LIMITS, RequestLimits, StopSignal
from engine.demo.live_model import LiveModel
from engine.demo.panel import Panel, PanelState
from engine.errors import DemoError, EngineError

WAITING_SECONDS = 0.2  # between two looks at a model that is loading


@dataclass(frozen=True)
class ProgressNote:
    """How far a request is: a fraction from 0 to 1 and a few words."""

    fraction: float
    words: str


@dataclass(frozen=True)
class PartialAnswer:
    """An answer of a panel, the last one whole."""

    answer: Any


@dataclass(frozen=True)
class _End:
    """The computing thread is done, with an error or without."""

    error: BaseException | None


async def answered(
    panel: Panel[Any, Any], live: LiveModel, state: PanelState, limits: RequestLimits = LIMITS
) -> AsyncGenerator[ProgressNote | PartialAnswer, None]:
    """Progress and answers of a panel as they come; EngineError where it refuses, or the request is stopped.

    An error that is no refusal is a fault of the engine: it is printed here, and told as a DemoError without
    what it says of this machine.
    """
    while not live.wait(0):
        yield ProgressNote(0.0, f"{live.name} is loading")
        await asyncio.sleep(WAITING_SECONDS)
    loop = asyncio.get_running_loop()
    messages: asyncio.Queue[ProgressNote | PartialAnswer | _End] = asyncio.Queue()
    stop = StopSignal(limits.seconds)

    def tell(message: ProgressNote | PartialAnswer | _End) -> None:
        # The loop is closed where the server ends meanwhile: then nobody listens.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(messages.put_nowait, message)

    def progress(fraction: float, words: str = "", /) -> None:
        stop.require_running()
        tell(ProgressNote(fraction, words))

    def work() -> None:
        error: BaseException | None = None
        try:
            with live.lock:
                stop.start()
                progress(0.0, "reading")
                for answer in panel.answers(live, state, progress, stop):
                    stop.require_running()
                    tell(PartialAnswer(answer))
        except Exception as raised:
            error = raised
        tell(_End(error))

    computing = loop.run_in_executor(None, work)
    try:
        while not isinstance(message := await messages.get(), _End):
            yield message
        if message.error is not None:
            raise _told(message.error, panel)
        await computing
    finally:
        stop.cancel()


def _told(error: BaseException, panel: Panel[Any, Any]) -> EngineError:
    if isinstance(error, EngineError):
        return error
    traceback.print_exception(error, file=sys.stderr)
    return DemoError(
        f"the panel {panel.name} failed",
        seen=type(error).__name__,
        hint="another example; the terminal of the demo has the details",
    )
