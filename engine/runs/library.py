"""Ledgers by slug, from which a text prints: a report of one investigation, a publication of several.

In a report the names of its own investigation go without saying (`lens.commit_depth`); of another the slug is
written before them (`fact-recall.lens.commit_depth`), and a publication writes it before every name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from engine.errors import TemplateError, nearest
from engine.runs.ledger import Ledger

_WORD = re.compile(r"\w+(?:-\w+)*")


@dataclass(frozen=True)
class Library:
    """The ledgers that a text may print from. `own` is the slug of its own investigation, if it has one.

    `slugs` are those of all investigations that there are, also where a ledger was left out.
    """

    ledgers: Mapping[str, Ledger]
    own: str = ""
    slugs: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Every slug that a text can name."""
        return tuple(dict.fromkeys([*self.ledgers, *self.slugs]))

    def ledger(self, slug: str = "") -> Ledger:
        """An investigation's ledger, the own one by default; TemplateError with the nearest slugs."""
        if not slug and not self.own:
            raise TemplateError(
                "this text is of no investigation", expected="the slug of one: " + ", ".join(self.known)
            )
        wanted = slug or self.own
        if wanted in self.ledgers:
            return self.ledgers[wanted]
        if wanted in self.slugs:
            # `named_in` left it out: what is printed must follow from the text for the pages to be kept.
            raise TemplateError(
                f"the investigation {wanted!r} is not named in this text",
                expected="its slug written out, and not put together from parts",
            )
        raise TemplateError(
            f"no investigation {wanted!r}",
            expected="one of " + ", ".join(self.known),
            seen=wanted,
            near=nearest(wanted, self.known),
        )

    def split(self, name: str) -> tuple[str, str]:
        """(slug, `experiment.number`) of a name with or without a slug; the slug is empty where it has none.

        `layer0[seed=3].l0` has none: dots in brackets belong to a value. TemplateError where a text of no
        investigation leaves the slug out.
        """
        steps = steps_of(name)
        if len(steps) > 2:
            slug, rest = steps[0], name[len(steps[0]) + 1 :]
            return ("" if slug == self.own else slug), rest
        if not self.own:
            raise self._without_slug(name)
        return "", name

    def claim(self, name: str) -> tuple[str, str]:
        """(slug, claim id) of `claim-id` or `slug.claim-id`; the slug is empty for a claim of its own."""
        slug, dot, claim = name.rpartition(".")
        if not dot and not self.own:
            raise self._without_slug(name)
        return ("" if slug == self.own else slug), claim

    def named_in(self, *texts: str) -> Library:
        """The own ledger and those whose slug is written in these texts, in either spelling.

        What a page says follows from the texts and from these ledgers, so that it can be kept by them.
        """
        named = named_slugs(self.ledgers, texts) | {self.own}
        ledgers = {slug: ledger for slug, ledger in self.ledgers.items() if slug in named}
        return replace(self, ledgers=ledgers, slugs=self.known)

    def _without_slug(self, name: str) -> TemplateError:
        experiment = steps_of(name)[0].partition("[")[0]
        owners = [
            slug
            for slug, ledger in self.ledgers.items()
            if experiment in ledger.spec.experiments or name in ledger.spec.claims
        ]
        return TemplateError(
            f"{name!r} does not say of which investigation it is",
            expected=f"SLUG.{name}, with one of " + ", ".join(self.known),
            near=[f"{slug}.{name}" for slug in owners],
        )


def library_of(ledgers: Ledger | Library) -> Library:
    """A ledger alone is a library of its own."""
    return ledgers if isinstance(ledgers, Library) else Library({ledgers.slug: ledgers}, ledgers.slug)


def named_slugs(slugs: Iterable[str], texts: Iterable[str]) -> set[str]:
    """Those from which these texts may print: they write the slug, with dashes or underscores."""
    words = {word for text in texts for word in _WORD.findall(text)}
    return {slug for slug in slugs if slug in words or spelled_with_underscores(slug) in words}


def written_text(spec: Path) -> str:
    """What a person wrote of an investigation: its spec, which has the headline, and its report."""
    files = (spec, spec.with_name("report.md"))
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())


@cache
def spelled_with_underscores(name: str) -> str:
    """`fact_recall` for `fact-recall`: the spelling in which a name has no minus sign."""
    spelled = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return f"_{spelled}" if spelled[:1].isdigit() else spelled


def steps_of(name: str) -> list[str]:
    """A name cut at its dots, those in brackets apart: `layer0[lr=0.1].l0` has two steps."""
    steps = [""]
    depth = 0
    for character in name:
        depth += (character == "[") - (character == "]")
        if character == "." and depth == 0:
            steps.append("")
        else:
            steps[-1] += character
    return steps
