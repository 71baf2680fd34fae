"""A small BibTeX reader: what it reads, and what it refuses by file and line."""

from __future__ import annotations

import pytest

from engine.errors import TemplateError
from engine.report.citations import Reference, read_bibtex

BIB = r"""
% a comment
@comment{ignored}
@inproceedings{meng2022,
  author = {Meng, Kevin and David Bau and Alex Andonian},
  title = "Locating {GPT} \& more -- facts",
  booktitle = {NeurIPS},
  year = 2022,
  eprint = {2202.05262},
}
@misc{erdos1960, author={Erd\H{o}s, P\'al and {\"O}zg\"ur Stra{\ss}e}, title={On {\o}}, date = {1960-02-01}}
"""


def test_fields_become_unicode() -> None:
    references = read_bibtex(BIB)
    assert list(references) == ["meng2022", "erdos1960"]
    meng, erdos = references["meng2022"], references["erdos1960"]
    assert meng.fields["title"] == "Locating GPT & more – facts"
    assert meng.short == "Meng et al. 2022" and meng.url == "https://arxiv.org/abs/2202.05262"
    assert (
        meng.long == "Meng, Kevin; Bau, David; Andonian, Alex (2022). Locating GPT & more – facts. NeurIPS."
    )
    assert erdos.authors == ["Erdős, Pál", "Straße, Özgür"] and erdos.short == "Erdős and Straße 1960"


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"url": "javascript:alert(1)"}, ""),
        ({"doi": "10.1/x"}, "https://doi.org/10.1/x"),
        ({"url": "http://x.org", "doi": "10.1/x"}, "http://x.org"),
        ({}, ""),
    ],
)
def test_only_web_addresses_are_followed(fields: dict[str, str], url: str) -> None:
    assert Reference("k", fields).url == url


def test_a_work_without_author_or_year_still_has_a_name() -> None:
    bare = Reference("k", {"title": "A page"})
    assert (bare.short, bare.long) == ("A page no date", "A page (no date). A page.")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("@misc{a, title={x}}\n@misc{a, title={y}}", 2, "two references are called 'a'"),
        ("\n@misc{a, title={x}", 2, "never closed"),
        ('@misc{a, title="x}', 1, "never closed"),
        ("@misc{title={x}}", 1, "without a key"),
        ("@misc{a, title x}", 1, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(TemplateError, match=problem) as caught:
        read_bibtex(text, "references.bib")
    assert caught.value.where == f"references.bib:{line}"
