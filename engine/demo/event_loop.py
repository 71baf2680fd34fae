"""Building parts of Gradio inside a running event loop.

Where none is running, Gradio makes one for each of its locks and never closes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")


def within_loop(make: Callable[[], Made]) -> Made:
    """What `make` gives, made while an event loop of its own is running."""

    async def making() -> Made:
        return make()

    return asyncio.run(making())
