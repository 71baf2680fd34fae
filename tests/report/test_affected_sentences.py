"""Which sentences of a text rest on what moved: by the numbers that they print and the claims they cite."""

from __future__ import annotations

import pytest

from engine.report.affected_sentences import affected_sentences, shown, stands
from engine.runs.published.changes import EvidenceChanges, NumberChange, VerdictChange


def changes(*names: str, model: str = "tiny", **flipped: str) -> EvidenceChanges:
    numbers = tuple(NumberChange(n, model, "finding", 1, 0, 2, 5, 4, 6, True) for n in names)
    verdicts = tuple(VerdictChange(c, "tiny", "supported", after, False) for c, after in flipped.items())
    return EvidenceChanges(numbers, verdicts)


def found(text: str, of: EvidenceChanges, slug: str = "") -> list[tuple[str, tuple[str, ...]]]:
    return [(s.where, s.numbers) for s in affected_sentences(text, "report.md", of, "tiny", slug)]


def test_a_sentence_that_prints_the_number_is_found_with_its_line_and_no_other() -> None:
    later = "Later {{ lens.rank }} and {{ lens.depth | percent }}."
    text = f"# Title\n\nFirst it is {{{{ lens.depth }}}}. Then nothing.\n{later}"
    assert found(text, changes("lens.depth")) == [
        ("report.md:3", ("lens.depth",)),
        ("report.md:4", ("lens.depth",)),
    ]
    assert found(text, changes("lens.dep")) == []


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("lens.depth.low", "lens.depth"),
        ('number("lens.depth")', "lens.depth"),
        ('mid["seed=0"].l0', "mid[seed=0].l0"),
        ('number("mid[lr=0.1].l0")', "mid[lr=0.1].l0"),
        ("far_seeds.share", "far-seeds.share"),
        ("100 * lens.depth.value", "lens.depth"),
    ],
)
def test_a_number_is_known_however_a_template_writes_it(expression: str, name: str) -> None:
    assert len(found(f"It is {{{{ {expression} }}}}.", changes(name))) == 1


def test_a_number_asked_of_another_model_moves_with_that_and_not_with_the_primary_one() -> None:
    text = (
        'Here {{ lens.depth }}.\n\nThere {{ number("lens.depth", model=other) }}, {{ lens.depth.on("b") }}.'
    )
    assert [where for where, _ in found(text, changes("lens.depth"))] == ["report.md:1"]
    assert [where for where, _ in found(text, changes("lens.depth", model="b"))] == ["report.md:3"]


def test_a_claim_that_flipped_is_broken_undecided_or_agrees_by_what_its_sentence_says() -> None:
    otherwise = '{% claim "late", "contradicted" %}It is not.{% endclaim %}'
    text = '{% claim "late" %}It is late.{% endclaim %}\n' + otherwise
    first, second = affected_sentences(text, "report.md", changes(late="contradicted"), "tiny")
    assert (first.sentence, first.judged, first.is_broken) == (
        "It is late.",
        "broken: the text says supported, now contradicted",
        True,
    )
    assert (second.where, second.is_broken) == ("report.md:2", False)
    (undecided, _) = affected_sentences(text, "report.md", changes(late="undetermined"), "tiny")
    assert undecided.judged == "undecided: the text says supported, now undetermined"


def test_a_claim_about_another_model_is_asserted_as_found_here() -> None:
    flip = VerdictChange("a", "tiny", "not found here", "found here", False)
    assert stands("", flip).startswith("agrees")
    assert stands("not found here", flip) == "broken: the text says not found here, now found here"
    assert stands("", VerdictChange("a", "tiny", "found here", "not found here", False)).startswith("broken")


def test_a_publication_names_the_investigation_before_each_number_and_claim() -> None:
    text = (
        "It is {{ fact_recall.lens.depth }} or {{ lens.depth }}.\n\n"
        '{% claim "fact-recall.late" %}Late.{% endclaim %} {% claim "other.late" %}Elsewhere.{% endclaim %}'
    )
    of = changes("lens.depth", late="contradicted")
    assert found(text, of, "fact-recall") == [("report.md:1", ("lens.depth",)), ("report.md:3", ())]
    assert found(text, of, "other") == [("report.md:3", ())]


def test_a_number_within_a_claim_is_told_once_with_the_claim() -> None:
    text = 'Before. {% claim "late" %}It is {{ lens.depth }}.{% endclaim %} After.'
    assert found(text, changes("lens.depth", late="contradicted")) == [("report.md:1", ("lens.depth",))]


def test_what_is_shown_of_a_sentence_is_one_short_line() -> None:
    assert shown("A\n  {% if x %}{{ lens.depth | percent }}{% endif %} b") == "A [lens.depth | percent] b"
    assert len(shown("word " * 200)) <= 240


def test_ids_of_headings_and_formulas_hide_no_sentence() -> None:
    text = "## Found {#found}\n\nIt is {{ lens.depth }} where $x_{1} = 2$. {# a note #}\n"
    assert found(text, changes("lens.depth")) == [("report.md:3", ("lens.depth",))]
