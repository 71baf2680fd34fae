"""Identifiers of people and texts, and addresses, as a spec gives them: checked, and in one spelling.

Each function takes what a person wrote and returns the identifier alone; ValueError says what is wrong.
"""

from __future__ import annotations

import re

ORCID_PATTERN = r"^(https?://orcid\.org/)?\d{4}-\d{4}-\d{4}-\d{3}[\dX]$"
DOI_PATTERN = r"^(https?://(dx\.)?doi\.org/|doi:)?10\.\d{4,9}(\.\d+)*/\S+$"
ADDRESS_PATTERN = r"^https?://[^\s/?#]+(/\S*)?$"

_NO_ADDRESS = re.compile(r"[\s\"'<>\\^`{|}\x00-\x1f\x7f-\x9f]")


def orcid(text: str) -> str:
    """`0000-0002-1825-0097`, from the identifier or its address."""
    if not re.match(ORCID_PATTERN, text):
        raise ValueError("this is no ORCID: four groups of four digits, as in 0000-0002-1825-0097")
    bare = text.rpartition("/")[2]
    *digits, last = bare.replace("-", "")
    expected = _orcid_check("".join(digits))
    if last != expected:
        raise ValueError(f"this is no ORCID: its last digit would be {expected}, so that some digit is wrong")
    return bare


def _orcid_check(digits: str) -> str:
    """The last character of an ORCID: ISO/IEC 7064, MOD 11-2."""
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    remainder = (12 - total % 11) % 11
    return "X" if remainder == 10 else str(remainder)


def doi(text: str) -> str:
    """`10.5281/zenodo.1234567`, from the identifier or its address."""
    if not re.match(DOI_PATTERN, text):
        raise ValueError("this is no DOI: a prefix and a suffix, as in 10.5281/zenodo.1234567")
    return text[text.index("10.") :]


def address(text: str) -> str:
    """A web address, without a slash at its end."""
    if not re.match(ADDRESS_PATTERN, text) or _NO_ADDRESS.search(text):
        raise ValueError("this is no web address, as https://github.com/someone/something is one")
    return text.rstrip("/")
