"""What drafts share: their place, how they are written, and the words of an investigation in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.publish.draft_text import (
    charts_of_report,
    draft_path,
    said,
    unwrapped,
    with_slug,
    write_draft,
)
from engine.report.lint import lint
from tests.publish import made_up


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            'From {{ lens.final_rank }} to {{ number("patch.peak", model="x") }}, lens.final_rank in words.',
            "From {{ fact-recall.lens.final_rank }} to "
            '{{ number("fact-recall.patch.peak", model="x") }}, lens.final_rank in words.',
        ),
        (
            'lens.x {{ lens.final_rank.on("lens.y") }} '
            '{% if lens["seed=1"].a %}{{ other.lens.b }}{% endif %}',
            'lens.x {{ fact-recall.lens.final_rank.on("fact-recall.lens.y") }} '
            '{% if fact-recall.lens["seed=1"].a %}{{ other.lens.b }}{% endif %}',
        ),
    ],
)
def test_the_names_of_an_investigation_have_its_slug_in_a_publication(template: str, expected: str) -> None:
    assert with_slug(template, made_up.ledger()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Of 1,000 at 16k, block 9 of 12.", "Of «1,000» at «16k», block «9» of «12»."),
        ("An 8-bit copy within 1e-5.", "An «8»-bit copy within «1e-5»."),
        ("Half, 0.5 or .5, is 50 % or 50%.", "Half, «0.5» or .«5», is «50» % or «50%»."),
        ("From gpt2-12 to L9H6 and SmolLM2 135M.", "From gpt2-12 to L9H6 and SmolLM2 135M."),
        ("Steps:\n1. Read `x[0]` at 3.\n2. Stop.", "Steps:\n1. Read `x[0]` at «3».\n2. Stop."),
        ("{{ 7 * 7 }} {% a %} {# b #} {{{c}}}", "{ { «7» * «7» }} { % a %} { # b #} { { {c}}}"),
    ],
)
def test_words_are_marked_where_lint_would_tell_of_them(text: str, expected: str) -> None:
    assert said(text) == expected.replace("«", '{{ literal("').replace("»", '") }}')
    assert lint(said(text), "paper.qmd") == []


def test_a_text_is_unwrapped() -> None:
    assert unwrapped("One\n  two.\n\nThree\n") == "One two. Three"


def test_a_draft_lies_in_a_folder_of_its_own_name(tmp_path: Path) -> None:
    assert draft_path(tmp_path, "facts", "paper", "sums") == tmp_path / "publications/facts/paper.qmd"
    assert draft_path(tmp_path, "facts", "thread", "sums") == tmp_path / "publications/facts/thread.md"
    for name in ("../elsewhere", "a/b", ".hidden", ".", ""):
        with pytest.raises(EngineError, match="no name of a folder"):
            draft_path(tmp_path, name, "paper", "sums")


def test_no_draft_takes_the_place_of_a_publication_of_its_kind(tmp_path: Path) -> None:
    path = draft_path(tmp_path, "facts", "paper", "sums")
    write_draft(path, "é\n")
    assert path.read_text(encoding="utf-8") == "é\n"
    with pytest.raises(EngineError, match="there is a paper of this name") as caught:
        draft_path(tmp_path, "facts", "paper", "sums")
    assert caught.value.where == str(path)
    assert caught.value.hint == "engine paper new --from sums --slug ANOTHER"
    assert not draft_path(tmp_path, "facts", "thread", "sums").exists()


def test_a_draft_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "publications").write_text("no folder")
    path = tmp_path / "publications/facts/paper.qmd"
    with pytest.raises(EngineError, match="the draft cannot be written") as caught:
        write_draft(path, "")
    assert caught.value.where == str(path)


def test_only_charts_that_can_be_drawn_are_taken(tmp_path: Path) -> None:
    made_up.report(tmp_path, text='{{ chart("lens.by_layer") }} {{ chart("lens.by_layer") }}')
    report = tmp_path / "investigations/fact-recall/report.md"
    report.write_text(report.read_text() + '{{ chart("lens.gone") }}')
    assert charts_of_report(tmp_path, made_up.ledger()) == ["lens.by_layer"]
