"""How long a post is, as X counts: links as 23, CJK characters and emoji as two, all else by its range.

The counting is that of X's own library, `twitter-text`, in its third configuration (config/v3.json of
github.com/twitter/twitter-text; described at docs.x.com/fundamentals/counting-characters):

1. The text is normalised to NFC.
2. A link counts 23, however long it is.
3. An emoji counts 2, with its skin tone, its flag letters and whatever is joined to it.
4. Of all else a character counts 1 in the ranges below (Latin, Greek, Cyrillic, Arabic, Hebrew and others up
   to U+10FF, and most of general punctuation) and 2 outside of them (CJK, mathematical symbols, arrows).

Where X may or may not make a link of an address that is typed without `https://`, the larger count is taken.
"""

from __future__ import annotations

import re
import unicodedata

LIMIT = 280
LINK = 23
LIGHT = ((0x0000, 0x10FF), (0x2000, 0x200D), (0x2010, 0x201F), (0x2032, 0x2037))
"""The ranges in which a character counts 1."""

# What follows an address in a sentence is no part of it.
_ADDRESS = re.compile(r"https?://[^\s<>\"]*[^\s<>\"'.,;:!?)\]}]", re.I)
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
# Without a scheme: a generic domain, one of a country with a name before it, or any with a path.
_BARE = re.compile(
    rf"(?<![\w@.$#/-])(?:(?:{_LABEL}\.)+(?:com|org|net|edu|gov|dev|app|info|blog|science|io|ai)"
    rf"|(?:{_LABEL}\.){{2,}}[a-z]{{2}}|(?:{_LABEL}\.)+[a-z]{{2,}}(?=/))(?:/[^\s<>\"]*[^\s<>\"'.,;:!?)\]}}])?(?![\w-])",
    re.I,
)
_PICTURE = "[\u203c-\u3299\U0001f000-\U0001faff]\ufe0f?|[\u00a9\u00ae]\ufe0f"
_TONE = "[\U0001f3fb-\U0001f3ff]"
_EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}"  # a flag by two letters
    "|[0-9#*]\ufe0f?\u20e3"  # a key
    # A picture, in a skin tone, with tags (the flag of Wales), joined to others.
    f"|(?:{_PICTURE}){_TONE}?[\U000e0020-\U000e007f]*(?:\u200d(?:{_PICTURE}){_TONE}?)*"
)


def post_length(text: str) -> int:
    """How many characters of a post's 280 a text takes."""
    text = unicodedata.normalize("NFC", text)
    text, addresses = _ADDRESS.subn("", text)
    bare = [max(LINK, _weight(found[0])) for found in _BARE.finditer(text)]
    text, emoji = _EMOJI.subn("", _BARE.sub("", text))
    return LINK * addresses + sum(bare) + 2 * emoji + _weight(text)


def _weight(text: str) -> int:
    return sum(1 if any(low <= ord(c) <= high for low, high in LIGHT) else 2 for c in text)
