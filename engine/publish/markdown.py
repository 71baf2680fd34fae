"""Text from code, specs and data made safe to stand in a Markdown page."""

from __future__ import annotations

import html
import json
import re

_CODE = re.compile(r"(`[^`\n]+`)")


def page(title: str, body: str, *, about: str, hide: str = "") -> str:
    """A whole page: front matter, heading, body."""
    return f"{front_matter(title, about=about, hide=hide)}# {plain(title)}\n\n{body.strip()}\n"


def front_matter(title: str, *, about: str, hide: str = "") -> str:
    """The lines above a page: its title, a description for search engines, side columns to do without."""
    meta = [f"title: {json.dumps(title)}", f"description: {json.dumps(about)}"]
    meta += [f"hide: [{hide}]"] if hide else []
    return "\n".join(["---", *meta, "---", "", ""])


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
