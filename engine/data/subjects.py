"""The subject of a prompt, as the prompt spells it: an accented letter can be one code point or two."""

from __future__ import annotations

import unicodedata


def as_spelled_in(prompt: str, subject: str) -> str | None:
    """The last stretch of the prompt that equals the subject after NFC (Unicode Standard Annex 15); None
    where there is none."""
    if subject in prompt:
        return subject
    composed = unicodedata.normalize("NFC", subject)
    if composed not in unicodedata.normalize("NFC", prompt):
        return None
    # NFC changes lengths, so that a place in the composed prompt is none in the prompt itself: try stretches.
    # From the end, since the last occurrence is meant.
    for start in reversed(range(len(prompt))):
        for end in range(start + 1, len(prompt) + 1):
            if unicodedata.normalize("NFC", prompt[start:end]) == composed:
                return prompt[start:end]
    return None


def with_code_points(text: str) -> str:
    """The text in quotes, with its code points where it may look like another: `'Perú' ('Peru\\u0301')`."""
    return repr(text) if text.isascii() else f"{text!r} ({text!a})"
