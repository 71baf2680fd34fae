"""What one request of the demo may take: characters, tokens and seconds; and how it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

from engine.errors import DemoError, RequestStopped

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@dataclass(frozen=True)
class RequestLimits:
    """What one request may take.

    `characters` of any one text, `tokens` of a prompt, `seconds` of computing from its first step,
    `body_bytes` of what a browser may send, `waiting` requests before further ones are turned away.
    """

    characters: int = 4000
    tokens: int = 256
    seconds: float = 60.0
    body_bytes: int = 256_000
    waiting: int = 32


LIMITS = RequestLimits()


class StopSignal:
    """Whether a request is to end: cancelled by its reader, or out of time.

    A panel calls it between its steps (`if cancelled(): ...`), or leaves it to its progress, which raises.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._cancelled = Event()
        self._clock = clock
        self._seconds = seconds
        self.start()

    def start(self) -> None:
        """Count the time from now: what a request waits for others is not its own."""
        self._ends = self._clock() + self._seconds

    def cancel(self) -> None:
        """End the request at its next step; from any thread."""
        self._cancelled.set()

    def __call__(self) -> bool:
        return self._cancelled.is_set() or self._clock() > self._ends

    def require_running(self) -> None:
        """RequestStopped, which says why, where the request is to end."""
        if self._cancelled.is_set():
            raise RequestStopped("this request was cancelled")
        if self():
            raise RequestStopped(
                f"this request took more than {self._seconds:g} seconds and was stopped",
                hint="a shorter text, or fewer layers and tokens",
            )


def prompt_ids(
    model: HookedModel, text: str, what: str = "the prompt", limits: RequestLimits = LIMITS
) -> list[int]:
    """The token ids of a text; DemoError where it has none, or more than a request may have."""
    if len(text) > limits.characters:
        raise DemoError(
            f"{what} is too long", expected=f"at most {limits.characters:,} characters", seen=f"{len(text):,}"
        )
    ids = model.token_ids([text])[0] if text.strip() else []
    if not ids:
        raise DemoError(f"{what} is empty", expected="a text of at least one token")
    most = min(limits.tokens, model.anatomy.context_tokens)
    if len(ids) > most:
        raise DemoError(f"{what} is too long", expected=f"at most {most} tokens", seen=f"{len(ids)} tokens")
    return ids
