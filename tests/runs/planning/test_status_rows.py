"""What `engine status` says of each run, as plain data."""

from __future__ import annotations

import json
from typing import Any

from engine.runs.planning.status_rows import status


def test_the_plan_and_the_status_are_plain_data(toy: Any) -> None:
    toy.build()
    toy.count(k=9)
    plan = toy.plan(budget=60.0)
    assert json.loads(json.dumps(plan.to_json()))["runs"][0]["changed"] == ["parameter k: 8 -> 9"]
    (row,) = status(plan)
    assert json.loads(json.dumps(row.to_json())) == row.to_json()
    assert (row.state, row.run_id, row.measured) == ("stale", 1, True)
    assert row.age_seconds is not None
    assert 0 <= row.age_seconds < 60
