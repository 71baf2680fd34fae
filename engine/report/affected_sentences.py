"""The sentences of a text that rest on what moved: numbers that they print, claims that they cite.

A text is searched as it is written, not as it prints, so that the text of an old revision can be searched
without its data. A number that is asked of another model (`model=`, `.on(...)`) counts for every model but
the primary one: which one it is may be known only while rendering.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.report.prose import blanked, line_at, without_code, without_tags
from engine.report.template_source import template_source
from engine.runs.library import spelled_with_underscores, steps_of
from engine.runs.published.changes import EvidenceChanges, NumberChange, VerdictChange

LONGEST = 240
"""Characters of a sentence that are shown."""

_CLAIM = re.compile(
    r"""\{%-?\s*claim\s+["']([^"']+)["'](?:\s*,\s*["']([^"']+)["'])?\s*-?%\}(.*?)\{%-?\s*endclaim\s*-?%\}""",
    re.S,
)
_SENTENCE = re.compile(r"(?:[^.!?\n]|[.!?](?!\s)|\n(?![ \t]*(?:\n|[|#>*-])))+[.!?]?")
_EXPRESSION = re.compile(r"\{\{-?(.*?)-?\}\}", re.S)
_QUOTED = re.compile(r"""["']([^"']+)["']""")
_POINT = re.compile(r"""(\w+)\[\s*["']([^"']+)["']\s*\]""")
_NAME = re.compile(r"[\w-]+(?:\[[^\]]*\])?(?:\.[\w-]+)+(?:\[[^\]]*\](?:\.[\w-]+)*)?")
_ELSEWHERE = re.compile(r"\bmodel\s*=|\.on\(")


@dataclass(frozen=True)
class AffectedSentence:
    """A sentence with its place (`investigations/x/report.md:53`), and what of it moved.

    `judged` says how a claim that it cites stands now, empty where it cites none of those that flipped.
    """

    where: str
    sentence: str
    numbers: tuple[str, ...]
    judged: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether the text says otherwise than the evidence, now."""
        return self.judged.startswith("broken")


def affected_sentences(
    text: str, where: str, changes: EvidenceChanges, primary: str, slug: str = ""
) -> list[AffectedSentence]:
    """The sentences of a template that print a number of `changes` or cite a claim of it, from the top.

    In a publication every name begins with the `slug`; in a report of that investigation it is left out.
    TemplateError where the text is no template.
    """
    text = template_source(text, where)
    found = [
        *_claims(text, where, changes, primary, slug),
        *_prose(text, where, changes, primary, slug),
    ]
    return [sentence for _, sentence in sorted(found, key=lambda pair: pair[0])]


def _printed(piece: str, numbers: Iterable[NumberChange], primary: str, slug: str) -> tuple[str, ...]:
    """The numbers that moved among those that a piece of template prints, as it writes them."""
    of_primary = {spelled(n.name) for n in numbers if n.model == primary}
    of_others = {spelled(n.name) for n in numbers if n.model != primary}
    found: dict[str, None] = {}
    for expression in _EXPRESSION.findall(piece):
        moved = of_others if _ELSEWHERE.search(expression) else of_primary
        found |= dict.fromkeys(name for name in _names(expression, slug) if spelled(name) in moved)
    return tuple(found)


def _names(expression: str, slug: str) -> Iterator[str]:
    """Each `experiment.number` of an expression, also a quoted one, less the slug before it."""
    # `mid["seed=0"].l0` is a number of the entry `mid[seed=0]`.
    pointed = _POINT.sub(r"\1[\2]", expression)
    for text in (pointed, *_QUOTED.findall(pointed)):
        for name in _NAME.findall(text):
            steps = steps_of(name)
            if slug and not _same(steps.pop(0), slug):
                continue
            # What is read of a number (`.low`) comes behind its name.
            if len(steps) >= 2:
                yield ".".join(steps[:2])


def _same(name: str, slug: str) -> bool:
    """Whether a text names a slug, in either spelling."""
    return spelled_with_underscores(name) == spelled_with_underscores(slug)


def spelled(name: str) -> str:
    """A name as templates may write it: `far_seeds.x` for `far-seeds.x`; what stands in brackets stays."""
    label, _, number = name.rpartition(".")
    experiment, bracket, point = label.partition("[")
    return f"{spelled_with_underscores(experiment)}{bracket}{point}.{number}"


def _claims(
    text: str, where: str, changes: EvidenceChanges, primary: str, slug: str
) -> Iterator[tuple[int, AffectedSentence]]:
    """The sentences of claims whose verdict changed on the primary model, or that print what moved."""
    flipped = {v.claim: v for v in changes.verdicts if v.model == primary}
    for cited in _CLAIM.finditer(text):
        before, _, claim = cited[1].rpartition(".")
        is_own = _same(before, slug) if before else not slug
        change = flipped.get(claim) if is_own else None
        numbers = _printed(cited[3], changes.numbers, primary, slug)
        if change or numbers:
            judged = stands(cited[2] or "", change) if change else ""
            place = f"{where}:{line_at(text, cited.start())}"
            yield cited.start(), AffectedSentence(place, shown(cited[3]), numbers, judged)


def _prose(
    text: str, where: str, changes: EvidenceChanges, primary: str, slug: str
) -> Iterator[tuple[int, AffectedSentence]]:
    """The other sentences that print a number that moved."""
    outside = blanked(text, _CLAIM)
    # The tags are blanked, so that no dot of theirs ends a sentence.
    for sentence in _SENTENCE.finditer(without_code(without_tags(text, where))):
        start, end = sentence.span()
        if numbers := _printed(outside[start:end], changes.numbers, primary, slug):
            piece = text[start:end]
            start += len(piece) - len(piece.lstrip())
            yield start, AffectedSentence(f"{where}:{line_at(text, start)}", shown(piece), numbers)


def stands(asserted: str, change: VerdictChange) -> str:
    """How a sentence stands with the new verdict; `asserted` is what it says, empty for `supported`."""
    said = asserted or ("found here" if change.after.endswith("found here") else "supported")
    if not change.after:
        return f"no verdict now: the text says {said}"
    told = f"the text says {said}, now {change.after}"
    if said == change.after:
        return f"agrees: {told}"
    return f"undecided: {told}" if change.after in ("undetermined", "unmeasured") else f"broken: {told}"


def shown(piece: str) -> str:
    """A piece of template in one line: tags left out, each value as its name in brackets."""
    words = re.sub(r"\{%.*?%\}|\{#.*?#\}", " ", piece, flags=re.S)
    words = _EXPRESSION.sub(lambda found: f"[{found[1].strip()}]", words)
    line = " ".join(words.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4].rstrip()} ..."


def texts_of(folder: Path, slug: str, spec: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """(text, place) of all that an investigation says: its headline and its report."""
    place = f"investigations/{slug}"
    if isinstance(headline := spec.get("headline"), str):
        yield headline, f"{place}/spec.yaml, headline"
    report = folder / "report.md"
    if report.is_file():
        yield report.read_text(encoding="utf-8", errors="replace"), f"{place}/report.md"
