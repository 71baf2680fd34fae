"""Python's search for objects that refer to each other in circles, which is a tenth of the time of a build.

Reading and printing hundreds of investigations makes millions of objects that stay, and few circles.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (100_000, 50, 50)
"""Objects made between two searches among the newest, and of those between two among older ones."""


@contextmanager
def collected_seldom() -> Iterator[None]:
    """Search less often inside, and never among what is there at the start."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def collect_seldom() -> None:
    """The same from here on, in a process that does nothing else."""
    gc.freeze()
    gc.set_threshold(*SELDOM)
