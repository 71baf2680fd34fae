"""Text from code, specs and data made safe to stand in a Markdown page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

POPOVERS = "popovers"  # the key in a page's front matter
HEAD_TAGS = "head_tags"  # likewise

_CODE = re.compile(r"(`[^`\n]+`)")


def page(title: str, body: str, *, about: str, hide: str = "") -> str:
    """A whole page: front matter, heading, body."""
    return f"{front_matter(title, about=about, hide=hide)}# {plain(title)}\n\n{body.strip()}\n"


def front_matter(
    title: str, *, about: str, hide: str = "", popovers: str = "", tags: Iterable[tuple[str, str]] = ()
) -> str:
    """The lines above a page: its title, a description for search engines, side columns to do without.

    `title` and `about` are text, and are escaped here: the theme writes them into its HTML as they are.
    `popovers` is HTML that the theme puts below the page (site/overrides/main.html): so much of it that
    Markdown and the search index, which would read it in vain, took most of the time of a build.
    `tags` are (name, content) of each `<meta>` that the theme puts into the page's head.
    """
    meta = [f"title: {_quoted(html.escape(title))}", f"description: {_quoted(html.escape(about))}"]
    meta += [f"hide: [{hide}]"] if hide else []
    if listed := [f"  - [{_quoted(name)}, {_quoted(content)}]" for name, content in tags]:
        meta += [f"{HEAD_TAGS}:", *listed]
    meta += [_popover_lines(popovers)] if popovers else []
    return "\n".join(["---", *meta, "---", "", ""])


def with_popovers(page_text: str, popovers: str) -> str:
    """A page that begins with front matter, with these popovers among it."""
    if not popovers:
        return page_text
    start, above, rest = page_text.partition("---\n")
    settings, end, body = rest.partition("---\n")
    return f"{start}{above}{settings}{_popover_lines(popovers)}\n{end}{body}"


def _popover_lines(popovers: str) -> str:
    # YAML takes not every character, and HTML has another way to write each of them.
    text = popovers.encode("ascii", "xmlcharrefreplace").decode()
    return "\n".join([f"{POPOVERS}: |", *(f"  {line}" for line in text.splitlines())])


def _quoted(text: str) -> str:
    """A scalar of YAML. One of JSON is none where a character (an emoji) takes two escapes there."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(plain)}"'


def plain(text: str) -> str:
    """Text whose angle brackets are text; code spans stay code."""
    return "".join(p if p.startswith("`") else html.escape(p, quote=False) for p in _CODE.split(text))


def code(text: str) -> str:
    """A code span, whatever the text holds; empty for none."""
    return f"`` {text} ``" if "`" in text else f"`{text}`" if text else ""


def row(*cells: str) -> str:
    """One line of a Markdown table; a bar in a code span needs no escape, another does."""
    return "| " + " | ".join(_cell(" ".join(c.split())) for c in cells) + " |"


def _cell(text: str) -> str:
    return "".join(p if p.startswith("`") else p.replace("|", "\\|") for p in _CODE.split(text))
