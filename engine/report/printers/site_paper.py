"""A paper on the site: pandoc's Markdown as in print, in which numbers and claims open their evidence.

Pandoc reads no HTML of a paper. So what opens the evidence stands in the Markdown as signs from a private
range of Unicode, which data cannot forge, and takes its place again in the HTML that pandoc wrote.
"""

from __future__ import annotations

import re

from markupsafe import Markup

from engine.report.claim_sentences import ClaimSentence
from engine.report.numbers import Number
from engine.report.printers.paper import PaperPrinter, for_pandoc
from engine.report.printers.site import SitePrinter

OPENING = "\ue010"
CLOSING = "\ue011"
_SIGN = re.compile(f"{OPENING}(\\d+){CLOSING}")
_SENTENCE = "\ue012"


class SitePaperPrinter(PaperPrinter):
    """Prints Markdown for pandoc with signs for the site's own HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.data = _without_signs
        self.site = SitePrinter()
        self.html: list[str] = []

    def number(self, number: Number) -> Markup:
        # The interval stands beside it as in print, where the text speaks of brackets.
        _, gap, interval = str(super().number(number)).partition("\u00a0\\[")
        return self._sign(str(self.site.number(number))) + Markup(gap + interval)

    def claim(self, cited: ClaimSentence, sentence: str) -> Markup:
        super().claim(cited, sentence)
        before, _, after = str(self.site.claim(cited, _SENTENCE)).partition(_SENTENCE)
        return self._sign(before) + Markup(sentence) + self._sign(after)

    def _sign(self, html: str) -> Markup:
        self.html.append(html)
        return Markup(f"{OPENING}{len(self.html) - 1}{CLOSING}")

    def with_html(self, text: str) -> str:
        """What pandoc wrote, with the site's HTML in the place of its signs."""
        return _SIGN.sub(lambda found: self.html[int(found[1])], text)

    def end(self) -> str:
        """The popovers of the page."""
        return self.site.end()


def _without_signs(value: object) -> Markup:
    return for_pandoc(str(value).translate({ord(c): "\ufffd" for c in (OPENING, CLOSING, _SENTENCE)}))
