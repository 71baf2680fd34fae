"""A headline's numbers have their controls beside them, and what is called strongest is the strongest."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from engine.evidence.result import Measurement
from engine.report.render import render
from tests.report.conftest import entry, measurements

HEADS = pd.DataFrame(
    {
        "name": ["L0H1", "L1H2", "L2H0"],
        "site": ["z", "z", "mlp"],
        "recovered": [0.2, 0.5, 0.9],
        "low": [0.5, 0, 0],
    }
)


def number(name: str, value: float, **more) -> Measurement:
    return Measurement(name, value, value - 0.1, value + 0.1, 20, "prompt", **more)


@pytest.fixture
def heads(ledger):
    """The ledger with heads of known effects, and a chosen head."""
    chosen = Measurement("top", 2, None, None, 20, "prompt", statistic="choice", frequency=0.34)
    steady = replace(chosen, name="steady", frequency=0.99)
    added = {m.name: m for m in (number("middle", 0.5), number("least", 0.2), number("top_mlp", 0.9))}
    added |= {"chosen": replace(chosen, name="chosen"), "steady": steady, "alone": number("alone", 0.7)}
    lens = entry(measurements=measurements() | added, tables={"heads": HEADS})
    return replace(ledger, entries=(lens, *ledger.entries[1:]))


def concerns(ledger, text: str) -> list[tuple[str, str]]:
    found = render(ledger, text, "report.md").concerns
    return [(c.where, c.message) for c in found if c.kind == "not-the-extreme"]


@pytest.mark.parametrize(
    "text",
    [
        "The strongest part restores {{ lens.top_mlp }}.",
        "The strongest head restores {{ lens.middle }}.",  # of its site, which the table has
        "The weakest head restores {{ lens.least }}.",
        "One head restores {{ lens.middle }}. The strongest is another.",
        "The largest effect is not in a table: {{ lens.alone }}.",
        "Most heads restore less than {{ lens.least }}, and at most that.",
        "The strongest head, always the same, is of layer {{ lens.steady }}.",
        "| strongest | {{ lens.least }} |",
    ],
)
def test_what_is_the_extreme_or_in_no_table_is_left_alone(heads, text):
    assert concerns(heads, text) == []


def test_a_sentence_may_use_what_the_template_set_before_it(heads):
    text = '{% set one = "tiny-llama" %}\nThe strongest head is of layer {{ number("lens.X", model=one) }}.'
    assert concerns(heads, text.replace("X", "steady")) == []
    assert len(concerns(heads, text.replace("X", "chosen"))) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "The strongest head\nrestores {{ lens.least }}.",
            "'strongest' stands beside lens.least, which is in table heads",
        ),
        ("Head two restores most: {{ lens.least | percent }}.", "'most' stands beside lens.least"),
        ("The lowest is {{ lens.top_mlp }}, and that.", "not its smallest"),
        ("The best head is of layer {{ lens.chosen }}.", "which 34% of the resamples choose"),
        ('{% claim "rank-falls" %}The highest is {{ lens.least }}.{% endclaim %}', "not its largest"),
    ],
)
def test_a_superlative_beside_what_is_no_extreme_is_told_with_its_line(heads, text, told):
    (found,) = concerns(heads, "First line.\n\n" + text)
    assert found[0] == "report.md:3"
    assert told in found[1]


def test_a_headline_value_without_its_control_is_told(ledger):
    alone = {"headline": "The rank falls to {{ lens.final_rank }}."}
    ledger = replace(ledger, spec=ledger.spec.model_copy(update=alone))
    found = render(ledger, "", "report.md").concerns
    told = [c for c in found if c.kind == "headline-without-control"]
    assert [c.where for c in told] == ["spec.yaml (headline)"]
    assert told[0].message == (
        "lens.final_rank stands without its control: print {{ lens.other_rank }} beside it"
    )


@pytest.mark.parametrize("control", ["{{ lens.other_rank }}", "{{ lens.final_rank.control }}"])
def test_a_control_beside_it_in_either_form_will_do(ledger, control):
    headline = f"The rank falls to {{{{ lens.final_rank }}}} against {control}."
    ledger = replace(ledger, spec=ledger.spec.model_copy(update={"headline": headline}))
    assert "headline-without-control" not in [c.kind for c in render(ledger, "", "report.md").concerns]
