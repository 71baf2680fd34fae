"""How an investigation's page is cited, shown as a link, and told in the feed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from engine.errors import PictureError
from engine.publish.cited_work import CitedWork, given_first
from engine.publish.feed import FeedEntry
from engine.publish.head_tags import HeadTag, SocialImage, head_tags
from engine.publish.overview import TALLIED, PageSummary, Report, summarised
from engine.publish.site_settings import SiteSettings
from engine.report.charts.pictures import PictureCache
from engine.report.claim_sentences import verdict_of
from engine.report.lint import Concern
from engine.report.numbers import MARKERS

FOLDER = "investigations"
SOCIAL_FILE = "social.png"
"""The first chart of a page, for the card of a link to it."""


@dataclass(frozen=True)
class SocialPicture:
    """A chart as PNG, and the id of the chart."""

    png: bytes
    chart: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, which a PNG has in its first chunk."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])


def report_path(report: Report) -> str:
    """Where the page lies, relative to the site."""
    return f"{FOLDER}/{report.slug}/"


def report_date(report: Report) -> str:
    """When the published numbers were measured; where none are published, when the page's own were."""
    measured = [entry.provenance.date for entry in report.ledger.entries if entry.provenance]
    return report.ledger.published_on or max(measured, default="")


def report_work(report: Report, settings: SiteSettings, commit: str = "") -> CitedWork:
    """The investigation as somebody else cites it; what its spec does not say, the project's settings do."""
    spec = report.ledger.spec
    repository = spec.repository or settings.repository
    written = f"{FOLDER}/{report.slug}/report.md"
    return CitedWork(
        name=report.slug,
        title=spec.title,
        authors=tuple(spec.authors or settings.authors),
        site_name=settings.name,
        date=report_date(report),
        version=spec.version or settings.version,
        commit=commit,
        doi=spec.doi or "",
        url=settings.address and settings.address + report_path(report),
        repository=repository,
        edit_url=settings.edit_url(written, repository),
        keywords=tuple(spec.tags),
    )


def report_description(report: Report) -> str:
    """The page in one or two sentences of plain text: what was found, or else what was asked."""
    found = report.headline if any(report.models.values()) else ""
    # A headline with a hole where its number should be tells nobody anything.
    has_all = not any(marker in found for marker in MARKERS.values())
    return found if found and has_all else report.ledger.spec.question


def social_png(charts: Mapping[str, str], pictures: PictureCache) -> SocialPicture | None:
    """The first chart that can be drawn as a picture; None where there is none."""
    for id, spec in charts.items():
        with suppress(PictureError):  # a page without a picture is a page still
            return SocialPicture(pictures.png(json.loads(spec)), id)
    return None


def report_tags(
    report: Report, work: CitedWork, settings: SiteSettings, shown: SocialPicture | None = None
) -> list[HeadTag]:
    """What the head of the page tells search engines, catalogues and whoever shows a link to it."""
    url = settings.site_url and settings.site_url + report_path(report)
    image = None
    if shown and url:
        alt = json.loads(report.rendered.charts[shown.chart]).get("description", "")
        image = SocialImage(url + SOCIAL_FILE, alt, *shown.size)
    return head_tags(work, report_description(report), url=url, image=image)


def page_summary(report: Report, outcome: str = "", concerns: Sequence[Concern] = ()) -> PageSummary:
    """A report as other pages, the feed and the command line speak of it."""
    return replace(summarised(report, outcome, concerns), feed=asdict(feed_entry(report)))


def feed_entry(report: Report) -> FeedEntry:
    """What the feed says of an investigation: what was found, then each claim with its verdict.

    The claims are judged on the first model on which any of them could be; where there is none the entry has
    no date, and so is in no feed.
    """
    spec = report.ledger.spec
    judged = {
        model: verdicts
        for model in spec.models
        if (verdicts := {id: verdict_of(report.ledger, id, model).verdict for id in spec.claims})
        and {*verdicts.values()} != {"unmeasured"}
    }
    model, verdicts = next(iter(judged.items()), ("", {}))
    counts = Counter(verdicts.values())
    tally = ", ".join(f"{counts[verdict]} {verdict}" for verdict in TALLIED if counts[verdict])
    claims = [f"{verdicts[id]}: {claim.says or claim.holds}" for id, claim in spec.claims.items() if verdicts]
    said = [
        spec.question,
        report_description(report),
        f"Claims on {model}: {tally}" if model else "",
        *claims,
    ]
    return FeedEntry(
        path=report_path(report),
        title=spec.title,
        summary=report_description(report),
        updated=report_date(report) if judged else "",
        authors=[given_first(author) for author in spec.authors or ()],
        keywords=spec.tags,
        content="\n".join(dict.fromkeys(filter(None, said))),
    )
