"""How investigations stand: cards on the home page, rows of the index, the line above a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.evidence.claims import parse
from engine.evidence.printing import frequency_in_words, sample_in_words
from engine.evidence.result import Measurement
from engine.publish.markdown import page
from engine.publish.mentions import mentions_of
from engine.report.claim_sentences import css_class, hypothesis_of, verdict_of
from engine.report.escape import for_site
from engine.report.lint import Concern
from engine.report.numbers import MARKERS, digits_of, interval_of, is_withheld
from engine.report.render import RenderedReport
from engine.runs.ledger import Entry, Ledger

CARDS = "<!-- headline cards -->"
TALLIED = ("supported", "contradicted", "found here", "not found here", "undetermined", "unmeasured")
REGISTERED = "Its claims are registered; nothing has been measured yet."
COLUMNS = ("Investigation", "Finding", "Claims", "Replicated", "Models", "Date")


@dataclass(frozen=True)
class Report:
    """One investigation, ready to be published. `uncalibrated` are families that failed a calibration."""

    ledger: Ledger
    rendered: RenderedReport
    folder: Path  # investigations/<slug>
    uncalibrated: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        return self.ledger.slug

    @property
    def date(self) -> str:
        """The day of the latest run that the report rests on; empty where nothing was run."""
        return max((e.provenance.date[:10] for e in self.ledger.entries if e.provenance), default="")

    @property
    def models(self) -> dict[str, bool]:
        """The models in the order of the spec, and whether there is any number on them."""
        with_numbers = {e.model for e in self.ledger.entries if e.state != "unmeasured"}
        return {model: model in with_numbers for model in self.ledger.spec.models}

    @property
    def notebook_name(self) -> str:
        """The notebook's file beside the page; empty where there is nothing that it could show."""
        shows = any(self.models.values()) and self.rendered.error is None
        return f"{self.slug}.ipynb" if shows else ""

    @property
    def headline(self) -> str:
        """The answer in one sentence, or that there is none yet."""
        return self.rendered.headline if any(self.models.values()) else REGISTERED


@dataclass(frozen=True)
class PageSummary:
    """What is said of an investigation elsewhere than on its own page; plain data, to be kept."""

    slug: str
    panel: str  # on the home page, HTML
    row: str  # in the table of all investigations, HTML
    is_answered: bool  # whether it has any number
    outcome: str = ""  # how its build ended, in a line
    concerns: tuple[Concern, ...] = ()  # what needs a person
    mentions: dict[str, Any] = field(default_factory=dict)  # as `engine.publish.mentions` has them
    feed: Mapping[str, Any] = field(default_factory=dict)  # a `FeedEntry` as plain data


def summarised(report: Report, outcome: str = "", concerns: Sequence[Concern] = ()) -> PageSummary:
    """A report as other pages and the command line speak of it."""
    is_answered = any(report.models.values())
    mentions = mentions_of(report.ledger, report.folder)
    return PageSummary(
        report.slug, _panel(report), _row(report), is_answered, outcome, tuple(concerns), mentions
    )


def home_page(template: str, summaries: Sequence[PageSummary]) -> str:
    """The hand-written home page with the headline cards of every investigation in their place."""
    panels = [summary.panel for summary in _answered_first(summaries)]
    return template.replace(CARDS, "\n\n".join(panels) or "No investigation has been built yet.")


def _answered_first(summaries: Sequence[PageSummary]) -> list[PageSummary]:
    """Those with numbers before those without, else as they came."""
    return sorted(summaries, key=lambda summary: not summary.is_answered)


def _panel(report: Report) -> str:
    spec = report.ledger.spec
    id = f"panel-{report.slug}"
    # A report that cannot be printed may have a card for a number that is not there.
    with_cards = any(report.models.values()) and not report.rendered.error
    cards = [_card(report, name) for name in spec.cards] if with_cards else []
    lines = [
        f'<section class="mech-panel" aria-labelledby="{id}">',
        f'<h2 id="{id}"><a href="investigations/{report.slug}/">{for_site(spec.title)}</a></h2>',
        f'<p class="mech-question">{for_site(spec.question)}</p>',
        f'<p class="mech-headline">{for_site(report.headline)}</p>' if spec.headline else "",
        f'<p class="mech-tally">{tally(report)} {_replicated(report.ledger)}</p>',
        f'<div class="mech-cards">{"".join(cards)}</div>' if cards else "",
        "</section>",
    ]
    return "\n".join(line for line in lines if line)


def _card(report: Report, name: str) -> str:
    measurement, entry = report.ledger.number(name, where=str(report.folder / "spec.yaml"))
    parts = [
        _span("card-about", for_site(report.ledger.spec.cards[name])),
        *_card_number(measurement, entry),
        _card_claim(report.ledger, name),
        _span("card-source", f"{for_site(entry.model)} {_day(entry)}"),
    ]
    return f'<a class="mech-card" href="investigations/{report.slug}/">{"".join(parts)}</a>'


def _card_number(measurement: Measurement | None, entry: Entry) -> list[str]:
    """The value and its interval, or why there is none."""
    if measurement is None or is_withheld(entry):
        marker = MARKERS["unmeasured" if measurement is None else "withheld"]
        return [
            _span("card-value mech-absent", for_site(marker)),
            _span("card-interval", for_site(entry.reason)),
        ]
    value = f"{for_site(digits_of(measurement))} <small>{for_site(measurement.quantity)}</small>"
    published = ", published, not measured here" if entry.state == "published" else ""
    return [_span("card-value", value), _span("card-interval", for_site(_interval(measurement) + published))]


def _interval(measurement: Measurement) -> str:
    if measurement.exact:
        return "counted by design"
    n = f"n = {sample_in_words(measurement)}"
    if measurement.is_choice:
        return f"{frequency_in_words(measurement)}, {n}"
    interval = interval_of(measurement)
    return f"95 % CI {interval}, {n}" if interval else f"interval withheld, {n}"


def _card_claim(ledger: Ledger, name: str) -> str:
    """The verdict of the first claim that speaks of the number, if one does."""
    for id, claim in ledger.spec.claims.items():
        if name in parse(claim.holds).names:
            badge = _verdict(verdict_of(ledger, id, ledger.primary).verdict)
            return _span("card-claim", f"Hypothesis: {for_site(hypothesis_of(claim))} {badge}")
    return ""


def _day(entry: Entry) -> str:
    date = entry.provenance.date if entry.provenance else ""
    return f'<time datetime="{for_site(date)}">{for_site(date[:10])}</time>' if date else ""


def tally(report: Report) -> str:
    """How many claims have which verdict on the primary model, and which families failed a calibration."""
    ledger = report.ledger
    counts = Counter(verdict_of(ledger, id, ledger.primary).verdict for id in ledger.spec.claims)
    badges = [_verdict(verdict, f"{counts[verdict]} {verdict}") for verdict in TALLIED if counts[verdict]]
    badges += [_verdict("alarm", f"calibration failed: {for_site(f)}") for f in report.uncalibrated]
    return " ".join(badges) or "no claims"


def masthead(report: Report) -> str:
    """What stands above a report: its question, verdicts, replication, models, date and spec."""
    spec = report.ledger.spec
    models = ", ".join(map(for_site, spec.models))
    facts = [tally(report), _replicated(report.ledger), models, for_site(report.date)]
    links = ['<a href="spec.yaml" download>spec.yaml</a>']
    if report.notebook_name:
        links.append(f'<a href="{report.notebook_name}" download>notebook</a>')
    items = "".join(f"<li>{fact}</li>" for fact in [*facts, *links] if fact)
    question = f'<p class="mech-question">{for_site(spec.question)}</p>'
    return f'{question}\n<ul class="mech-masthead">{items}</ul>{_not_as_published(report)}'


def _not_as_published(report: Report) -> str:
    """A banner over a report of whose published numbers some cannot be believed; empty where all can."""
    faults = report.ledger.faults
    if not faults:
        return ""
    told = "".join(
        f"<li><code>{for_site(': '.join(filter(None, [f.file, f.part])))}</code> {for_site(f.why)}</li>"
        for f in faults
    )
    said = "Published numbers of this report are withheld, since they cannot be shown to be those measured."
    return f'\n<div class="mech-notice mech-not-as-published"><p>{said}</p><ul>{told}</ul></div>'


def investigations_page(summaries: Sequence[PageSummary]) -> str:
    """Every investigation in one table, which a script makes sortable and which is complete without it."""
    about = "Every question asked so far, what was found, and whether it was found again."
    lines = [
        '<div class="mech-table" role="region" aria-label="Investigations">',
        '<table class="mech-sortable mech-index">',
        f"<thead><tr>{''.join(f'<th scope=col>{c}</th>' for c in COLUMNS)}</tr></thead>",
        f"<tbody>{''.join(summary.row for summary in _answered_first(summaries))}</tbody>",
        "</table>",
        "</div>",
    ]
    legend = (
        "Claims are judged on the first model named; [how to read them](../reading-the-evidence/index.md)."
    )
    body = "\n".join(lines) if summaries else "No investigation has been built yet."
    return page("Investigations", f"{about}\n\n{body}\n\n{legend}", about=about, hide="navigation, toc")


def _row(report: Report) -> str:
    ledger = report.ledger
    spec = ledger.spec
    agreed, compared = ledger.replicated
    link = f'<a href="{report.slug}/">{for_site(spec.title)}</a><br><small>{for_site(spec.question)}</small>'
    found = [verdict_of(ledger, id, ledger.primary).verdict for id in spec.claims]
    supported = sum(verdict in ("supported", "found here") for verdict in found)
    # (value to sort by, what is shown); -1 sets what was never compared apart from what never agreed.
    cells = [
        (spec.title, link),
        (report.headline, for_site(report.headline)),
        (supported, tally(report)),
        (agreed / compared if compared else -1, f"{agreed} of {compared}" if compared else "–"),
        (sum(report.models.values()), "".join(_model(*pair) for pair in report.models.items())),
        (report.date, for_site(report.date or "–")),
    ]
    return "<tr>" + "".join(f'<td data-value="{for_site(v)}">{text}</td>' for v, text in cells) + "</tr>\n"


def _model(name: str, has_numbers: bool) -> str:
    return _span("model", f"{for_site(name)}{'' if has_numbers else ' <small>(unmeasured)</small>'}")


def _replicated(ledger: Ledger) -> str:
    """`replicated 12 of 14`, or nothing where no published number was measured here."""
    agreed, compared = ledger.replicated
    return _span("replicated", f"replicated {agreed} of {compared}") if compared else ""


def _verdict(kind: str, words: str = "") -> str:
    return _span(f"verdict {css_class(kind)}", words or kind)


def _span(name: str, inner: str) -> str:
    return f'<span class="mech-{name}">{inner}</span>' if inner else ""
