"""`mech analyze-sae-stability` with toy families: one trains, one declares to compare over seeds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.runs.toy import FAMILY, Toy

COMPARING = '''"""Compare."""
import numpy as np
from pydantic import BaseModel

from engine.evidence.result import Measurement, Result
from engine.spec.inputs import Inputs, Uses

inputs = Inputs(uses={"saes": Uses("polysemanticity_sae", over="seed")})


class Params(BaseModel, extra="forbid"):
    pass


def run(lab, params):
    seeds = [dict(point)["seed"] for point in lab.uses["saes"]]
    scores = [r.result.measurements["score"].value for r in lab.uses["saes"].values()]
    assert len(set(scores)) == 1  # one setting at a time
    interval = (0.4, 0.6, len(seeds), "seed")
    return Result(
        findings=[
            Measurement("n_seeds", len(seeds), None, None, len(seeds), "seed", exact=True),
            Measurement("median_best_match", 0.5, *interval, control="chance_best_match"),
            Measurement("live_median_best_match", 0.55, *interval, control="chance_live_best_match"),
        ],
        controls=[
            Measurement("chance_best_match", 0.1, 0.08, 0.12, 5, "draw"),
            Measurement("chance_live_best_match", 0.2, 0.18, 0.22, 5, "draw"),
        ],
    )
'''
SWEEP = """\
title: Seeds
question: Alike?
models: [tiny]
experiments:
  layer0:
    family: polysemanticity_sae
    hook_site: blocks.0.hook_resid_pre
    sweep: {k: [4, 8], seed: [0, 1, 2]}
  other: {family: count_words}
"""


@pytest.fixture
def toy(toy: Toy) -> Toy:
    """A toy project with the two families and a sweep of one."""
    toy.write("engine/families/polysemanticity_sae.py", FAMILY)
    toy.write("engine/families/sae_stability.py", COMPARING)
    toy.write("sweep.yaml", SWEEP)
    return toy


def test_every_setting_is_compared_over_its_seeds_beside_chance(engine: Any, toy: Toy) -> None:
    answer = engine("analyze-sae-stability", "--sweep", "sweep.yaml", "--output", "stability.md")
    assert answer.code == 0, answer.err
    assert len(toy.executed) == 6
    page = (toy.root / "stability.md").read_text()
    assert page.count("\n## tiny, blocks.0.hook_resid_pre, k = ") == 2
    assert "| median_best_match | 0.50 | (0.40 to 0.60) | 3 seeds | 0.100 (0.080 to 0.120) |" in page
    assert "| live_median_best_match |" in page
    again = engine(
        "analyze-sae-stability", "--sweep", "sweep.yaml", "--output", "stability.json", "--live-only"
    )
    assert again.code == 0
    assert len(toy.executed) == 6  # nothing was trained again
    told = json.loads((toy.root / "stability.json").read_text())
    assert [m["name"] for m in told[0]["numbers"]] == ["n_seeds", "live_median_best_match"]
    assert told[0]["numbers"][1]["chance"]["value"] == 0.2
    assert (told[1]["parameters"], told[1]["seeds"]) == ({"k": 8}, [0, 1, 2])


def test_what_the_sweep_trained_is_not_trained_again(engine: Any, toy: Toy) -> None:
    assert engine("run", "--spec", "sweep.yaml").code == 0
    assert len(toy.executed) == 7
    plan = engine("analyze-sae-stability", "--sweep", "sweep.yaml", "--dry-run", "--json").json
    assert [r["family"] for r in plan["runs"] if r["decision"] == "measure"] == ["sae_stability"] * 2
    answer = engine("analyze-sae-stability", "--sweep", "sweep.yaml", "--json")
    assert len(toy.executed) == 7
    assert [row["run_id"] for row in answer.json] == [8, 9]


def test_a_sweep_that_mech_sweep_wrote_is_analyzed(engine: Any, toy: Toy) -> None:
    toy.write("base.yaml", "name: sae\nfamily: polysemanticity_sae\nmodel: tiny\n")
    axis = ("--axis", "parameters.seed=0,1")
    engine("sweep", "--base", "base.yaml", *axis, "--output", "seeds.yaml", "--execute")
    answer = engine("analyze-sae-stability", "--sweep", "seeds.yaml")
    assert answer.code == 0, answer.err
    assert "2 seeds" in answer.out
    assert len(toy.executed) == 2


def test_a_comparison_without_its_saes_is_told(engine: Any, toy: Toy) -> None:
    toy.write("sweep.yaml", SWEEP.replace("k: [4, 8]", "spoil: [nan, fine]"))
    answer = engine("analyze-sae-stability", "--sweep", "sweep.yaml", "--output", "out.md")
    assert answer.code == 1
    assert "not measured: uses layer0_spoil_nan[seed=0], which has no result" in answer.out
    assert "| median_best_match |" in (toy.root / "out.md").read_text()


BAD = {
    "no seeds": (SWEEP.replace(", seed: [0, 1, 2]", ""), [], "--axis parameters.seed=0,1,2"),
    "one seed": (SWEEP.replace("[0, 1, 2]", "[0]"), [], "sweep: {seed: [0, 1, 2]}"),
    "no SAEs": (SWEEP.replace("polysemanticity_sae", "count_words"), [], "polysemanticity_sae"),
    "an unknown parameter": (SWEEP.replace("k: [4", "kk: [4"), [], "nearest: k"),
    "no such folder": (SWEEP, ["--output", "nowhere/a.md"], "no such folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_refusal_is_one_message_and_nothing_is_trained(engine: Any, toy: Toy, case: str) -> None:
    text, options, needed = BAD[case]
    toy.write("sweep.yaml", text)
    answer = engine("analyze-sae-stability", "--sweep", "sweep.yaml", *options)
    assert answer.code == 2
    assert needed in answer.err
    assert toy.executed == []
