"""`engine status`: how the experiments stand, and what their activations take on the disk."""

from __future__ import annotations

import json
from typing import Any

from tests.commands.harvests import CORPUS, harvest
from tests.runs.toy import Toy


def test_status_names_the_input_that_changed(engine, project):
    engine("run", "--name", "planted/lens")
    assert engine("status", "--json").json[0]["state"] == "up to date"
    spec = project / "investigations/planted/spec.yaml"
    spec.write_text(
        spec.read_text().replace(
            "prompts: facts.csv", "prompts: facts.csv\n    parameters: {named_depth: 0.5}"
        )
    )
    row = engine("status", "--json").json[0]
    assert row["state"] == "stale"
    assert "named_depth" in row["reason"]
    assert "0.75 -> 0.5" in row["reason"]


def test_status_says_what_activations_take_on_the_disk(engine: Any, toy: Toy) -> None:
    toy.spec(count={"corpus": CORPUS})
    assert "activations" not in engine("status").out
    harvest(toy, "one", n_bytes=2_000_000)
    harvest(toy, "two", model_hash="other", n_bytes=1_000_000)
    assert "activations take 3 MB in 2 sets; engine runs gc" in engine("status").out
    assert len(engine("status", "--json").json) == 1  # rows are runs, and only runs


def test_a_setting_of_a_local_tokenizer_makes_its_runs_stale(engine, project):
    """Nothing is converted for it: the plan reads what the model's files are now."""
    engine("run", "--name", "planted/lens")
    assert engine("status", "--json").json[0]["state"] == "up to date"
    file = project / "model" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"add_prefix_space": True}))
    row = engine("status", "--json").json[0]
    assert row["state"] == "stale"
    assert "model" in row["reason"]
