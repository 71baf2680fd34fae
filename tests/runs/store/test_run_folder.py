"""A run's folder is evidence, or says which file is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import StoreError
from engine.runs.store import run_folder
from tests.runs.store.test_store import a_record, a_result


def test_evidence_that_has_other_fields_than_today_counts_as_damaged(tmp_path: Path) -> None:
    """As from a version of the engine whose measurements had a field that is gone."""
    run_folder.write_run(tmp_path, a_record(), a_result())
    path = tmp_path / run_folder.RESULT
    data = json.loads(path.read_text())
    data["measurements"][0]["colour"] = "green"
    path.write_text(json.dumps(data))
    _, files = run_folder.read_record(tmp_path)
    with pytest.raises(StoreError, match=r"result\.json(?s:.)*colour(?s:.)*measured anew"):
        run_folder.read_result(tmp_path, files)
