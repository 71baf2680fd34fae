"""What a ledger says, and on whose authority."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from engine.runs.assemble import assemble, stored_entry
from engine.runs.execution.scheduler import execute
from engine.runs.published.write import write_published

CLAIMS = {"more": {"holds": "count.score > count.chance"}}


def publish(toy: Any) -> None:
    write_published(toy.ledger(), toy.root / "investigations/words/published")


def without_store(toy: Any) -> Any:
    """The same project on another machine."""
    (toy.root / ".engine").rename(toy.root / ".elsewhere")
    return toy


def edit_published(toy: Any, **changes: Any) -> None:
    """The published score or date as another machine would have measured it."""
    path = toy.root / "investigations/words/published/tiny.json"
    data = json.loads(path.read_text())
    run = data["runs"]["count"]
    run["measurements"]["score"] |= {k: v for k, v in changes.items() if k != "date"}
    run["provenance"] |= {k: v for k, v in changes.items() if k == "date"}
    path.write_text(json.dumps(data))


def test_a_measured_entry_has_everything_and_its_claims_are_judged(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={})
    ledger = toy.ledger()
    measurement, entry = ledger.number("count.score")
    assert measurement is not None
    assert (measurement.value, entry.state, entry.provenance.run_id) == (25.5, "measured", 1)
    assert entry.provenance.asked["parameters"]["k"] == 8
    verdict = ledger.verdicts["tiny"]["more"]
    assert (verdict.verdict, verdict.share, verdict.source) == ("supported", 1.0, "measured")


def test_a_failed_check_withholds_numbers_and_leaves_claims_undetermined(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={"parameters": {"spoil": "check"}}, good={})
    ledger = toy.ledger()
    measurement, entry = ledger.number("count.score")
    assert measurement is None
    assert entry.withheld
    assert (entry.measurements, entry.tables, entry.figures) == ({}, {}, {})
    assert entry.reason == "check identity failed: 1, at most 1e-05 is allowed"
    assert entry.provenance.run_id == 1
    verdict = ledger.verdicts["tiny"]["more"]
    assert verdict.verdict == "undetermined"
    assert "identity" in verdict.reason
    with toy.store() as store:
        assert stored_entry(store, store.run(1)).withheld
    assert ledger.entry("good").state == "measured"


def test_a_relative_hook_site_is_shown_with_its_layer_measured_or_published(toy: Any) -> None:
    toy.spec(count={"hook_site": "blocks.50%.hook_resid_pre"})
    publish(toy)
    measured = toy.ledger().entry("count")
    published = without_store(toy).ledger(budget=0.0).entry("count")
    assert (measured.state, published.state) == ("measured", "published")
    assert measured.provenance.hook_site == "blocks.2.hook_resid_pre"  # half of four layers
    assert published.provenance.hook_site == "blocks.2.hook_resid_pre"


def test_a_stale_number_is_not_shown(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={})
    toy.build()
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    ledger = toy.ledger(budget=0.0)
    (entry,) = ledger.entries
    assert (entry.state, entry.measurements) == ("unmeasured", {})
    assert entry.reason == (
        "stale here (code: engine/lab/tools.py changed); --budget 0 measures nothing; "
        "nothing is published for it"
    )
    assert ledger.verdicts["tiny"]["more"].verdict == "unmeasured"
    assert ledger.verdicts["tiny"]["more"].reason.startswith("count: stale here")


def test_a_run_that_failed_just_now_says_so(toy: Any) -> None:
    toy.count(spoil="error")
    (entry,) = toy.ledger().entries
    assert entry.state == "unmeasured"
    assert "the family has a mistake" in entry.reason


def test_a_run_damaged_since_the_plan_does_not_stop_the_others(toy: Any) -> None:
    toy.spec(count={}, other={"parameters": {"k": 2}})
    toy.build()
    with toy.store() as store:
        plan = toy.plan()
        (toy.root / ".engine/runs/1/arrays.safetensors").unlink()
        (first,) = plan.investigations.values()
        ledger = assemble(first, store, plan, execute(plan, store, toy.sources()))
    assert [e.state for e in ledger.entries] == ["unmeasured", "measured"]
    assert re.match(r"run 1 is damaged: .*arrays\.safetensors is missing", ledger.entries[0].reason)


def test_a_claim_on_a_number_that_does_not_exist_names_those_that_do(toy: Any) -> None:
    toy.spec(claims={"more": {"holds": "count.scores > 1"}}, count={})
    ledger = toy.ledger()
    (wrong,) = ledger.wrong_claims
    assert wrong.near[0] == "score"
    assert wrong.where.endswith("spec.yaml: claims.more")
    assert ledger.verdicts["tiny"]["more"].verdict == "unmeasured"
    assert ledger.entries[0].state == "measured"


def test_a_claim_is_not_called_wrong_before_its_experiment_was_measured(toy: Any) -> None:
    toy.spec(claims={"more": {"holds": "count.scores > 1"}}, count={})
    assert toy.ledger(measure=False).wrong_claims == ()


def test_a_published_verdict_serves_only_the_predicate_it_was_a_verdict_on(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={})
    publish(toy)
    for path in (toy.root / ".engine").glob("runs.db*"):
        path.unlink()
    (toy.root / ".engine/runs").rename(toy.root / "elsewhere")
    assert toy.ledger(budget=0.0).verdicts["tiny"]["more"].source == "published"
    toy.spec(claims={"more": {"holds": "count.score > 2 * count.chance"}}, count={})
    verdict = toy.ledger(budget=0.0).verdicts["tiny"]["more"]
    assert verdict.verdict == "unmeasured"
    assert "no verdict on this predicate was published" in verdict.reason


def test_a_run_and_its_own_published_copy_are_one_measurement(toy: Any) -> None:
    publish(toy)
    assert toy.ledger().comparisons == ()
    toy.build(fresh=True)  # the same inputs, measured again: another run, unless it was within the second
    edit_published(toy, date="2020-01-01T00:00:00+00:00")
    assert toy.ledger().replicated == (1, 1)


@pytest.mark.parametrize(
    ("published", "agrees"), [(25.5, True), (24.0, True), (99.0, False), (25.5000001, True)]
)
def test_a_fresh_number_whose_interval_excludes_the_published_one_is_drift(
    toy: Any, published: float, agrees: bool
) -> None:
    publish(toy)
    edit_published(toy, value=published, date="2020-01-01T00:00:00+00:00")
    ledger = toy.ledger()
    (comparison,) = ledger.comparisons  # the exact count and the control are not compared
    assert (comparison.name, comparison.published, comparison.fresh) == ("count.score", published, 25.5)
    assert comparison.agrees is agrees
    assert ledger.replicated == (int(agrees), 1)


def test_an_interval_without_width_agrees_with_its_rounded_copy(toy: Any) -> None:
    toy.edit(
        "engine/families/count_words.py",
        "samples = np.arange(20.0) + double(params.k)",
        "samples = np.full(20, 1 / 3)",
    )
    publish(toy)
    edit_published(toy, date="2020-01-01T00:00:00+00:00")
    assert toy.ledger().replicated == (1, 1)


def test_a_number_that_answers_another_experiment_is_not_compared(toy: Any) -> None:
    publish(toy)
    toy.count(k=9)
    assert toy.ledger().comparisons == ()


def test_what_was_said_of_another_model_is_found_here_or_not(toy: Any) -> None:
    said = {"about": "small"}
    toy.spec(
        claims={
            "more": CLAIMS["more"] | said,
            "less": {"holds": "count.score < count.chance"} | said,
            "own": CLAIMS["more"],
        },
        models=("tiny", "small"),
        count={},
    )
    publish(toy)
    for ledger in (toy.ledger(), without_store(toy).ledger(budget=0.0)):
        found = {m: {c: v.verdict for c, v in by.items()} for m, by in ledger.verdicts.items()}
        assert found["tiny"] == {"more": "found here", "less": "not found here", "own": "supported"}
        assert found["small"] == {"more": "supported", "less": "contradicted", "own": "supported"}


ACROSS = {"more": {"holds": "count.score > 14", "across": {"count.k": [8, 2], "count.seed": [0, 1]}}}


def test_a_claim_across_choices_is_judged_under_each_and_published_with_them(toy: Any) -> None:
    toy.spec(claims=ACROSS, count={})
    publish(toy)
    for source in ("measured", "published"):
        ledger = toy.ledger() if source == "measured" else without_store(toy).ledger(budget=0.0)
        verdict = ledger.verdicts["tiny"]["more"]
        # k = 2 makes the mean 13.5, so that the claim holds with the spec's own k alone.
        assert (verdict.verdict, verdict.source) == ("undetermined", source)
        assert verdict.reason == "it holds in 2 of 4 specifications, is undetermined in 2"
        found = {tuple(each.choices.values()): each for each in verdict.specifications}
        assert [each.verdict.verdict for each in found.values()] == ["supported"] * 2 + ["undetermined"] * 2
        margin = found[8, 0].margin
        assert margin is not None and margin.value == 25.5
        assert (margin.low, margin.high) == pytest.approx((23.0, 28.0), abs=0.5)


def test_a_claim_whose_missing_specifications_could_decide_is_unmeasured(toy: Any) -> None:
    toy.spec(count={})
    toy.build()
    toy.spec(claims=ACROSS, count={})
    verdict = toy.ledger(budget=0.0).verdicts["tiny"]["more"]
    assert verdict.verdict == "unmeasured"
    assert verdict.reason.startswith("it holds in 1 of 4 specifications, is unmeasured in 3; count[seed=1]: ")


def test_what_was_measured_here_stands_beside_what_was_published(toy: Any) -> None:
    toy.spec(claims=ACROSS, count={})
    publish(toy)
    away = without_store(toy)
    away.build(select=lambda name: name.label == "count")
    verdict = away.ledger(budget=0.0).verdicts["tiny"]["more"]
    assert [each.verdict.source for each in verdict.specifications] == ["measured"] + ["published"] * 3
    assert verdict.source == "published"
    assert verdict.reason == "it holds in 2 of 4 specifications, is undetermined in 2"


def test_a_verdict_across_choices_is_none_on_the_specs_own_values(toy: Any) -> None:
    toy.spec(claims=ACROSS, count={})
    publish(toy)
    alone = {"more": {"holds": ACROSS["more"]["holds"]}}
    toy.spec(claims=alone, count={})
    verdict = without_store(toy).ledger(budget=0.0).verdicts["tiny"]["more"]
    assert verdict.verdict == "unmeasured"
    assert "no verdict on this predicate" in verdict.reason
