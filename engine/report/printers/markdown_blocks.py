"""Blocks of Markdown, as the site and plain text both write them."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup


def block(*lines: str) -> Markup:
    """Lines that stand between blank lines, as Markdown wants a block."""
    return Markup("\n\n" + "\n".join(lines) + "\n\n")


def joined(blocks: Iterable[object]) -> Markup:
    """Blocks one below the other; those with nothing in them are left out."""
    return Markup("\n\n".join(str(b).strip("\n") for b in blocks if b))


def bulleted(items: Iterable[str]) -> Markup:
    """A list of what is markup already."""
    return Markup("\n".join(f"- {item}" for item in items))


def headed(heading: str, blocks: Iterable[object]) -> Markup:
    """A heading of the second level, in markup, and what stands under it."""
    return joined([f"## {heading}", *blocks])
