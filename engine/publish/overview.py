"""How investigations stand: panels of the home page, rows of the index, the lines above a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.publish.markdown import page, with_popovers
from engine.publish.mentions import mentions_of
from engine.publish.replication_pages import badge_link
from engine.report.claim_sentences import css_class, verdict_of
from engine.report.escape import for_site
from engine.report.lint import Concern
from engine.report.render import RenderedReport
from engine.runs.ledger import Ledger
from engine.runs.replication import ReplicationCounts, measured_here

CARDS = "<!-- headline cards -->"
TALLIED = ("supported", "contradicted", "found here", "not found here", "undetermined", "unmeasured")
REGISTERED = "Its claims are registered; nothing has been measured yet."
COLUMNS = ("Investigation", "Finding", "Claims", "Measured here", "Models", "Last measured")
SPEC_LINK = '<a href="spec.yaml" download>spec.yaml</a>'


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
    popovers: str = ""  # of the numbers in its panel and its row, HTML
    outcome: str = ""  # how its build ended, in a line
    concerns: tuple[Concern, ...] = ()  # what needs a person
    mentions: dict[str, Any] = field(default_factory=dict)  # as `engine.publish.mentions` has them
    feed: Mapping[str, Any] = field(default_factory=dict)  # a `FeedEntry` as plain data


def summarised(report: Report, outcome: str = "", concerns: Sequence[Concern] = ()) -> PageSummary:
    """A report as other pages and the command line speak of it."""
    popovers = report.rendered.listing.popovers if _is_answered(report) else ""
    mentions = mentions_of(report.ledger, report.folder)
    return PageSummary(
        report.slug,
        _panel(report),
        _row(report),
        _is_answered(report),
        popovers,
        outcome,
        tuple(concerns),
        mentions,
    )


def home_page(template: str, summaries: Sequence[PageSummary]) -> str:
    """The hand-written home page with the headline cards of every investigation in their place."""
    panels = [summary.panel for summary in _answered_first(summaries)]
    filled = template.replace(CARDS, "\n\n".join(panels) or "No investigation has been built yet.")
    return with_popovers(filled, _popovers(summaries))


def _popovers(summaries: Sequence[PageSummary]) -> str:
    return "".join(summary.popovers for summary in summaries)


def _answered_first(summaries: Sequence[PageSummary]) -> list[PageSummary]:
    """Those with numbers before those without, else as they came."""
    return sorted(summaries, key=lambda summary: not summary.is_answered)


def _panel(report: Report) -> str:
    spec = report.ledger.spec
    listing = report.rendered.listing
    id = f"panel-{report.slug}"
    lines = [
        f'<section class="mech-panel" aria-labelledby="{id}">',
        f'<h2 id="{id}"><a href="investigations/{report.slug}/">{for_site(spec.title)}</a></h2>',
        f'<p class="mech-question">{for_site(spec.question)}</p>',
        f'<p class="mech-headline">{_finding(report)}</p>' if spec.headline else "",
        f'<p class="mech-tally">{tally(report)} {_span("standing", _standing(report.ledger))}</p>',
        listing.key_numbers.strip() if _is_answered(report) else "",
        "</section>",
    ]
    return "\n".join(line for line in lines if line)


def _is_answered(report: Report) -> bool:
    """Whether there is any number on any of its models."""
    return any(report.models.values())


def _finding(report: Report) -> str:
    """The headline in HTML, or that there is none yet."""
    return report.rendered.listing.headline if _is_answered(report) else for_site(REGISTERED)


def tally(report: Report) -> str:
    """How many claims have which verdict on the primary model, and which families failed a calibration."""
    ledger = report.ledger
    counts = Counter(verdict_of(ledger, id, ledger.primary).verdict for id in ledger.spec.claims)
    badges = [_verdict(verdict, f"{counts[verdict]} {verdict}") for verdict in TALLIED if counts[verdict]]
    badges += [_verdict("alarm", f"calibration failed: {for_site(f)}") for f in report.uncalibrated]
    return " ".join(badges) or "no claims"


def masthead(report: Report) -> str:
    """How a report stands: verdicts, models, spec, what was measured here, and what is not to be trusted."""
    last = f"last measured {report.date}" if report.date else ""
    facts = [tally(report), ", ".join(map(for_site, report.ledger.spec.models)), for_site(last), SPEC_LINK]
    facts.append(badge_link(report.slug, measured_here(report.ledger), "../../"))
    if report.notebook_name:
        facts.append(f'<a href="{report.notebook_name}" download>notebook</a>')
    items = "".join(f"<li>{fact}</li>" for fact in facts if fact)
    standing = f'<p class="mech-standing">{_capital(_standing(report.ledger))}.</p>'
    return "\n".join(
        [
            f'<ul class="mech-masthead">{items}</ul>',
            standing,
            *filter(None, [_other_than_here(report.ledger), _not_as_published(report)]),
        ]
    )


def question(report: Report) -> str:
    """The question, to stand below the title."""
    return f'<p class="mech-question">{for_site(report.ledger.spec.question)}</p>'


def _standing(ledger: Ledger) -> str:
    """`measured here: 27 of 184, all 20 compared agree; the rest from 2026-11-24`."""
    return for_site(measured_here(ledger).in_words)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _other_than_here(ledger: Ledger) -> str:
    """A warning where published numbers came from other code, data or weights than this checkout's."""
    counts: Counter[str] = Counter()
    for entry in ledger.entries:
        counts.update(dict.fromkeys(entry.changed, len(entry.measurements)))
    if not counts:
        return ""
    told = "; ".join(f"{n:,} were {for_site(what)} than this checkout's" for what, n in counts.items())
    more = "Measured here they may come out otherwise; the popover of a number says which it is."
    return f'<p class="mech-notice mech-other-than-here">Of these numbers {told}. {more}</p>'


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
    return f'<div class="mech-notice mech-not-as-published"><p>{said}</p><ul>{told}</ul></div>'


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
    listed = page("Investigations", f"{about}\n\n{body}\n\n{legend}", about=about, hide="navigation, toc")
    return with_popovers(listed, _popovers(summaries))


def _row(report: Report) -> str:
    ledger = report.ledger
    spec = ledger.spec
    counts = measured_here(ledger)
    link = f'<a href="{report.slug}/">{for_site(spec.title)}</a><br><small>{for_site(spec.question)}</small>'
    found = [verdict_of(ledger, id, ledger.primary).verdict for id in spec.claims]
    supported = sum(verdict in ("supported", "found here") for verdict in found)
    # (value to sort by, what is shown); -1 sets what was never measured anywhere apart.
    cells = [
        (spec.title, link),
        (report.headline, _finding(report)),
        (supported, tally(report)),
        (counts.here / counts.total if counts.total else -1, _measured_cell(report.slug, counts)),
        (sum(report.models.values()), "".join(_model(*pair) for pair in report.models.items())),
        (report.date, for_site(report.date or "–")),
    ]
    return "<tr>" + "".join(f'<td data-value="{for_site(v)}">{text}</td>' for v, text in cells) + "</tr>\n"


def _model(name: str, has_numbers: bool) -> str:
    return _span("model", f"{for_site(name)}{'' if has_numbers else ' <small>(unmeasured)</small>'}")


def _measured_cell(slug: str, counts: ReplicationCounts) -> str:
    """`27 of 184`, and below it the badge that leads to the investigation's replication page."""
    share = f"{counts.here:,} of {counts.total:,}" if counts.total else "–"
    return f"{share}<br>{badge_link(slug, counts, '../')}"


def _verdict(kind: str, words: str = "") -> str:
    return _span(f"verdict {css_class(kind)}", words or kind)


def _span(name: str, inner: str) -> str:
    return f'<span class="mech-{name}">{inner}</span>' if inner else ""
