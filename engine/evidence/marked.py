"""Text in which some tokens stand out with a strength: readable as it is, highlighted on the site.

A marked token is written `⟪ Paris|3.41⟫`: its text, a bar, its strength, which a CSV keeps. Where the text
itself holds one of these brackets, it becomes a single angle bracket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

OPEN, CLOSE, BAR = "⟪", "⟫", "|"
_MARKED = re.compile(rf"{OPEN}([^{OPEN}{CLOSE}]*)\{BAR}([0-9.e+-]+){CLOSE}")
_PLAIN = str.maketrans({OPEN: "⟨", CLOSE: "⟩"})


class TextSegment(NamedTuple):
    """A stretch of text; strength 0 where it is not marked."""

    text: str
    strength: float


def marked(tokens: Iterable[str], strengths: Iterable[float]) -> str:
    """The tokens as one text; those of a strength above 0 are marked."""
    parts = zip((t.translate(_PLAIN) for t in tokens), strengths, strict=True)
    return "".join(
        f"{OPEN}{text}{BAR}{strength:.3g}{CLOSE}" if strength > 0 else text for text, strength in parts
    )


def segments_of(text: str) -> Iterator[TextSegment]:
    """The stretches of a marked text, in order."""
    done = 0
    for found in _MARKED.finditer(text):
        if found.start() > done:
            yield TextSegment(text[done : found.start()], 0.0)
        try:
            strength = float(found[2])
        except ValueError:
            strength = 0.0
        yield TextSegment(found[1], strength)
        done = found.end()
    if done < len(text):
        yield TextSegment(text[done:], 0.0)


def is_marked(value: object) -> bool:
    """Whether a value is text with a marked token in it."""
    return isinstance(value, str) and _MARKED.search(value) is not None
