"""A paper's Markdown: numbers with their intervals, claims as spans, captions with labels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evidence.verdicts import Verdict
from engine.report.claim_sentences import ClaimSentence
from engine.report.printers.paper import PaperPrinter, for_pandoc, labelled
from engine.report.render import render
from engine.runs.ledger import Ledger
from engine.runs.library import Library
from engine.spec.models import Claim


def printed(ledger: Ledger, template: str, printer: PaperPrinter | None = None) -> str:
    library = Library({"fact-recall": ledger})
    return render(library, template, "paper.qmd", printer=printer or PaperPrinter()).markdown.strip()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("fact-recall.lens.final_rank", "13\u00a0\\[9, 16\\]"),
        ("fact-recall.lens.share_known | percent", "75\u00a0%\u00a0\\[71, 79\\]"),
        ("fact-recall.lens.n_kept", "120"),
        ("fact-recall.lens.seed_spread", "0\\.410\u00a0\\[–\\]"),
        ('number("fact-recall.lens.final_rank", model="far-away")', "\\[not measured here\\]"),
    ],
)
def test_a_number_stands_with_its_interval(ledger: Ledger, name: str, shown: str) -> None:
    assert printed(ledger, f"{{{{ {name} }}}}") == shown


def test_which_numbers_and_claims_were_printed_is_kept(ledger: Ledger) -> None:
    printer = PaperPrinter()
    template = (
        '{{ fact-recall.lens.final_rank }} {% claim "fact-recall.mostly-known" %}So it is.{% endclaim %}'
    )
    text = printed(ledger, template, printer)
    assert [name for name, _ in printer.numbers] == ["fact-recall.lens.final_rank"]
    assert list(printer.claims) == [("fact-recall.mostly-known", "tiny-llama")]
    assert "**\\[broken\\: the text says supported, measured contradicted\\]**" in text
    assert text.endswith(']{.claim data-claim="fact-recall.mostly-known" data-verdict="contradicted"}')


def test_a_claim_that_is_as_the_text_says_is_its_sentence_alone() -> None:
    cited = ClaimSentence("a.c", Claim(holds="a.b > 1"), "supported", {"m": Verdict("c", "supported", 1.0)})
    said = PaperPrinter().claim(cited, "It is so.")
    assert said == '[It is so.]{.claim data-claim="a.c" data-verdict="supported"}'
    found = replace(cited, by_model={"m": Verdict("c", "not found here", 0.0)}, asserted="not found here")
    assert 'data-verdict="not-found-here"' in PaperPrinter().claim(found, "No.")


def test_a_chart_and_a_table_have_captions_and_labels(ledger: Ledger) -> None:
    chart = printed(ledger, '{{ chart("fact-recall.lens.by_layer") }}')
    assert chart.startswith("![Rank of the answer by layer. Band\\: 95\u00a0% interval\\.](charts/")
    assert '{#fig-fact-recall-lens-by_layer fig-alt="Rank of the answer by layer. Line chart' in chart
    own = '{{ chart("fact-recall.lens.by_layer", label="fig-rank", caption="The *rank*.") }}'
    assert printed(ledger, own).startswith("![The *rank*.](charts/fig-rank.svg){#fig-rank fig-alt=")
    table = printed(
        ledger, '{{ table("fact-recall.lens.by_layer", rows=1, label="tbl-r", caption="Ranks") }}'
    )
    assert table.endswith(": Ranks. 1 of 24 rows shown\\. {#tbl-r}")


def test_a_label_that_could_name_a_file_elsewhere_is_refused(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="is no label"):
        printed(ledger, '{{ chart("fact-recall.lens.by_layer", label="../x") }}')


def test_data_means_nothing_to_pandoc() -> None:
    assert for_pandoc("*a* [b](c) $x$ @k {#i} -- ^2^") == (
        r"\*a\* \[b\](c) \$x\$ \@k \{\#i\} \-\- \^2\^".replace("(c)", r"\(c\)")
    )
    assert labelled("fig", "made-up.lens.by layer") == "fig-made-up-lens-by-layer"
    assert labelled("fig", "fig-x") == "fig-x"


def test_a_sentence_may_speak_of_another_model(ledger: Ledger) -> None:
    printer = PaperPrinter()
    template = (
        '{% claim "fact-recall.mostly-known", "undetermined", "tiny-gpt2" %}It is open.{% endclaim %} '
        '{% claim "fact-recall.mostly-known", "contradicted" %}No.{% endclaim %}'
    )
    text = printed(ledger, template, printer)
    assert "broken" not in text and 'data-verdict="undetermined"' in text
    assert [model for _, model in printer.claims] == ["tiny-gpt2", "tiny-llama"]
    with pytest.raises(Exception, match="models has no 'tiny'"):
        printed(ledger, template.replace("tiny-gpt2", "tiny"))
