"""Numbers for figures, tables, sections and equations, and words for what refers to them, as Quarto has it.

    ![Caption](picture.svg){#fig-x}      : Caption {#tbl-x}      ## Heading {#sec-x}      $$ ... $$ {#eq-x}
    ::: {#fig-x} ... the last paragraph is the caption :::

`@fig-x` becomes `Figure 2`, `[-@fig-x]` the number alone, and `[@fig-x; @fig-y]` both. Only what has a label
is numbered. Pandoc reads such a reference as a citation, so that every citation is looked at here: one that
is no label must be a key of the bibliography.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import TemplateError, nearest
from engine.publish.papers.document_tree import (
    Element,
    attributes_of,
    elements,
    link,
    plain_text,
    replaced,
    strong,
    text,
)

KINDS = {"fig": "Figure", "tbl": "Table", "sec": "Section", "eq": "Equation"}
_LABEL = re.compile(rf"({'|'.join(KINDS)})-[\w.:-]+")
_EQUATION = re.compile(r"\{#(eq-[\w.:-]+)\}(.*)")
UNNUMBERED = "unnumbered"


@dataclass
class PaperText:
    """What messages and checks need of a paper: its file, its text as written, the keys that it may cite."""

    file: str
    written: str
    keys: Collection[str] = ()
    faults: Mapping[str, TemplateError] = field(default_factory=dict)  # of works that cannot be read

    def where(self, needle: str) -> str:
        """The file, with the first line on which something is written."""
        found = re.search(rf"(?<![\w-]){re.escape(needle)}(?![\w-])", self.written)
        if not found:
            return self.file
        return f"{self.file}:{self.written.count(chr(10), 0, found.start()) + 1}"


@dataclass
class LabelNumbers:
    """What each label is called: `fig-x` is `Figure 2`."""

    numbers: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    sections: list[int] = field(default_factory=list)

    def next_of(self, kind: str) -> str:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return str(self.counts[kind])

    def next_section(self, level: int) -> str:
        """`2.1`, for the next heading of a level from 1."""
        self.sections = [*self.sections[:level], *[0] * (level - len(self.sections))]
        self.sections[level - 1] += 1
        return ".".join(map(str, self.sections))


def with_cross_references(document: dict[str, Any], sources: PaperText) -> dict[str, Any]:
    """The document with numbers in its captions and words in the place of its references.

    TemplateError with file and line for a label that is there twice, and with the nearest names for a
    reference to one, or to a work, that is not there.
    """
    document = replaced(document, _figure_of_div)
    document = _with_top_level_first(document)
    labels = LabelNumbers()
    for element in elements(document["blocks"]):
        _number(element, labels, sources)
    document = replaced(document, _equation(labels))
    return replaced(document, lambda element: _reference(element, labels, sources))


def _figure_of_div(element: Element) -> list[Element] | None:
    """`::: {#fig-x}` as a figure, `::: {#tbl-x}` as a table, with the last paragraph as their caption."""
    id = attributes_of(element)[0]
    if element["t"] != "Div" or not id.startswith(("fig-", "tbl-")) or not element["c"][1]:
        return None
    *blocks, last = element["c"][1]
    caption = [last] if last["t"] == "Para" and blocks else []
    blocks = blocks if caption else [*blocks, last]
    tables = [block for block in blocks if block["t"] == "Table"]
    if id.startswith("tbl-") and len(tables) == 1 and len(blocks) == 1:
        table = tables[0]
        table["c"][0][0] = id
        table["c"][1] = [None, caption or table["c"][1][1]]
        return [table]
    if len(blocks) == 1 and blocks[0]["t"] == "Figure":
        figure = blocks[0]
        figure["c"][0][0] = id
        figure["c"][1] = [None, caption or figure["c"][1][1]]
        return [figure]
    # An image alone is a paragraph where it has no caption of its own.
    inner = [{"t": "Plain", "c": b["c"]} if b["t"] == "Para" else b for b in blocks]
    return [{"t": "Figure", "c": [[id, [], []], [None, caption], inner]}]


def _with_top_level_first(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its highest headings at the first level, whichever the author begins with."""
    # Not those in a callout or figure, which are its title.
    headings = [element for element in document["blocks"] if element["t"] == "Header"]
    above = min((heading["c"][0] for heading in headings), default=1) - 1
    for heading in headings:
        heading["c"][0] -= above
    return document


def _number(element: Element, labels: LabelNumbers, sources: PaperText) -> None:
    """Count an element that is numbered, remember its label, and write the number into its caption."""
    id, classes, _ = attributes_of(element)
    if element["t"] == "Header" and UNNUMBERED not in classes:
        number = labels.next_section(element["c"][0])
        if id.startswith("sec-"):
            _remember(id, number, labels, sources)
    kind = id.partition("-")[0]
    if (element["t"], kind) in (("Figure", "fig"), ("Table", "tbl"), ("Figure", "tbl")):
        number = labels.next_of(kind)
        _remember(id, number, labels, sources)
        _head_caption(element["c"][1], f"{KINDS[kind]}\u00a0{number}.")
    if element["t"] in ("Para", "Plain"):
        for inline in element["c"]:
            if inline["t"] == "Str" and (found := _EQUATION.fullmatch(inline["c"])):
                _remember(found[1], labels.next_of("eq"), labels, sources)


def _remember(id: str, number: str, labels: LabelNumbers, sources: PaperText) -> None:
    if id in labels.numbers:
        where = sources.where(f"#{id}")
        raise TemplateError(f"two things are labelled {id!r}", where=where, expected="a label of its own")
    labels.numbers[id] = number


def _head_caption(caption: list[Any], words: str) -> None:
    """`Figure 2.` before the words of a caption, or in place of one."""
    blocks = caption[1]
    if not blocks:
        caption[1] = [{"t": "Plain", "c": [strong(words)]}]
        return
    blocks[0]["c"] = [strong(words), {"t": "Space"}, *blocks[0]["c"]]


def _equation(labels: LabelNumbers):
    """`$$ ... $$ {#eq-x}` as a span with the formula and its number, which each format lays out."""

    def numbered(element: Element) -> list[Element] | None:
        if element["t"] not in ("Para", "Plain"):
            return None
        inlines: list[Element] = []
        for inline in element["c"]:
            found = _EQUATION.fullmatch(inline["c"]) if inline["t"] == "Str" else None
            at = max((i for i, e in enumerate(inlines) if e["t"] == "Math"), default=None)
            if not found or at is None:
                inlines.append(inline)
                continue
            pairs = [["number", labels.numbers[found[1]]]]
            inlines[at:] = [{"t": "Span", "c": [[found[1], ["equation"], pairs], [inlines[at]]]}]
            inlines += text(found[2]) if found[2] else []
        return [{"t": element["t"], "c": inlines}]

    return numbered


def _reference(element: Element, labels: LabelNumbers, sources: PaperText) -> list[Element] | None:
    """A reference in words; a citation stays one, if there is such a work."""
    if element["t"] != "Cite":
        return None
    inlines: list[Element] = []
    works: list[Any] = []
    for each in element["c"][0]:
        id = each["citationId"]
        if not _LABEL.fullmatch(id):
            if fault := sources.faults.get(id):
                raise fault
            _refuse_unknown(id, sources.keys, "reference", sources)
            works.append(each)
            continue
        _refuse_unknown(id, labels.numbers, "label", sources)
        inlines += text(", ") if inlines else []
        inlines += _in_words(each, labels.numbers[id])
    if not inlines:
        return None
    if works:
        # Pandoc takes `@fig-x [@key]` for one citation.
        inlines += [{"t": "Space"}, {"t": "Cite", "c": [works, []]}]
    return inlines


def _in_words(cited: Any, number: str) -> list[Element]:
    """`Figure 2` as a link, with what the author wrote before and behind it."""
    id = cited["citationId"]
    # Words that the author wrote before it stand in the place of ours.
    name = plain_text(cited["citationPrefix"]) or KINDS[id.partition("-")[0]]
    alone = cited["citationMode"]["t"] == "SuppressAuthor"
    words = number if alone else f"{name}\u00a0{number}"
    return [link(text(words), f"#{id}"), *cited["citationSuffix"]]


def _refuse_unknown(id: str, known: Collection[str], what: str, sources: PaperText) -> None:
    if id in known:
        return
    none = "references.bib" if what == "reference" else "a {#label} on what is meant"
    raise TemplateError(
        f"no {what} {id!r}",
        where=sources.where(f"@{id}"),
        expected="one of " + ", ".join(known) if known else none,
        seen=f"@{id}",
        near=nearest(id, known),
    )
