"""What the ledger writes by itself: a row for each thing, the worst of a sweep, reasons once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.evidence.result import Check
from engine.report.escape import as_it_is
from engine.report.generated_sections import how_measured, repeat, where_it_holds
from engine.report.printers.text import TextPrinter
from engine.runs.ledger import Ledger
from tests.report.conftest import entry

PRINTER = TextPrinter(as_it_is)


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table rows that begin with a word."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [row for row in cells if row[0] == first]


def test_each_claim_is_a_row_with_its_verdict_on_every_model(ledger: Ledger) -> None:
    text = where_it_holds(ledger, PRINTER)
    ((_, holds, *verdicts),) = rows(text, "rank-falls")
    assert holds == "lens.final_rank < lens.other_rank"
    assert verdicts == ["supported, more than 99.9 %", "supported, 100 %", "unmeasured"]
    assert rows(text, "The model knows most facts.")[0][2:4] == ["contradicted, 0.1 %", "undetermined, 60 %"]


def test_a_reason_that_several_claims_share_is_told_once(ledger: Ledger) -> None:
    gone = ledger.verdicts["far-away"]["rank-falls"]
    both = {"rank-falls": gone, "mostly-known": replace(gone, claim="mostly-known")}
    text = where_it_holds(replace(ledger, verdicts=ledger.verdicts | {"far-away": both}), PRINTER)
    assert text.count("the hub cannot be reached") == 1
    assert "- far-away, rank-falls, mostly-known unmeasured: the hub cannot be reached" in text


def test_without_claims_nothing_is_said_of_percentages(ledger: Ledger) -> None:
    spec = ledger.spec.model_copy(update={"claims": {}})
    assert "share of bootstrap replicates" not in where_it_holds(replace(ledger, spec=spec), PRINTER)


def test_of_a_sweep_the_failed_check_is_shown_though_a_passed_one_is_larger(ledger: Ledger) -> None:
    checks = [Check("sum", 0.5, 1.0, "parts add up"), Check("sum", 0.02, 0.01, "parts add up")]
    points = [entry("sweep", point={"seed": n}, checks=(check,)) for n, check in enumerate(checks)]
    text = how_measured(replace(ledger, entries=tuple(points)), PRINTER)
    assert rows(text, "sweep[2 points]")[-1][2:] == ["parts add up", "0.02", "0.01", "failed"]


def test_drift_and_replication_are_told_before_the_runs(ledger: Ledger) -> None:
    text = how_measured(ledger, PRINTER)
    assert text.index("Numbers measured here: ") < text.index("| Experiment |")
    assert "1 of 2 compared drifted; the rest from 2026-01-31." in text
    assert "Drift: lens.share_known on tiny-llama, published 0.9, measured here 0.753" in text
    assert "drift" not in how_measured(replace(ledger, comparisons=()), PRINTER)


def test_a_withheld_run_says_which_check_failed_and_keeps_its_controls_back(ledger: Ledger) -> None:
    text = how_measured(ledger, PRINTER)
    assert "bad on tiny-llama: check padding failed: 0.2, at most 0.0001 is allowed" in text
    assert rows(text, "bad.other_rank") == []
    assert rows(text, "lens.other_rank")


def test_an_environment_is_told_once_however_many_runs_had_it(ledger: Ledger) -> None:
    runs = [entry("lens"), entry("patch-heads")]
    text = how_measured(replace(ledger, entries=tuple(runs)), PRINTER)
    assert text.count("torch 2.13.0, transformers 5.23.0") == 1


def test_the_primary_models_numbers_can_be_measured_again_also_those_that_never_were(ledger: Ledger) -> None:
    never = entry("patch-heads", state="unmeasured", measurements={}, provenance=None)
    away = entry("lens", model="far-away", provenance=None)
    text = repeat(replace(ledger, entries=(entry(), never, away)), PRINTER, Path("nowhere/spec.yaml"))
    assert "mech run --name fact-recall/lens --model tiny-llama" in text
    assert "mech run --name fact-recall/patch-heads --model tiny-llama" in text
    assert "--model far-away" not in text
    assert "title: How does a model recall a fact?" in text
