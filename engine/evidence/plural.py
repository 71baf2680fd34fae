"""A number of things in words.

By itself, since families use it: what else prints numbers is no part of the code that a run executes.
"""

from __future__ import annotations


def counted(n: int, unit: str) -> str:
    """`1 prompt`, `20 prompts`, `3 categories`."""
    if n != 1 and not unit.endswith("s"):
        unit = f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"
    return f"{n:,} {unit}"
