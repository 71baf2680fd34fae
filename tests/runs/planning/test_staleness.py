"""What makes a run stale, in which words, and what stands in the way of measuring it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import SpecError

FAMILY, SPEC = "engine/families/count_words.py", "investigations/words/spec.yaml"


def edit(name: str, old: str, new: str) -> Callable[[Any], None]:
    return lambda toy: toy.edit(name, old, new)


def new_import(toy: Any) -> None:
    toy.write("engine/lab/lab.py", "import engine.data.rows")
    toy.write("engine/data/rows.py", "x = 1")


def new_model(toy: Any) -> None:
    toy.models(tiny={"hash": "cc33", "n_layers": 4})


def damage(toy: Any) -> None:
    next((toy.root / ".engine/runs").glob("*/result.json")).write_text("{")


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda toy: None, []),
        (edit(FAMILY, "def run(lab", "# a comment\ndef run(lab"), []),
        (edit(FAMILY, "Count words.", "Count the words."), []),
        (edit(FAMILY, "How many words.", "The number of words."), []),
        (edit("engine/errors.py", "pass", "x = 1"), []),
        (lambda toy: toy.write("torch.txt", "2.99.0"), []),
        (edit("investigations/words/report.md", "Words", "All words"), []),
        (edit(FAMILY, "np.arange(20.0) +", "np.arange(20.0) -"), [f"code: {FAMILY} changed"]),
        (edit("engine/lab/tools.py", "2 * k", "3 * k"), ["code: engine/lab/tools.py changed"]),
        (edit("engine/lab/lab.py", "pass", "x = 1"), ["code: engine/lab/lab.py changed"]),
        (new_import, ["code: engine/data/rows.py is new", "code: engine/lab/lab.py changed"]),
        (edit(SPEC, "k: 8", "k: 16"), ["parameter k: 8 -> 16"]),
        (edit(SPEC, "k: 8", "seed: 0"), []),  # 8 is the default, and so is 0
        (edit(SPEC, "blocks.50%", "blocks.1"), ["hook_site: blocks.2.hook_resid_pre -> blocks.1."]),
        (edit(SPEC, "blocks.50%", "blocks.2"), []),
        (edit(SPEC, "float32", "bfloat16"), ["dtype: float32 -> bfloat16"]),
        (edit("investigations/words/words.csv", "a,b", "a,c"), ["prompts words.csv changed"]),
        (new_model, ["model bytes changed"]),
        (damage, ["run 1 is damaged: .engine/runs/1/result.json has 1 of"]),
    ],
    ids=lambda value: None if callable(value) else "+".join(value) or "nothing",
)  # fmt: skip
def test_what_makes_a_run_stale_and_in_which_words(
    toy: Any, change: Callable[[Any], Any], changed: list[str]
) -> None:
    experiment = {
        "hook_site": "blocks.50%.hook_resid_pre",
        "prompts": {"name": "words.csv"},
        "dtype": "float32",
    }
    toy.spec(count={**experiment, "parameters": {"k": 8}})
    toy.build()
    change(toy)
    (run,) = toy.plan().runs
    seen = [line.replace(f"{toy.root}/", "") for line in run.examined.changed]
    assert len(seen) == len(changed)
    assert all(s.startswith(c) for s, c in zip(seen, changed, strict=True)), seen
    assert (run.state, run.decision) == (("stale", "measure") if changed else ("up to date", "reuse"))
    toy.build()
    assert len(toy.executed) == (2 if changed else 1)
    assert toy.plan().runs[0].state == "up to date"


def test_staleness_flows_along_uses(toy: Any) -> None:
    toy.spec(
        first={},
        second={"uses": {"words": "first"}},
        third={"uses": {"more": "second"}},
        alone={"parameters": {"k": 3}},
    )
    toy.build()
    toy.edit(
        "investigations/words/spec.yaml",
        "first:\n    family: count_words",
        "first:\n    family: count_words\n    parameters: {k: 9}",
    )
    states = {r.name.label: (r.state, r.reason) for r in toy.plan().runs}
    assert states == {
        "first": ("stale", "parameter k: 8 -> 9"),
        "second": ("stale", "uses first, which is stale"),
        "third": ("stale", "uses second, which is stale"),
        "alone": ("up to date", "run 4"),
    }


def test_a_renamed_experiment_keeps_its_run(toy: Any) -> None:
    toy.build()
    toy.spec(renamed={})
    assert [(r.state, r.run_id) for r in toy.plan().runs] == [("up to date", 1)]


def test_a_model_that_cannot_be_had_blocks_only_its_own_runs_and_what_was_measured_stays(toy: Any) -> None:
    toy.spec(models=("tiny", "small"), count={}, more={"uses": {"of": "count"}, "parameters": {"k": 2}})
    toy.build(select=lambda name: name.experiment == "count")
    toy.models(
        tiny={"hash": "aa11", "n_layers": 4},
        small={"hash": None, "n_layers": None, "reason": "the hub is out of reach"},
    )
    states = {(r.name.label, r.name.model): (r.state, r.decision, r.reason) for r in toy.plan().runs}
    assert states["count", "small"] == ("up to date", "reuse", "run 2")
    assert states["more", "small"] == ("not measurable", "unmeasured", "the hub is out of reach")
    assert states["more", "tiny"][:2] == ("new", "measure")
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    states = {(r.name.label, r.name.model): r.reason for r in toy.plan().runs}
    assert states["count", "small"] == states["more", "small"] == "the hub is out of reach"


def test_a_site_that_one_model_lacks_blocks_that_model_and_one_that_all_lack_is_a_mistake(toy: Any) -> None:
    toy.spec(models=("tiny", "small"), count={"hook_site": "blocks.8.hook_resid_pre"})
    tiny, small = toy.plan().runs
    assert (tiny.state, small.state) == ("not measurable", "new")
    assert "the model has no layer 8" in tiny.reason
    toy.spec(models=("tiny", "small"), count={"hook_site": "blocks.20.hook_resid_pre"})
    with pytest.raises(
        SpecError, match=r"spec\.yaml:9:16: experiments\.count\.hook_site: the model has no layer 20"
    ):
        toy.plan()


def test_a_corpus_is_part_of_the_key(toy: Any) -> None:
    text = toy.write("investigations/words/text.txt", "one two three")
    toy.spec(count={"corpus": {"name": "text.txt", "tokens": 2}})
    (outcome,) = toy.build().values()
    assert set(outcome.run.record.inputs.data) == {"corpus"}
    assert outcome.run.record.features["tokens"] == 2
    assert toy.plan().runs[0].state == "up to date"
    text.write_text("four five six")
    (run,) = toy.plan().runs
    assert (run.state, run.reason) == ("stale", "corpus text.txt changed")
