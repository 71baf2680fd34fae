"""Names with and without a slug, and which ledgers a text may print from."""

from __future__ import annotations

import pytest

from engine.errors import TemplateError
from engine.runs.ledger import Ledger
from engine.runs.library import Library, library_of, named_slugs, spelled_with_underscores, steps_of
from engine.spec.models import Claim, Experiment, Spec


def ledger(slug: str, experiment: str = "lens") -> Ledger:
    spec = Spec(
        title=slug,
        question="?",
        models=["tiny"],
        experiments={experiment: Experiment(family="logit_lens")},
        claims={"late": Claim(holds=f"{experiment}.depth > 1")},
    )
    return Ledger(slug, spec, (), {})


LIBRARY = Library({slug: ledger(slug) for slug in ("fact-recall", "seeds")}, own="seeds")


@pytest.mark.parametrize(
    ("name", "slug", "rest"),
    [
        ("lens.depth", "", "lens.depth"),
        ("lens[lr=0.1,site=blocks.0.hook_z].depth", "", "lens[lr=0.1,site=blocks.0.hook_z].depth"),
        ("fact-recall.lens.depth", "fact-recall", "lens.depth"),
        ("fact-recall.lens[lr=0.1].depth", "fact-recall", "lens[lr=0.1].depth"),
        ("seeds.lens.depth", "", "lens.depth"),  # its own slug may be written out
        ("depth", "", "depth"),
    ],
)
def test_a_name_of_three_steps_begins_with_a_slug(name: str, slug: str, rest: str) -> None:
    assert LIBRARY.split(name) == (slug, rest)


def test_a_claim_has_a_slug_before_its_dot() -> None:
    assert LIBRARY.claim("late") == ("", "late")
    assert LIBRARY.claim("seeds.late") == ("", "late")
    assert LIBRARY.claim("fact-recall.late") == ("fact-recall", "late")


def test_an_unknown_slug_is_told_with_the_nearest() -> None:
    with pytest.raises(TemplateError, match="nearest: fact-recall"):
        LIBRARY.ledger("fact-recal")


def test_a_text_of_no_investigation_writes_every_slug() -> None:
    publication = Library(LIBRARY.ledgers)
    assert publication.split("fact-recall.lens.depth") == ("fact-recall", "lens.depth")
    with pytest.raises(TemplateError, match=r"nearest: fact-recall\.lens\.depth, seeds\.lens\.depth"):
        publication.split("lens.depth")
    with pytest.raises(TemplateError, match=r"expected: SLUG\.late"):
        publication.claim("late")
    with pytest.raises(TemplateError, match="this text is of no investigation"):
        publication.ledger()


def test_what_a_text_does_not_name_it_cannot_print() -> None:
    named = LIBRARY.named_in("The depth is {{ lens.depth }}.")
    assert list(named.ledgers) == ["seeds"]
    assert named.known == ("seeds", "fact-recall")
    with pytest.raises(TemplateError, match="not named in this text"):
        named.ledger("fact-recall")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{{ fact-recall.lens.depth }}", True),
        ("{{ fact_recall.lens.depth }}", True),
        ('{{ number("fact-recall.lens.depth") }}', True),
        ("{{ fact-recall-2.lens.depth }}", False),
        ("{{ fact - recall }}", False),
    ],
)
def test_a_slug_is_named_in_either_spelling(text: str, named: bool) -> None:
    assert (named_slugs(["fact-recall"], [text]) == {"fact-recall"}) is named


def test_a_ledger_alone_is_a_library() -> None:
    assert library_of(LIBRARY) is LIBRARY
    alone = library_of(LIBRARY.ledgers["seeds"])
    assert alone.ledger().slug == alone.own == "seeds"


def test_names_are_cut_at_dots_and_spelled_as_identifiers() -> None:
    assert steps_of("a[b=[1.5, 2.0]].c") == ["a[b=[1.5, 2.0]]", "c"]
    assert spelled_with_underscores("2-seeds") == "_2_seeds"
