"""Wikipedia's articles out of a dump, as plain prose: markup, tables, references and templates are taken out.

Rules of their own and no parser: what a language model is to read is running text, and a formula or a table
that is lost is no loss to it. The same dump gives the same text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from io import BufferedIOBase
from xml.etree import ElementTree

GONE = re.compile(
    r"<!--.*?-->"
    r"|<(ref|math|gallery|timeline|source|syntaxhighlight|code|pre|imagemap|nowiki)\b[^>]*?"
    r"(?:/>|>.*?</\1\s*>)"
    r"|<table\b.*?</table>",
    re.DOTALL | re.IGNORECASE,
)
"""Comments, references and whatever holds no prose, with its contents."""
INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:[^{}]|\{(?!\|)|\}(?!\})|(?<!\|)\})*?\|\}")
"""A template or a table without another one inside."""
FILE = re.compile(
    r"\[\[\s*(?:File|Image|Category|Media|[a-z\-]{2,12}):[^\[\]]*(?:\[\[[^\[\]]*\]\][^\[\]]*)*\]\]",
    re.IGNORECASE,
)
"""Pictures with their captions, categories and links to other languages."""
LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
EXTERNAL = re.compile(r"\[(?:https?|ftp)://\S+\s*([^\]]*)\]")
TAG = re.compile(r"</?[a-zA-Z][^>]*>")
HEADING = re.compile(r"^=+\s*(.*?)\s*=+\s*$", re.MULTILINE)
MARKER = re.compile(r"^[*#:;]+\s*", re.MULTILINE)
LEFT_OVER = re.compile(r"^[|!{}].*$", re.MULTILINE)
"""Lines of tables that were not closed."""
BLANK = re.compile(r"\n\s*\n\s*")


def articles(dump: BufferedIOBase) -> Iterator[str]:
    """The prose of each article of a dump in MediaWiki's XML, in its order, without redirects."""
    space = redirect = text = ""
    for _, element in ElementTree.iterparse(dump):
        # Tags carry the export format's namespace, which differs from version to version.
        tag = element.tag.rpartition("}")[2]
        if tag == "ns":
            space = element.text or ""
        elif tag == "redirect":
            redirect = "yes"
        elif tag == "text":
            text = element.text or ""
        elif tag == "page":
            # Old dumps mark redirects in the text alone.
            is_article = space in ("", "0") and not redirect and not text.lower().startswith("#redirect")
            if is_article and (prose := plain(text)):
                yield prose
            space = redirect = text = ""
            element.clear()


def plain(wikitext: str) -> str:
    """Wikitext as paragraphs of prose."""
    text = GONE.sub("", html.unescape(wikitext))
    # From the inside out: templates stand in templates.
    while (without := INNERMOST.sub("", text)) != text:
        text = without
    text = FILE.sub("", text)
    # Twice: a link may stand inside another's text.
    for _ in range(2):
        text = LINK.sub(r"\1", text)
    text = TAG.sub("", EXTERNAL.sub(r"\1", text)).replace("'''", "").replace("''", "")
    text = LEFT_OVER.sub("", MARKER.sub("", HEADING.sub(r"\1", text)))
    return BLANK.sub("\n\n", text).strip()
