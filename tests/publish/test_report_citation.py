"""An investigation's page as a work: what its spec says goes before what the project says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import PictureError
from engine.publish.pages import report_files
from engine.publish.report_citation import feed_entry, report_description, report_work, social_png
from engine.publish.site_settings import SiteSettings
from engine.report.charts.pictures import PictureCache
from engine.spec.models import Contributor
from tests.publish import made_up

SETTINGS = SiteSettings(
    name="A site",
    site_url="https://example.org/site/",
    repository="https://example.org/git",
    authors=(Contributor(name="Somebody"),),
    version="0.1",
)
PAGE = "investigations/fact-recall/index.md"


@pytest.fixture(autouse=True)
def with_pictures(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here pages get their pictures, from what stands in for the drawing of charts."""
    monkeypatch.setattr("engine.publish.pages.social_png", social_png)


class OnePixel(PictureCache):
    """Draws nothing; the first 24 bytes are those of a PNG of 3 by 2 pixels."""

    def png(self, spec, *, scale=2.0):
        return b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IHDR" + (3).to_bytes(4) + (2).to_bytes(4)


class Refusing(PictureCache):
    def png(self, spec, *, scale=2.0):
        raise PictureError("no")


def with_spec(project: Path, **said):
    report = made_up.report(project)
    spec = report.ledger.spec.model_copy(update=said)
    return replace(report, ledger=replace(report.ledger, spec=spec, published_on="2025-11-05T08:00:00Z"))


def test_what_the_spec_leaves_out_the_project_says(project: Path) -> None:
    work = report_work(with_spec(project), SETTINGS, "c0ffee")
    assert (work.name, work.title, work.commit) == ("fact-recall", made_up.TITLE, "c0ffee")
    assert ([a.name for a in work.authors], work.version, work.doi) == (["Somebody"], "0.1", "")
    assert work.url == "https://example.org/site/investigations/fact-recall/"
    assert work.edit_url == "https://example.org/git/edit/main/investigations/fact-recall/report.md"


def test_what_the_spec_says_goes_first(project: Path) -> None:
    authors = [Contributor(name="Ada Lovelace", orcid="0000-0002-1825-0097")]
    said = {
        "authors": authors,
        "version": "2",
        "doi": "10.5281/zenodo.1",
        "repository": "https://example.com/x",
    }
    work = report_work(with_spec(project, **said), SETTINGS)
    assert (list(work.authors), work.version, work.doi) == (authors, "2", "10.5281/zenodo.1")
    assert work.edit_url.startswith("https://example.com/x/edit/main/")


def test_the_date_is_that_of_the_published_numbers_and_no_builds(project: Path) -> None:
    assert report_work(with_spec(project), SETTINGS).day == "2025-11-05"
    assert report_work(made_up.report(project), SETTINGS).day == "2026-01-31"
    assert feed_entry(with_spec(project)).updated == "2025-11-05T08:00:00Z"


def test_the_page_has_a_box_the_entry_beside_it_and_tags(project: Path) -> None:
    files = report_files(with_spec(project), None, OnePixel(), SETTINGS, "c0ffee")
    page = str(files[PAGE])
    assert "## Cite this { #cite-this }" in page and "Copy BibTeX" in page
    assert str(files["investigations/fact-recall/citation.bib"]).startswith("@misc{fact-recall,")
    picture = files["investigations/fact-recall/social.png"]
    assert isinstance(picture, bytes) and picture[:4] == b"\x89PNG"
    for tag in (
        '["citation_title", "How does a model recall a fact?"]',
        '["citation_author", "Somebody"]',
        '["citation_publication_date", "2025/11/05"]',
        '["og:image", "https://example.org/site/investigations/fact-recall/social.png"]',
        '["og:image:width", "3"]',
        '["twitter:card", "summary_large_image"]',
    ):
        assert f"  - {tag}\n" in page
    about = page.split("description: ", 1)[1].split("\n", 1)[0]
    assert json.loads(about).startswith("The rank of the answer falls to 13")
    alt = page.split('["og:image:alt", ', 1)[1].split("]\n", 1)[0]
    assert "falls from" in json.loads(alt)


@pytest.mark.parametrize("pictures", [Refusing(), OnePixel()])
def test_a_page_without_a_picture_is_a_page_still(project: Path, pictures: PictureCache) -> None:
    text = "{{ lens.n_kept }}." if isinstance(pictures, OnePixel) else made_up.TEMPLATE
    files = report_files(made_up.report(project, text=text), None, pictures, SETTINGS)
    assert "og:image" not in str(files[PAGE]) and '["twitter:card", "summary"]' in str(files[PAGE])
    assert not [name for name in files if name.endswith(".png")]


def test_without_an_address_nothing_is_said_of_one(project: Path) -> None:
    local = replace(SETTINGS, site_url="http://127.0.0.1:8000/", repository="")
    files = report_files(made_up.report(project), None, OnePixel(), local)
    entry = str(files["investigations/fact-recall/citation.bib"])
    assert "url" not in entry and "127.0.0.1" not in entry
    # What shows a link asks for the whole address of a picture, whichever it is.
    assert "http://127.0.0.1:8000/investigations/fact-recall/social.png" in str(files[PAGE])
    nowhere = report_files(made_up.report(project), None, OnePixel(), replace(local, site_url=""))
    assert "og:image" not in str(nowhere[PAGE]) and "og:url" not in str(nowhere[PAGE])


def test_a_headline_with_a_hole_is_no_description(project: Path) -> None:
    report = made_up.report(project)
    rendered = replace(report.rendered, headline="It falls to [not measured here].")
    assert report_description(replace(report, rendered=rendered)) == report.ledger.spec.question


def test_what_was_never_measured_is_not_in_the_feed(project: Path) -> None:
    report = made_up.report(project)
    unmeasured = report.ledger.verdicts["far-away"]
    gone = replace(report.ledger, verdicts=dict.fromkeys(made_up.MODELS, unmeasured))
    assert feed_entry(replace(report, ledger=gone)).updated == ""
    # Of one whose first model is out of reach it tells what was found on the next.
    first_gone = {**report.ledger.verdicts, "tiny-llama": unmeasured}
    later = feed_entry(replace(report, ledger=replace(report.ledger, verdicts=first_gone)))
    assert "Claims on tiny-gpt2: 1 supported" in later.content and later.updated
    told = feed_entry(report)
    assert told.summary.startswith("The rank of the answer falls to 13")
    assert "Claims on tiny-llama: 1 supported, 1 contradicted, 1 undetermined" in told.content
    assert "contradicted: The model knows nearly all facts" in told.content
