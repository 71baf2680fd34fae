"""A report's headline and key numbers as pages that list investigations show them.

The same HTML as on the report itself. Ids have the slug in them, since one page lists many investigations,
and a popover says what a number is and how sure: the run that it came from is told on the report.
"""

from __future__ import annotations

from markupsafe import Markup

from engine.report.numbers import Number
from engine.report.popovers import brief_facts
from engine.report.printers.site import SitePrinter, dialog


class ListingPrinter(SitePrinter):
    """Prints what is said of one investigation on pages that list them all."""

    def __init__(self, slug: str) -> None:
        super().__init__()
        self.slug = slug

    def _unique(self, wanted: str) -> str:
        return super()._unique(f"{wanted}-of-{self.slug}")

    def _evidence(self, id: str, number: Number, anchor: str) -> Markup:
        about = number.measurement.about if number.measurement else ""
        return dialog(id, number.name, about, brief_facts(number), link="")
