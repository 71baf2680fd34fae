"""Names with dashes in a template: `fact-recall.lens.commit_depth`, which Jinja reads as `fact - recall....`.

Before a template is parsed, each such name that is known is written with underscores, where it stands by
itself in a tag or an expression: `fact_recall.lens.commit_depth`. Strings and prose are left alone, and so is
`fact - recall`, since between spaces a dash is a minus sign.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from engine.report.grammar import placed_tokens
from engine.runs.library import spelled_with_underscores

_CODE = ("name", "operator", "integer", "float", "whitespace")


def identifiers(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """What each name that is no identifier is called in a template, none as another or as what is taken."""
    found: dict[str, str] = {}
    names = list(names)
    used = {*taken, *(name for name in names if name.isidentifier())}
    for name in names:
        if not name.isidentifier():
            spelled = spelled_with_underscores(name)
            while spelled in used:
                spelled += "_"
            found[name] = spelled
            used.add(spelled)
    return found


def without_dashes(text: str, where: str, spellings: Mapping[str, str]) -> str:
    """The template with every name of `spellings` in its code as that name is spelled there; lines stay."""
    written = [name for name in spellings if name in text]
    if not written:
        return text
    # The longest first, so that `fact-recall.patch-heads` is not taken for `fact-recall`. A name is preceded
    # by no word, dot or `word-`, and followed by no word or dash, of which it would be a part.
    alternatives = "|".join(re.escape(name) for name in sorted(written, key=len, reverse=True))
    name = re.compile(rf"(?<![\w.])(?<![\w)\]]-)({alternatives})(?![\w-])")
    code = ["\0" if character != "\n" else "\n" for character in text]
    for kind, token, start in placed_tokens(text, where):
        if kind in _CODE:
            code[start : start + len(token)] = token
    # From the last to the first, so that the places of those before it stay right.
    for found in reversed(list(name.finditer("".join(code)))):
        text = f"{text[: found.start()]}{spellings[found[1]]}{text[found.end() :]}"
    return text
