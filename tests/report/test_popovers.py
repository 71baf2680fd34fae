"""What a popover says of a number: where in the model it was measured, among all else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evidence.result import Measurement
from engine.report.numbers import Number
from engine.report.popovers import brief_facts, provenance_facts
from engine.report.render import render
from tests.report.conftest import PROVENANCE


def test_the_hook_site_is_told_as_it_was_resolved() -> None:
    asked = {"family": "polysemanticity_sae", "hook_site": "blocks.15.hook_resid_pre"}
    facts = dict(provenance_facts(replace(PROVENANCE, asked=asked)))
    assert facts["Hook site"] == "blocks.15.hook_resid_pre"
    assert list(facts).index("Hook site") == list(facts).index("Model") + 1


def test_a_family_without_a_hook_site_has_no_such_fact() -> None:
    assert "Hook site" not in dict(provenance_facts(replace(PROVENANCE, asked={"hook_site": None})))


def test_what_was_read_and_how_much_of_it_is_told() -> None:
    read = {"corpus": "org/set at abc, from the Hugging Face hub: 110,000 tokens of 100 documents"}
    facts = dict(provenance_facts(replace(PROVENANCE, read=read)))
    assert facts["Corpus"] == read["corpus"]
    assert "Prompts" not in facts


def test_dictionaries_from_elsewhere_are_told_with_their_hashes() -> None:
    assert "Dictionaries" not in dict(provenance_facts(PROVENANCE))
    coders = {"./dictionaries/theirs": "0123456789abcdef", "./dictionaries/others": "fedcba9876543210"}
    facts = dict(provenance_facts(replace(PROVENANCE, coders=coders)))
    assert facts["Dictionaries"] == (
        "./dictionaries/theirs, hash 0123456789ab, ./dictionaries/others, hash fedcba987654"
    )


def test_the_popover_of_a_number_shows_the_hook_site(ledger) -> None:
    first, *others = ledger.entries
    read = replace(first.provenance, asked={"hook_site": "blocks.15.hook_resid_pre"})
    ledger = replace(ledger, entries=(replace(first, provenance=read), *others))
    page = render(ledger, "{{ lens.final_rank }}", "report.md").popovers
    assert "<dt>Hook site</dt><dd>blocks.15.hook&#x5F;resid&#x5F;pre</dd>" in page


@pytest.mark.parametrize(
    ("value", "low", "high", "label", "said"),
    [
        (0.0, 0.0, 0.3, "Ends at 0", "no share is below 0; none of 120 prompts of 12 topics were such"),
        (0.05, 0.0, 0.2, "Ends at 0", "no share is below 0, and that none"),
        (1.0, 0.7, 1.0, "Ends at 1", "no share is above 1; all of 120 prompts of 12 topics were such"),
        (0.95, 0.8, 1.0, "Ends at 1", "no share is above 1, and that all"),
        (0.5, 0.4, 0.6, "", ""),
    ],
)
def test_an_interval_that_ends_where_a_share_does_says_so(
    ledger, value: float, low: float, high: float, label: str, said: str
) -> None:
    share = Measurement("share", value, low, high, 120, "prompt", statistic="fraction")
    share = replace(share, n_clusters=12, cluster_unit="topic")

    def facts_of(measurement: Measurement) -> dict[str, str]:
        number = Number("a.share", measurement, ledger.entries[0], ledger, None, None)  # type: ignore[arg-type]
        return dict(brief_facts(number))

    facts = facts_of(share)
    ends = {name: text for name, text in facts.items() if name.startswith("Ends at")}
    assert list(ends) == [label] * bool(label)
    assert ends.get(label, "").startswith(said)
    # A mean of another kind may end there by its data, and has no such bound.
    assert "Ends at 0" not in facts_of(replace(share, statistic="mean"))
