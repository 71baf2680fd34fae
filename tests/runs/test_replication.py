"""How numbers stand to what is published: judged where they can be, counted once for every page."""

from __future__ import annotations

from dataclasses import replace

from engine.runs.replication import ReplicationCounts, measured_here, standings, state_counts, together
from tests.publish.made_up import ledger


def states(made, label: str, model: str) -> dict[str, str]:
    return {n.name: n.state for n in standings(made, made.entry(label, model))}


def test_a_finding_that_was_compared_is_replicated_or_drifted_and_others_are_only_measured_here() -> None:
    assert states(ledger(), "lens", "tiny-llama") == {
        "lens.final_rank": "replicated",
        "lens.share_known": "drifted",
        "lens.other_rank": "measured here",  # a control is shown and not judged
        "lens.n_kept": "measured here",
    }


def test_a_published_number_is_not_measured_here_and_has_no_fresh_value() -> None:
    made = ledger()
    found = standings(made, made.entry("patch", "tiny-gpt2"))
    assert {n.state for n in found} == {"not measured here"}
    assert all(n.fresh is None and n.published is not None for n in found)
    assert standings(made, made.entry("patch", "far-away")) == []


def test_a_number_measured_here_has_the_published_one_beside_it_whatever_its_role() -> None:
    made = ledger()
    before = {"other_rank": replace(made.entry("lens").measurements["other_rank"], value=300.0)}
    made = replace(made, published_numbers={("lens", "tiny-llama"): before})
    beside = {n.name: n.published and n.published.value for n in standings(made, made.entry("lens"))}
    assert beside["lens.other_rank"] == 300.0
    assert beside["lens.final_rank"] is None


def test_the_counts_are_those_of_the_states() -> None:
    made = ledger()
    counts = measured_here(made)
    by_state = state_counts(n for entry in made.entries for n in standings(made, entry))
    assert counts.total == by_state.total() == 12
    assert counts.rest == by_state["not measured here"] == 6
    assert (counts.agreed, counts.drifted) == (by_state["replicated"], by_state["drifted"]) == (1, 1)


def test_words_tell_what_was_measured_here_what_drifted_and_from_when_the_rest_is() -> None:
    day = "2026-01-31"
    assert measured_here(ledger()).in_words == (
        f"measured here: 6 of 12, 1 of 2 compared drifted; the rest from {day}"
    )
    assert ReplicationCounts(3, 3, 2, 2).in_words == "measured here: 3 of 3, all 2 compared agree"
    assert ReplicationCounts(3, 3, 0, 0).in_words == "measured here: 3 of 3"
    span = ReplicationCounts(3, 0, 0, 0, ("2026-01-01", "2026-02-01"))
    assert span.in_words == "measured here: 0 of 3; the rest from 2026-01-01 to 2026-02-01"
    assert ReplicationCounts(0, 0, 0, 0).in_words == "nothing has been measured yet"


def test_several_investigations_are_counted_together() -> None:
    made = ledger()
    assert measured_here([made, made]) == together([measured_here(made)] * 2)
    assert measured_here([made, made]).total == 24
    assert together([]) == ReplicationCounts(0, 0, 0, 0)
