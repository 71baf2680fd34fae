"""Which addresses a page may lead to, as a browser reads them.

Texts and bibliographies come from anywhere, and an address such as `javascript:...` would run on the page of
whoever follows it.
"""

from __future__ import annotations

import html
import re

WEB = ("http", "https")
"""The schemes of a web address."""
OF_AUTHORS = ("", *WEB, "mailto")
"""Those of a link in a text; one without any leads to a page or file of the site."""

_SCHEME = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]*):")
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2060\ufeff\\]")


def may_be_followed(address: str, schemes: tuple[str, ...] = OF_AUTHORS) -> bool:
    """Whether the scheme that a browser reads from an address is one of those."""
    return scheme_of(address) in schemes


def scheme_of(address: str) -> str:
    """In lower case; empty where there is none."""
    found = _SCHEME.match(as_a_browser_reads(address))
    return found[1].lower() if found else ""


def as_a_browser_reads(address: str) -> str:
    """The address with entities decoded, and without the signs that nobody sees."""
    return _UNSEEN.sub("", decoded(address))


def decoded(text: str) -> str:
    """Text with its entities as signs."""
    for _ in range(3):  # Markdown may decode what was written twice
        text = html.unescape(text)
    return text
