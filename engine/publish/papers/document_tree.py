"""Pandoc's document tree as JSON has it: `{"t": "Para", "c": [...]}`, walked and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Element = dict[str, Any]
Attributes = list[Any]
"""[id, classes, [[key, value], ...]]"""


def elements(tree: Any) -> Iterator[Element]:
    """Every element, in the order of the document."""
    if isinstance(tree, dict):
        if "t" in tree:
            yield tree
        for value in tree.values():
            yield from elements(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from elements(value)


def replaced(tree: Any, by: Callable[[Element], list[Element] | None]) -> Any:
    """The tree with each element for which `by` gives a list replaced by it, from the inside out."""
    if isinstance(tree, dict):
        return {key: replaced(value, by) for key, value in tree.items()}
    if not isinstance(tree, list):
        return tree
    found: list[Any] = []
    for value in tree:
        inner = replaced(value, by)
        others = by(inner) if isinstance(inner, dict) and "t" in inner else None
        found.extend([inner] if others is None else others)
    return found


def attributes_of(element: Element) -> Attributes:
    """Its id, classes and pairs; empty ones where it has none."""
    if element["t"] == "Header":
        return element["c"][1]
    if element["t"] in ("Div", "Span", "Figure", "Table", "Image", "Link", "Code", "CodeBlock"):
        return element["c"][0]
    return ["", [], []]


def text(words: str) -> list[Element]:
    """Words as inline elements."""
    found: list[Element] = []
    for word in words.split(" "):
        found += [{"t": "Space"}] if found else []
        found += [{"t": "Str", "c": word}] if word else []
    return found


def strong(words: str) -> Element:
    return {"t": "Strong", "c": text(words)}


def paragraph(inlines: list[Element]) -> Element:
    return {"t": "Para", "c": inlines}


def div(classes: list[str], blocks: list[Element], id: str = "") -> Element:
    return {"t": "Div", "c": [[id, classes, []], blocks]}


def link(inlines: list[Element], target: str) -> Element:
    return {"t": "Link", "c": [["", [], []], inlines, [target, ""]]}


def raw(format: str, content: str) -> Element:
    return {"t": "RawBlock", "c": [format, content]}


def plain_text(tree: Any) -> str:
    """The words of a piece of the tree."""
    words = {"Space": " ", "SoftBreak": " ", "LineBreak": " "}
    return "".join(
        words.get(e["t"], e["c"] if e["t"] == "Str" else e["c"][1] if e["t"] in ("Code", "Math") else "")
        for e in elements(tree)
    )
