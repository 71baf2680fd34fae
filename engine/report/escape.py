"""Text from data made safe to stand in prose: whatever it holds, it appears on the page as text.

Prompts, answers, model names and error messages may hold `<script>`, Markdown, template syntax or the
control characters that Python-Markdown keeps for itself.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

from markupsafe import Markup

# Also what extensions would read that the site does not load (smart dashes, emoji, bare addresses), so that
# loading one of them opens nothing.
_HAZARD = re.compile(
    r"""["'#$&(*+/<=>@\[\\\]^_`{|}~] | :(?=\S) | \A[:-] | -(?=-) | (?<=-)- | (?<=www)\.""", re.X
)
_LIST_MARK = re.compile(r"\A(\d+)([.)])(?=\s|\Z)")
_BACKSLASHED = re.compile(r"([\\`*_{}\[\]<>#|~$@^&])")
_BEFORE_PERCENT = re.compile(r"(?<=\d) (?=%)")
_CONTROLS = ("Cc", "Cs")
# Marks of writing direction make a text read otherwise than it is stored.
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def for_site(value: object) -> Markup:
    """Text as entities: safe in Markdown prose, in a table cell, in HTML and in an attribute."""
    return _text_for_site(str(value))


@lru_cache(maxsize=4096)
def _text_for_site(value: str) -> Markup:
    """Kept, since the numbers of a page share most of their evidence: model, versions, date, command."""
    text = _HAZARD.sub(lambda found: _entity(found[0]), unbroken(one_line(value)))
    return Markup(_LIST_MARK.sub(lambda found: found[1] + _entity(found[2]), text))


def sentence_for_site(value: str) -> Markup:
    """A sentence that a family or an author wrote: as `for_site`, and what stands in backticks as code."""
    # Split at a group, every second piece is what the group matched.
    pieces = map(for_site, re.split(r"`([^`]+)`", value))
    parts = [Markup(f"<code>{piece}</code>") if at % 2 else piece for at, piece in enumerate(pieces)]
    return Markup("").join(parts)


def unbroken(text: str) -> str:
    """The text with a space before `%` that does not break, so that no line begins with the sign."""
    return _BEFORE_PERCENT.sub("\u00a0", text)


def _entity(character: str) -> str:
    return f"&#x{ord(character):X};"


def for_text(value: object) -> Markup:
    """Text with Markdown's own characters behind backslashes."""
    return Markup(_BACKSLASHED.sub(r"\\\1", one_line(value)))


def as_it_is(value: object) -> Markup:
    """Text on one line and otherwise as it is, for places where nothing reads Markdown or HTML."""
    return Markup(one_line(value))


def preformatted(text: str) -> Markup:
    """Text for inside `<pre>` in a block of HTML, where line breaks count and Markdown is not read."""
    return Markup(html.escape("\n".join(map(_printable, text.splitlines()))))


def one_line(value: object) -> str:
    """The text with line breaks shown as a sign, and control characters as the replacement character."""
    # A line break would end the table row or the heading that the text stands in.
    return _printable(re.sub(r"\r\n|[\r\n\v\f\x85\u2028\u2029]", "⏎", str(value)))


def _printable(text: str) -> str:
    if text.isprintable():  # nearly all of it is, and no control or direction mark counts as printable
        return text
    return "".join(
        "\ufffd" if c in _DIRECTIONS or (c != "\t" and unicodedata.category(c) in _CONTROLS) else c
        for c in text
    )
