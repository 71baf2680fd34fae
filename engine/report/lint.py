"""Numerals typed by hand, and claims that no sentence cites: what drifts or is left unsaid.

Only digits are looked at; number words ("three") are not. A numeral is left alone where it is

- part of a name that begins with a letter: L9H6, GPT-2, bf16, v1.9, blocks.6.hook_resid_pre, and the
  size after such a name: SmolLM2 135M;
- in code, a link's address, a citation, a footnote mark, an HTML tag, an attribute list or front matter;
- a list marker or heading number; a date, or a year after a name or a month; a version of three parts
  or after the word version; a reference such as Section 3 or Figure 2; the 95 % of an interval;
- in `{{ literal("375") }}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import nodes

from engine.report.dashed_names import without_dashes
from engine.report.grammar import CITE_CLAIM, named_outright, parsed
from engine.report.prose import blanked, line_at, without_addresses, without_code, without_tags
from engine.report.template_source import FORMULA, template_source, values_in_code

ConcernKind = Literal[
    "typed-number",
    "number-in-code",
    "uncited-claim",
    "unread-reference",
    "headline-without-control",
    "key-number-without-control",
    "number-written-two-ways",
    "not-the-extreme",
    "broken-sentence",
    "undecided-sentence",
    "undrawn-chart",
    "broken-template",
    "stale-cell",
    "stale-still",
    "broken-claim",
    "failed-check",
    "drift",
    "broken-link",
    "not-as-published",
    "failed-calibration",
    "unknown-source",
]

_MONTH = r"(?:Jan|Febr|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*\.?"
_YEAR = r"(?:19\d\d|20[0-3]\d)"

_NOT_PROSE = [
    re.compile(pattern, re.M | re.S)
    for pattern in (
        r"\[\^[^\]\n]+\]:?",
        r"\[(?:[^\[\]\n]|\n(?![ \t]*\n))*@(?:[^\[\]\n]|\n(?![ \t]*\n))*\]",
        r"(?<![\w@/.])@(?:\{[^{}\s]+\}|\w[\w:.#$%&+?~/-]*)(?:[ \t]?\[[^\[\]\n]*\])?",
        r"\{:?\s*(?:[.#]|[\w-]+=)[^{}\n]*\}",
        r"&#?\w+;",
        r":[a-z][\w+-]*:",
        r"^[ \t>]*\d+[.)](?=\s)",
        r"^[ \t]*#+[ \t]+\d+(?:\.\d+)*\.?(?=\s)",
    )
]
_ALLOWED = [
    re.compile(pattern)
    for pattern in (
        r"(?<![\w.])\d{4}-\d\d(?:-\d\d)?(?![\w-])",
        rf"(?<![\w.])(?:\d\d? )?{_MONTH} (?:\d\d?, )?{_YEAR}\b",
        rf"(?<=\()(?:[A-Z][^()=<>≈\d]*[ ,])?{_YEAR}[a-z]?(?=[);,])",
        rf"\b[A-Z][\w’'-]+(?: et al\.)?,? {_YEAR}[a-z]?(?=[).;,]|$)",
        r"(?<![\w.])\d+\.\d+\.\d+(?:\.?\w+)*",
        r"\b[Vv]ersions? \d[\w.]*",
        r"(?:\b(?:Sections?|Figures?|Figs?\.|Tables?|Equations?|Eqs?\.|Appendix|Chapters?|Issue|pages?|pp?\.)\s"
        r"|§ ?)\d+(?:\.\d+)*(?:[–-]\d+)?\b",
        r"\b95\s?% (?:CI|confidence|interval|bootstrap)",
        r"(?<!\w)(?=[\w.-]*(?:[A-Z]\w*[A-Z]|\d))[A-Za-z][\w.]*(?:-[\w.]+)*[ \u00a0]\d+(?:\.\d+)?[MB]\b",
        # Any word with what is joined to it; last, since it would take the `Figure` of `Figure 2` from above.
        r"(?<!\w)[^\W\d]\w*(?:[.\-_/]\w+)*",
    )
]
_NUMERAL = re.compile(r"\d(?:[\w.,:/%^-]*[\w%])?")


@dataclass(frozen=True)
class Concern:
    """Something that needs a person; `where` is file:line, or the run or family that it is about."""

    kind: ConcernKind
    where: str
    message: str


def lint(
    template_text: str,
    path: Path | str,
    claims: Iterable[str] = (),
    slug: str = "",
    spellings: Mapping[str, str] | None = None,
) -> list[Concern]:
    """What a reader of the template should put right, by line.

    `claims` are the ids of the spec's claims, each of which some sentence must cite, with or without the
    investigation's `slug` before it. `spellings` are what names with a dash are called in a template. Raises
    TemplateError where the template cannot be parsed.
    """
    where = str(path)
    text = without_dashes(template_source(template_text, where), where, spellings or {})
    tree = parsed(text, where)
    found = [*_typed_in_prose(text, where), *_typed_in_tags(tree), *_values_in_code(template_text)]
    concerns = [
        Concern(kind, f"{where}:{line}", message) for line, kind, message in sorted(found, key=lambda f: f[0])
    ]
    cited = {claim.removeprefix(f"{slug}.") for claim in cited_claims(tree)}
    return concerns + [
        Concern("uncited-claim", where, f"claim {claim!r} is registered, and no sentence cites it")
        for claim in claims
        if claim not in cited
    ]


def cited_claims(tree: nodes.Template) -> set[str]:
    """The claim ids that the template names outright."""
    return {claim for _, name, claim in named_outright(tree.find_all(nodes.Call)) if name == CITE_CLAIM}


LintLine = tuple[int, ConcernKind, str]
"""(line, kind, message), before the file's name is added."""


def _typed_in_prose(text: str, where: str) -> Iterator[LintLine]:
    prose = without_code(without_tags(text, where))
    for line, numeral in numerals(prose):
        yield line, "typed-number", _typed(numeral)


def numerals(prose: str) -> Iterator[tuple[int, str]]:
    """(line, numeral) for each numeral that is no part of a name."""
    for found in numeral_matches(prose):
        yield line_at(prose, found.start()), found[0]


def numeral_matches(prose: str) -> Iterator[re.Match[str]]:
    """Each numeral that is no part of a name, at its place in the prose."""
    # What is no prose goes first: an address may hold whatever the other patterns look for.
    prose = without_addresses(prose)
    for pattern in (*_NOT_PROSE, *_ALLOWED):
        prose = blanked(prose, pattern)
    yield from _NUMERAL.finditer(prose)


def _typed(numeral: str) -> str:
    return (
        f"{numeral!r} is typed by hand: print the measurement, as {{{{ experiment.name }}}}, "
        f'or mark it, as {{{{ literal("{numeral}") }}}}'
    )


def _typed_in_tags(tree: nodes.Template) -> Iterator[LintLine]:
    """Constants printed by a tag, such as `{{ 375 }}`, which draw on no measurement."""
    for output in tree.find_all(nodes.Output):
        for value in output.nodes:
            if isinstance(value, nodes.TemplateData):
                continue
            if any(name.name != FORMULA for name in _within(value, nodes.Name)):
                continue
            if _is_formula(value) and re.search(r"[A-Za-z]", _constants(value)):
                continue
            # As prose, so that `{{ "L9H6" }}` is the name that it is.
            for _, numeral in numerals(_constants(value)):
                yield value.lineno, "typed-number", _typed(numeral)


def _is_formula(node: nodes.Node) -> bool:
    """A formula with a letter in it defines something; one without is a number in other clothes."""
    return any(name.name == FORMULA for name in _within(node, nodes.Name))


def _constants(node: nodes.Node) -> str:
    return " ".join(str(c.value) for c in _within(node, nodes.Const) if not isinstance(c.value, bool))


def _within(node: nodes.Node, kind: type[nodes.Node]) -> Iterator:
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)


def _values_in_code(template_text: str) -> Iterator[LintLine]:
    """Code is printed as it is typed, so that a number in it would not be one."""
    for line in values_in_code(template_text):
        said = "code is printed as it is typed: move the value out, or put the code between raw tags"
        yield line, "number-in-code", said
