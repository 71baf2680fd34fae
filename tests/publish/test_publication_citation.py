"""Papers and threads are cited by their headers, and by the project's settings where these say nothing."""

from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.publish.cite_box import cite_box
from engine.publish.publication_citation import publication_tags, publication_work
from engine.publish.publications import PublicationKind, read_publication
from engine.publish.site_settings import SiteSettings
from engine.spec.models import Contributor

SETTINGS = SiteSettings(
    name="A site",
    site_url="https://example.org/",
    repository="https://example.org/git",
    authors=(Contributor(name="Somebody"),),
)


def publication(root: Path, header: str, kind: PublicationKind = "paper"):
    path = root / "publications/seeds" / {"paper": "paper.qmd", "thread": "thread.md"}[kind]
    path.parent.mkdir(parents=True)
    path.write_text(f"---\ntitle: Seeds\n{header}---\n\nText.\n")
    return read_publication(path, kind)


def test_the_header_goes_first(tmp_path: Path) -> None:
    header = (
        "author: [{name: Ada Lovelace, affiliation: Here}]\ndate: 2026-02-03\ndoi: doi:10.5281/zenodo.1\n"
    )
    work = publication_work(publication(tmp_path, header), SETTINGS, tmp_path, "2025-01-01")
    assert [(a.name, a.affiliation) for a in work.authors] == [("Ada Lovelace", "Here")]
    assert (work.key, work.day, work.doi) == ("seeds", "2026-02-03", "10.5281/zenodo.1")
    assert work.url == "https://example.org/publications/seeds/"
    assert work.edit_url == "https://example.org/git/edit/main/publications/seeds/paper.qmd"


def test_a_thread_has_a_key_and_an_address_of_its_own(tmp_path: Path) -> None:
    work = publication_work(
        publication(tmp_path, "date: today\n", "thread"), SETTINGS, tmp_path, "2025-01-01"
    )
    assert (work.key, work.day) == ("seeds-thread", "2025-01-01")
    assert [a.name for a in work.authors] == ["Somebody"]
    assert work.url == "https://example.org/publications/seeds/thread/"
    assert "@misc{seeds-thread," in cite_box(work)


def test_the_pdf_is_told_to_who_collects_papers(tmp_path: Path) -> None:
    paper = publication(tmp_path, "")
    work = publication_work(paper, SETTINGS, tmp_path)
    tags = dict(publication_tags(paper, work, SETTINGS, "About seeds.", "paper.pdf"))
    assert tags["citation_pdf_url"] == "https://example.org/publications/seeds/paper.pdf"
    assert "citation_pdf_url" not in dict(publication_tags(paper, work, SETTINGS, "About seeds."))


def test_a_doi_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as raised:
        publication_work(publication(tmp_path, "doi: zenodo\n"), SETTINGS, tmp_path)
    assert "paper.qmd:3" in str(raised.value) and "no DOI" in str(raised.value)
