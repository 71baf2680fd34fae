"""Pieces of HTML that the site and a run's own page both have."""

from __future__ import annotations

import re

from markupsafe import Markup

from engine.report.addresses import WEB, may_be_followed
from engine.report.bibliography import ReferencePart
from engine.report.escape import for_site
from engine.report.popovers import LabelledFacts

_NUMBER_AND_SIGN = re.compile(r'(<button type="button" class="mech-number"[^>]*>[^<]*</button>)([.,;:!?)]+)')


def with_punctuation(text: str) -> str:
    """Each number with the punctuation behind it in a span that does not break; other text as it is.

    A browser may break a line behind a button, so that the next one would begin with a comma.
    """
    return _NUMBER_AND_SIGN.sub(r'<span class="mech-unbroken">\1\2</span>', text)


def description_list(facts: LabelledFacts) -> Markup:
    """Labelled facts as a description list."""
    rows = "".join(f"<div><dt>{for_site(label)}</dt><dd>{for_site(text)}</dd></div>" for label, text in facts)
    return Markup(f'<dl class="mech-facts">{rows}</dl>')


def alt_text(words: str) -> Markup:
    """What a chart shows, until a script has drawn it and says it itself."""
    return Markup(f'<span class="mech-alt" role="img" aria-label="{for_site(words)}"></span>')


def reference_part(part: ReferencePart) -> Markup:
    """A piece of a reference in the list."""
    text = for_site(part.text)
    # Asked again where it is printed, however the reference was made.
    if part.kind == "link" and may_be_followed(part.address, WEB):
        return Markup(f'<a href="{for_site(part.address)}">{text}</a>')
    return Markup(f"<em>{text}</em>") if part.kind == "emphasis" else text
