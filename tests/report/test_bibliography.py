"""The works that a text may cite."""

from __future__ import annotations

import pytest

from engine.errors import TemplateError
from engine.report.bibliography import Bibliography, Reference, ReferencePart


def test_a_reference_is_said_in_words_and_has_its_first_address() -> None:
    parts = (
        ReferencePart("A. "),
        ReferencePart("T", "emphasis"),
        ReferencePart("doi:1", "link", "https://doi.org/1"),
    )
    work = Reference("k", "Abe", "2019", parts)
    assert (work.short, work.long, work.url) == ("Abe 2019", "A. Tdoi:1", "https://doi.org/1")


def test_an_unknown_key_is_told_with_the_nearest_and_with_what_else_an_at_sign_may_be() -> None:
    works = Bibliography({"paulo2025": lambda: Reference("paulo2025", "Paulo", "2025", ())})
    with pytest.raises(TemplateError, match="no reference 'pualo2025'") as caught:
        works.cited("pualo2025")
    assert caught.value.near == ("paulo2025",) and "\\@pualo2025" in caught.value.hint
    with pytest.raises(TemplateError, match=r"references\.bib beside"):
        Bibliography().cited("x")
