"""Completions as they are printed: the first words, and how much of the rest is masked.

An answer to a harmful request is never printed whole, wherever it goes: a page, a log or a terminal. A few
words show whether it refuses, complies or is nonsense; what it explains is not shown.
"""

from __future__ import annotations

WORDS = 5
"""Enough for "I'm sorry, but I can't" and for "Sure, here is how to"; too few to tell how."""
LONGEST_WORD = 12
"""Characters of a word that are shown: a script without spaces writes whole sentences in one word."""
MASK = "\N{FULL BLOCK}" * 3


def masked(text: str, words: int = WORDS) -> str:
    """At most the first `words` words of a completion, on one line, and how many characters follow.

    No word is shown beyond LONGEST_WORD characters, and none after one that was cut, so that at most `words`
    times LONGEST_WORD characters of the text are seen, whatever it is made of. Characters that are not seen
    themselves (controls, marks of direction, zero widths) are dropped. An empty completion says so.
    """
    found = _visible(text).split()
    if not found:
        return "(empty)"
    shown: list[str] = []
    for word in found[: max(0, words)]:
        shown.append(word[:LONGEST_WORD])
        if len(word) > LONGEST_WORD:
            break
    # White space between words is not counted: how it was written is not shown either.
    hidden = sum(map(len, found)) - sum(map(len, shown))
    if not hidden:
        return " ".join(shown)
    return " ".join([*shown, f"{MASK} ({hidden} more character{'s' * (hidden != 1)})"])


def _visible(text: str) -> str:
    """The text with a space for line breaks and the like, and without what has no width of its own."""
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "" for character in text
    )
