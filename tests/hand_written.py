"""The code of hand-written pages, block by block, with what a test puts in the place of what is large."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import REPOSITORY

_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.M | re.S)


def blocks(page: str, *languages: str) -> list[tuple[str, str, str]]:
    """(language, title, text) of each fenced block of site/`page` in these languages, in order."""
    text = (REPOSITORY / "site" / page).read_text(encoding="utf-8")
    return [found for found in _FENCE.findall(text) if found[0] in languages]


def replaced(text: str, instead: Mapping[str, str | Path]) -> str:
    """The text with small things in the place of large ones."""
    for large, small in instead.items():
        text = text.replace(large, str(small))
    return text
