"""A record is the same again when it is read, and a name is one that a person can type."""

from __future__ import annotations

import json

from engine.runs.store.record import RunName, StoredRun, record_from, run_from_row
from tests.runs.store.test_store import a_record


def test_a_record_survives_json() -> None:
    record = a_record()
    assert record_from(json.loads(json.dumps(record.to_json()))) == record


def test_a_row_is_the_run_it_was_made_from() -> None:
    run = StoredRun(7, a_record(), {"result.json": {"bytes": 3, "sha256": "aa"}}, "gone")
    assert run_from_row(run.to_row()) == run
    assert (run.key, run.seconds, run.date[:10]) == ("k1", 1.5, "2026-01-01")


def test_a_name_says_experiment_point_and_model() -> None:
    assert str(RunName("facts", "lens", (("seed", 3),), "tiny")) == "facts/lens[seed=3] on tiny"
    assert RunName("facts", "lens", (), "tiny").label == "lens"
