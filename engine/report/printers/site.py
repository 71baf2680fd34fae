"""The site's way of showing evidence: inline HTML that works without a script, by keyboard and by ear.

Numbers and verdicts are buttons that open a native popover (`popovertarget`); the browser closes it by
Esc or a press elsewhere, tells assistive technology, and moves the focus into and out of it. In a
paragraph stand only buttons and spans. The popovers stand once each at the end of the page, outside of
the prose and of the search index, so that a number shown ten times carries its evidence once.

Each of them has an id of its own, by which a text elsewhere links to it: `lens.final_rank`, with the model
behind it where that is not the primary one, and `claim.rank-falls`. What stands on the page again has `-2`
behind that. A script opens the popover of the one that the address names.

Classes, for the theme:
  button.mech-number[id][data-state=measured|published|unmeasured|withheld]   .mech-published-mark
  span.mech-claim[id][data-claim][data-verdict][data-asserted][data-broken]
    > span.mech-sentence, span.mech-hypothesis
  button.mech-verdict.mech-{supported,contradicted,undetermined,unmeasured,found-here,not-found-here}
  div.mech-popovers > div.mech-popover[popover] > p.mech-popover-title, dl.mech-facts, button.mech-close
  p.mech-share > a.mech-permalink, button.mech-copy-link[hidden], which a script may reveal
  p.mech-headline, div.mech-cards > div.mech-card > p.mech-card-{value,about,control}
  span|div.mech-copyable > code|pre and button.mech-copy[hidden], likewise
  figure.mech-chart[data-spec] > div.mech-chart-view > img.mech-picture, figcaption; span.mech-downloads;
  span.mech-alt in the place of the picture where there is none
  mark.mech-token[style=--mech-strength] in the cells of a table
  div.mech-table, p.mech-table-note, p.mech-notice, details.mech-fold
  a.mech-citation[id], ol.mech-references > li > a.mech-back
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup

from engine.errors import PictureError
from engine.evidence.result import Figure
from engine.evidence.verdicts import Verdict
from engine.report.bibliography import Reference
from engine.report.charts.chart import Chart
from engine.report.charts.pictures import PictureCache
from engine.report.citations import CitationForm, cited_in_words
from engine.report.claim_sentences import ClaimSentence, css_class, share_of
from engine.report.escape import for_site, preformatted, sentence_for_site
from engine.report.highlight import site_cell
from engine.report.key_numbers import KeyPair
from engine.report.mathml import mathml
from engine.report.nested_blocks import one_line_of_html
from engine.report.numbers import MARKERS, Number
from engine.report.popovers import LabelledFacts, claim_facts, command_of, number_facts
from engine.report.printers.html_parts import alt_text, description_list, reference_part
from engine.report.printers.markdown_blocks import block, bulleted, headed
from engine.report.tables import Grid, markdown


class SitePrinter:
    """Prints one page; collects its popovers and keeps its ids unique."""

    data = staticmethod(for_site)
    brackets = ("(", ")")

    def __init__(self, pictures: PictureCache | None = None) -> None:
        """With `pictures`, charts stand on the page as those until a script draws them.

        `svg` are these, by the chart's id; `refused` says of which charts there is none, and why.
        """
        self.pictures = pictures
        self.svg: dict[str, str] = {}
        self.refused: dict[str, PictureError] = {}
        self.popovers: dict[str, Markup] = {}
        self.ids: set[str] = set()
        self.id_of: dict[tuple[str, ...], str] = {}
        self.cited_at: dict[str, list[str]] = {}  # the ids of the places that cite a reference, by its key

    def number(self, number: Number) -> Markup:
        """A button with the digits, which opens the evidence."""
        anchor = self._unique(number_anchor(number))
        target = self._popover(
            ("n", number.entry.model, number.name), lambda id: self._evidence(id, number, anchor)
        )
        text = for_site(number.text)
        return Markup(
            f'<button type="button" class="mech-number" id="{anchor}" data-state="{number.state}" '
            f'popovertarget="{target}" aria-haspopup="dialog">{text}</button>'
        )

    def _evidence(self, id: str, number: Number, anchor: str) -> Markup:
        facts = number_facts(number, number.comparison)
        about = number.measurement.about if number.measurement else ""
        link = _permalink(anchor, "number")
        return dialog(id, number.name, about, facts, link, command_of(number.entry, number.ledger.slug))

    def headline(self, sentence: str) -> Markup:
        return block(f'<p class="mech-headline">{sentence}</p>')

    def key_numbers(self, pairs: Sequence[KeyPair]) -> Markup:
        """A card for each number, with its control below it; both open their evidence."""
        cards = "".join(self._card(pair) for pair in pairs)
        return block(f'<div class="mech-cards" role="group" aria-label="Key numbers">{cards}</div>')

    def _card(self, pair: KeyPair) -> str:
        measurement = pair.number.measurement
        quantity = measurement.quantity if measurement and pair.number.state not in MARKERS else ""
        unit = f" <small>{for_site(quantity)}</small>" if quantity else ""
        lines = [
            f'<p class="mech-card-value">{self.number(pair.number)}{unit}</p>',
            f'<p class="mech-card-about">{for_site(pair.says)}</p>',
        ]
        if pair.control is not None:
            words = f", {for_site(pair.control_says)}" if pair.control_says else ""
            control = f"Control: {self.number(pair.control)}{words}"
            lines.append(f'<p class="mech-card-control">{control}</p>')
        return f'<div class="mech-card">{"".join(lines)}</div>'

    def claim(self, cited: ClaimSentence, sentence: str) -> Markup:
        """The sentence, the hypothesis that it rests on, where it says another, and the verdict on that."""
        anchor = self._unique(claim_anchor(cited.id))
        link = _permalink(anchor, "claim")
        target = self._popover(
            ("c", cited.id), lambda id: dialog(id, f"Claim {cited.id}", "", claim_facts(cited), link)
        )
        verdict = cited.verdict.verdict
        broken = ' data-broken="true"' if cited.is_broken else ""
        words = for_site(cited.mark or verdict)
        button = (
            f'<button type="button" class="mech-verdict {css_class(verdict)}" popovertarget="{target}" '
            f'aria-haspopup="dialog">{words}</button>'
        )
        # Else the true sentence "it is the heads" would stand beside the verdict on "it is the MLPs".
        if not cited.says_the_hypothesis:
            supposed = f"Hypothesis: {for_site(cited.hypothesis)}"
            button = f'<span class="mech-hypothesis">{supposed} {button}</span>'
        return Markup(
            f'<span class="mech-claim" id="{anchor}" data-claim="{for_site(cited.id)}" '
            f'data-verdict="{for_site(verdict)}" data-asserted="{for_site(cited.asserted)}"{broken}>'
            f'<span class="mech-sentence">{sentence}</span> {button}</span>'
        )

    def verdict(self, verdict: Verdict) -> Markup:
        """The verdict in one table cell."""
        share = for_site(share_of(verdict))
        badge = f'<span class="mech-verdict {css_class(verdict.verdict)}">{for_site(verdict.verdict)}</span>'
        return Markup(f"{badge} {share}".strip())

    def formula(self, tex: str, display: bool) -> Markup:
        """A span around it: Markdown would take a line that begins with `<math` for a block of HTML."""
        block_class = " mech-display" if display else ""
        return Markup(f'<span class="mech-formula{block_class}">{mathml(tex, display)}</span>')

    def chart(self, id: str, figure: Figure, chart: Chart, table_id: str) -> Markup:
        """A figure that a script draws; without it the picture, the words and the data stay."""
        spec = f"charts/{id}.json"
        alt = for_site(chart.alt)
        caption = " ".join(for_site(t) for t in (figure.caption, chart.sampled) if t)
        files = [(f"tables/{table_id}.csv", "Data (CSV)"), (spec, "Chart (Vega-Lite)")]
        view = self._picture(id, chart)
        if view:
            files.append((f"charts/{id}.svg", "Picture (SVG)"))
        lines = [
            f'<figure class="mech-chart" id="{self._unique(f"chart-{id}")}" data-spec="{spec}">',
            f'<div class="mech-chart-view">{view or alt_text(chart.alt)}</div>',
            f"<figcaption><strong>{for_site(figure.title.rstrip('.'))}.</strong> {caption}",
            _downloads(*files),
            "</figcaption>",
            "" if view else f"<noscript><p>This chart is drawn by a script. {alt}</p></noscript>",
            "</figure>",
        ]
        return block(*filter(None, lines))

    def _picture(self, id: str, chart: Chart) -> Markup:
        """The chart as an image beside the page; empty where none is wanted, or none can be drawn."""
        if self.pictures is None or id in self.refused:
            return Markup("")
        try:
            picture = self.pictures.picture(chart.spec)
        except PictureError as error:
            self.refused[id] = error
            return Markup("")
        self.svg[id] = picture.svg
        return Markup(
            f'<img class="mech-picture" src="charts/{id}.svg" alt="{for_site(chart.alt)}" '
            f'width="{picture.width:g}" height="{picture.height:g}" loading="lazy">'
        )

    def table(self, id: str, title: str, grid: Grid, note: str) -> Markup:
        """A table in a box of its own, with what it leaves out and where to get it all."""
        box = f'<div class="mech-table" id="{self._unique(f"table-{id}")}" markdown="1">'
        link = _downloads((f"tables/{id}.csv", "All rows (CSV)" if note else "CSV"))
        below = f'<p class="mech-table-note">{for_site(title)}. {for_site(note)} {link}</p>'
        return block(box, "", self.grid(grid), "", below, "</div>")

    def notice(self, text: str) -> Markup:
        """What stands in the place of a chart or table that cannot be shown."""
        return block(f'<p class="mech-notice">{for_site(text)}</p>')

    def grid(self, grid: Grid) -> Markup:
        return Markup(markdown(grid, site_cell))

    def paragraph(self, text: str) -> Markup:
        return for_site(text)

    def items(self, texts: Iterable[str]) -> Markup:
        return bulleted(for_site(text) for text in texts)

    def facts(self, facts: LabelledFacts) -> Markup:
        return description_list(facts)

    def section(self, heading: str, blocks: Iterable[str]) -> Markup:
        return headed(for_site(heading), blocks)

    def folded(self, title: str, body: str) -> Markup:
        """Detail that a reader opens."""
        return block(
            f'<details class="mech-fold" markdown="1"><summary>{for_site(title)}</summary>',
            "",
            body,
            "",
            "</details>",
        )

    def code(self, text: str, language: str) -> Markup:
        """A text to copy, in which Markdown is not read."""
        pre = f'<pre><code class="language-{language}">{preformatted(text)}</code></pre>'
        return block(f'<div class="mech-copyable">{pre}{_COPY}</div>')

    def citation(self, reference: Reference, form: CitationForm) -> Markup:
        """The words that lead to the list of references, which leads back to each of them."""
        here = self._unique(_anchor(reference, "cite"))
        self.cited_at.setdefault(reference.key, []).append(here)
        before, linked, after = map(for_site, cited_in_words(reference.names, reference.year, form))
        link = f'<a class="mech-citation" id="{here}" href="#{_anchor(reference)}">{linked}</a>'
        return Markup(f"{before}{link}{after}")

    def references(self, references: Sequence[Reference]) -> Markup:
        items = [
            f'<li id="{_anchor(r)}">{_reference(r)}{_back_links(r, self.cited_at.get(r.key, ()))}</li>'
            for r in references
        ]
        return block('<ol class="mech-references">', *items, "</ol>")

    def in_container(self, block: str) -> str:
        return one_line_of_html(block)

    def end(self) -> str:
        """The popovers of the page, each a line, to stand after its last line."""
        if not self.popovers:
            return ""
        return "\n".join(['<div class="mech-popovers">', *self.popovers.values(), "</div>\n"])

    def _popover(self, key: tuple[str, ...], make: Callable[[str], Markup]) -> str:
        if key not in self.id_of:
            # The id comes first, because the popover names its own parts by it.
            id = self.id_of[key] = self._unique("mech-" + "-".join(key))
            self.popovers[id] = make(id)
        return self.id_of[key]

    def _unique(self, wanted: str) -> str:
        # `layer0[seed=3]` and `layer0-seed-3` become one by this, so that copies are counted.
        base = _id_from(wanted)
        id = base
        copies = 1
        while id in self.ids:
            copies += 1
            id = f"{base}-{copies}"
        self.ids.add(id)
        return id


_COPY = '<button type="button" class="mech-copy" hidden>Copy</button>'


def number_anchor(number: Number) -> str:
    """The id of a number where a page shows it first; the primary model goes without saying."""
    model = "" if number.entry.model == number.ledger.primary else f"-{number.entry.model}"
    return _id_from(f"{number.name}{model}")


def claim_anchor(id: str) -> str:
    """The id of a claim's sentence where a page has it first: with a dot, which no heading's id has."""
    return _id_from(f"claim.{id}")


def _id_from(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def _permalink(anchor: str, what: str) -> str:
    """Where to link to what a popover is about. Without a script the link is to be copied as it is."""
    return (
        f'<p class="mech-share"><a class="mech-permalink" href="#{anchor}">Link to this {what}</a> '
        '<button type="button" class="mech-copy-link" hidden>Copy link</button></p>'
    )


def dialog(id: str, title: str, about: str, facts: LabelledFacts, link: str, command: str = "") -> Markup:
    """A popover, in one line."""
    lines = [
        f'<div popover id="{id}" class="mech-popover" role="dialog" aria-labelledby="{id}-title">',
        f'<p class="mech-popover-title" id="{id}-title">{for_site(title)}</p>',
        link,
        f"<p>{sentence_for_site(about)}</p>" if about else "",
        description_list(facts),
        f"<p>Measured by</p>{_command(command)}" if command else "",
        f'<button type="button" class="mech-close" popovertarget="{id}" popovertargetaction="hide">',
        "Close</button>",
        "</div>",
    ]
    return Markup("".join(lines))


def _command(command: str) -> str:
    return f'<div class="mech-copyable"><code>{for_site(command)}</code>{_COPY}</div>'


def _downloads(*links: tuple[str, str]) -> str:
    anchors = " ".join(f'<a href="{address}" download>{text}</a>' for address, text in links)
    return f'<span class="mech-downloads">{anchors}</span>'


def _anchor(reference: Reference, kind: str = "ref") -> str:
    return f"{kind}-" + re.sub(r"[^A-Za-z0-9_-]+", "-", reference.key)


def _back_links(reference: Reference, places: Sequence[str]) -> str:
    """From a reference to where the text cites it; the places by number, where there are several."""
    several = len(places) > 1
    links = (
        f' <a class="mech-back" href="#{place}" '
        f'aria-label="Back to where {for_site(reference.short)} is cited{f", {at}" if several else ""}">'
        f"↩{at if several else ''}</a>"
        for at, place in enumerate(places, start=1)
    )
    return "".join(links)


def _reference(reference: Reference) -> str:
    return "".join(map(reference_part, reference.parts))
