"""A drafted paper prints from the ledgers that it was drafted from, with every claim under its verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.publish.papers.build_paper import print_paper
from engine.publish.papers.paper_draft import paper_draft, write_paper_draft
from engine.publish.papers.render_paper import rendered_paper
from engine.publish.publications import read_publication
from engine.runs.library import Library
from tests.publish import made_up

METHODS = {
    "logit_lens": "The logit lens: at which layer?\n1. Read at 0.5 of the depth.\n2. Average `x[0]`.\n",
    "circuit_patching": "Patching: which part?\n1. Patch {{ it }}.\n",
}


def project(root: Path) -> Path:
    folder = root / "investigations/fact-recall"
    folder.mkdir(parents=True)
    (folder / "report.md").write_text('{{ chart("lens.by_layer") }} {{ chart("gone.x") }}')
    (folder / "references.bib").write_text("@misc{a1,\n title = {A}\n}\n@misc{b2, title = {B}}\n")
    (root / "site").mkdir()
    (root / "site/scale.md").write_text("<!-- scale: description -->\n3 models.\n<!-- end -->\nIn all 5 h.\n")
    return root


def test_a_draft_prints_and_says_the_measured_verdicts(tmp_path: Path) -> None:
    ledger = made_up.ledger()
    written = write_paper_draft(project(tmp_path), "facts", [ledger], METHODS)
    assert [path.name for path in written] == ["paper.qmd", "references.bib"]
    assert written[1].read_text().count("@misc{") == 2
    paper = read_publication(written[0], "paper")
    printed = print_paper(paper, Library({"fact-recall": ledger}), tmp_path, ["fact-recall"])
    assert printed.concerns == ()
    assert printed.evidence.broken == 0
    assert {cited.asserted for cited in printed.evidence.claims} == {
        "supported",
        "contradicted",
        "undetermined",
    }
    text = printed.source.text
    assert "1. Read at 0\\.5 of the depth." in text and "1. Patch { { it }}." in text
    assert "{#fig-fact-recall-lens-by_layer" in text
    html = rendered_paper(printed.source, ["html"])["paper.html"].decode()
    assert made_up.TITLE in html and "Claims, verdicts and numbers" in html


def test_a_paper_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    write_paper_draft(project(tmp_path), "facts", [made_up.ledger()], METHODS)
    with pytest.raises(EngineError, match="there is a paper of this name"):
        write_paper_draft(tmp_path, "facts", [made_up.ledger()], METHODS)


def test_numerals_of_a_question_are_marked_and_a_draft_has_none_typed(tmp_path: Path) -> None:
    ledger = made_up.ledger()
    question = "Do 8-bit copies\nof 16k features agree to 1e-5?"
    ledger = replace(ledger, spec=ledger.spec.model_copy(update={"question": question}))
    written = write_paper_draft(project(tmp_path), "facts", [ledger], METHODS)
    paper = read_publication(written[0], "paper")
    printed = print_paper(paper, Library({"fact-recall": ledger}), tmp_path, ["fact-recall"])
    assert printed.concerns == ()
    assert "Do 8-bit copies of 16k features agree to 1e\\-5?" in printed.source.text


def test_the_scale_ledger_is_told_where_dictionaries_are_trained(tmp_path: Path) -> None:
    ledger = made_up.ledger()
    assert "at scale" not in paper_draft(project(tmp_path), [ledger], METHODS)
    experiment = next(iter(ledger.spec.experiments.values()))
    trained = experiment.model_copy(update={"family": "crosscoder"})
    spec = ledger.spec.model_copy(update={"experiments": {**ledger.spec.experiments, "cross": trained}})
    methods = {**METHODS, "crosscoder": "Crosscoders.\n"}
    ledger = type(ledger)(ledger.slug, spec, ledger.entries, ledger.verdicts)
    text = paper_draft(tmp_path, [ledger], methods)
    assert '{{ literal("3") }} models. In all {{ literal("5") }} h.' in text
