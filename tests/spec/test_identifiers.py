"""Identifiers as people write them, and what is none of them."""

import re

import pytest

from engine.spec.identifiers import (
    ADDRESS_PATTERN,
    DOI_PATTERN,
    ORCID_PATTERN,
    address,
    doi,
    orcid,
)


@pytest.mark.parametrize(
    "text",
    # The first is ORCID's own example, the others are its documented samples.
    ["0000-0002-1825-0097", "https://orcid.org/0000-0001-5109-3700", "0000-0002-1694-233X"],
)
def test_an_orcid_is_taken_bare_or_as_its_address(text: str) -> None:
    assert orcid(text) == text[-19:]
    assert re.match(ORCID_PATTERN, text)


@pytest.mark.parametrize("at", range(19))
def test_one_wrong_digit_of_an_orcid_is_found(at: int) -> None:
    right = "0000-0002-1825-0097"
    if right[at] == "-":
        return
    wrong = right[:at] + str((int(right[at]) + 1) % 10) + right[at + 1 :]
    with pytest.raises(ValueError, match="some digit is wrong"):
        orcid(wrong)


@pytest.mark.parametrize(
    "text", ["", "0000000218250097", "0000-0002-1825-009", "x0000-0002-1825-0097", "Ada"]
)
def test_what_is_no_orcid_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="0000-0002-1825-0097"):
        orcid(text)


@pytest.mark.parametrize("before", ["", "doi:", "https://doi.org/", "http://dx.doi.org/"])
@pytest.mark.parametrize("bare", ["10.5281/zenodo.1234567", "10.1000.10/123_(a);<b>"])
def test_a_doi_is_taken_bare_or_as_its_address(before: str, bare: str) -> None:
    assert doi(before + bare) == bare
    assert re.match(DOI_PATTERN, before + bare)


@pytest.mark.parametrize(
    "text", ["", "10.5281", "10.5281/", "zenodo.1234567", "10.5281/a b", "11.5281/a", "10.x/y"]
)
def test_what_is_no_doi_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape("10.5281/zenodo.1234567")):
        doi(text)


@pytest.mark.parametrize(
    "text", ["https://github.com/a/b/", "http://127.0.0.1:8000", "https://x.org/~a?b=c#d"]
)
def test_an_address_has_no_slash_at_its_end(text: str) -> None:
    assert address(text) == text.rstrip("/")
    assert re.match(ADDRESS_PATTERN, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "github.com/a/b",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        'https://x/"onload=',
        "https://x/ y",
    ],
)
def test_what_no_browser_may_follow_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="web address"):
        address(text)
