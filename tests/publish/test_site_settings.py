"""What a project says of itself, from mkdocs.yml and CITATION.cff."""

from pathlib import Path

import pytest

from engine.errors import EngineError, SiteError
from engine.publish.site_settings import SiteSettings, site_settings
from tests.conftest import REPOSITORY

MKDOCS = """\
site_name: A site
site_url: !ENV [TEST_SITE_URL, "http://127.0.0.1:8000/"]
markdown_extensions:
  - pymdownx.emoji: {emoji_index: !!python/name:material.extensions.emoji.twemoji }
extra:
  repository: !ENV [TEST_REPOSITORY, ""]
  demo_url: !ENV [TEST_DEMO_URL, ""]
"""
CITATION = """\
cff-version: 1.2.0
version: 0.3.1
repository-code: https://example.org/from/cff
authors:
  - family-names: Lovelace
    given-names: Ada
    orcid: https://orcid.org/0000-0002-1825-0097
  - {name-particle: van, family-names: Beethoven, given-names: Ludwig}
  - name: A team
    affiliation: Somewhere
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mkdocs.yml").write_text(MKDOCS)
    (tmp_path / "CITATION.cff").write_text(CITATION)
    return tmp_path


def test_without_files_nothing_is_said(tmp_path: Path) -> None:
    assert site_settings(tmp_path) == SiteSettings()


def test_the_citation_file_says_who_is_cited(root: Path) -> None:
    said = site_settings(root)
    assert [a.name for a in said.authors] == ["Lovelace, Ada", "van Beethoven, Ludwig", "A team"]
    assert [a.group for a in said.authors] == [False, False, True]
    assert said.authors[0].orcid == "0000-0002-1825-0097"
    assert (said.name, said.version) == ("A site", "0.3.1")


def test_an_address_on_this_machine_is_none_for_a_reader(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site_settings(root).address == ""
    for local in ("http://localhost:8000/", "http://[::1]/", "file:///tmp/public", "example.org"):
        monkeypatch.setenv("TEST_SITE_URL", local)
        assert site_settings(root).address == "", local
    monkeypatch.setenv("TEST_SITE_URL", "https://example.org/site")
    assert site_settings(root).address == "https://example.org/site/"


def test_the_repository_of_the_site_goes_before_that_of_the_citation_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site_settings(root).repository == "https://example.org/from/cff"
    monkeypatch.setenv("TEST_REPOSITORY", "https://example.org/from/site/")
    assert site_settings(root).repository == "https://example.org/from/site"


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("CITATION.cff", "authors: [{orcid: x, name: A}]", ["cff:1:19", "authors[0].orcid", "no ORCID"]),
        ("CITATION.cff", "authors: [{affiliation: x}]", ["CITATION.cff:1", "without a name", "family-names"]),
        ("CITATION.cff", "a: 1\nauthors: Ada", ["CITATION.cff:2", "no list"]),
        ("CITATION.cff", "a: [", ["CITATION.cff:1"]),
        ("CITATION.cff", "", ["CITATION.cff", "says nothing"]),
        ("CITATION.cff", "repository-code: 'javascript:x'", ["CITATION.cff:1", "no web address"]),
        ("mkdocs.yml", "extra: {repository: 'ftp://x'}", ["mkdocs.yml", "extra.repository"]),
        ("mkdocs.yml", "a: [", ["mkdocs.yml", "cannot be read"]),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_file(
    root: Path, file: str, text: str, says: list[str]
) -> None:
    (root / file).write_text(text)
    with pytest.raises(EngineError) as raised:
        site_settings(root)
    for part in says:
        assert part in str(raised.value)


def test_the_files_of_this_project_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SITE_URL", raising=False)
    said = site_settings(REPOSITORY)
    assert said.authors and said.version and not said.address


def test_the_demo_runs_at_one_address_or_nowhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site_settings(root).demo_url == ""
    for said, meant in (
        ("https://demo.example.org", "https://demo.example.org/"),
        ("https://Demo.example.org/mech/", "https://demo.example.org/mech/"),
        ("http://127.0.0.1:7860/", "http://127.0.0.1:7860/"),
    ):
        monkeypatch.setenv("TEST_DEMO_URL", said)
        assert site_settings(root).demo_url == meant


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "ftp://demo.example.org/",
        "//demo.example.org/",
        "demo.example.org",
        "https://",
        "https://user:secret@demo.example.org/",
        "https://demo.example.org/?panel=lens",
        "https://demo.example.org/#top",
        "https://demo.example.org:99999/",
        "https://demo.example.org;script-src *",
        "https://*.example.org/",
        "https://[::1]:7860/",
        "https://demo.example.org, https://other.example.org",
        "https://d\u00e9mo.example.org/",
    ],
)
def test_what_a_policy_cannot_name_is_no_address_of_the_demo(
    root: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("TEST_DEMO_URL", address)
    with pytest.raises(SiteError) as refused:
        site_settings(root)
    assert refused.value.where == f"{root / 'mkdocs.yml'}: extra.demo_url"
    assert refused.value.seen == address
