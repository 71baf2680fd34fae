"""A run that reads a second model: its bytes in the key, its cost in the plan, its absence told."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest

from engine.errors import ModelUnknown
from engine.report.popovers import provenance_facts
from engine.runs.planning import cost
from engine.runs.planning.unneeded_activations import unneeded_activations

FAMILY = "engine/families/count_words.py"
EXCHANGE = """def run(lab, params):
    if params.against:
        own = lab.model.name
        del lab.model
        lab.model = lab.load(params.against)
        with (Path(lab.model.root) / "executed.txt").open("a") as out:
            out.write(f"beside {lab.model.name}\\n")
        del lab.model
        lab.model = lab.load(own)
"""
TINY, SMALL = {"hash": "aa11", "n_layers": 4}, {"hash": "bb22", "n_layers": 12}


@pytest.fixture
def two(toy: Any) -> Any:
    """The toy, whose family reads the model `against`, and an experiment that names one."""
    toy.edit(FAMILY, "    seed: int = 0\n", "    seed: int = 0\n    against: str | None = None\n")
    toy.edit(FAMILY, "def run(lab, params):\n", EXCHANGE)
    declared = (
        "from engine.spec.inputs import Inputs\n\ninputs = Inputs(second_model='against')\n\n\nclass Params("
    )
    toy.edit(FAMILY, "\n\nclass Params(", declared)
    toy.count(against="small")
    return toy


def test_its_bytes_are_part_of_the_key_and_of_what_is_shown(two: Any) -> None:
    (outcome,) = two.build().values()
    assert two.executed == ["beside small", "tiny k=8 seed=0"]
    assert outcome.run.record.inputs.second == {"small": "bb22"}
    assert outcome.run.record.features["parameters"] == 2_000_000
    assert two.plan().runs[0].state == "up to date"
    two.models(tiny=TINY, small={**SMALL, "hash": "cc33"})
    (run,) = two.plan().runs
    assert (run.state, run.reason) == ("stale", "model bytes of small changed")
    two.count(against=None)
    assert "parameter against: small -> null" in two.plan().runs[0].examined.changed


def test_without_one_keys_are_what_they_were(two: Any) -> None:
    two.count()
    inputs = two.plan().runs[0].examined.inputs
    assert set(inputs.parts) == {"experiment", "code", "model", "data", "uses"}
    entry = two.ledger().entries[0]
    assert "Compared with" not in dict(provenance_facts(entry.provenance))


def test_provenance_names_it(two: Any) -> None:
    provenance = two.ledger().entries[0].provenance
    assert provenance.second == {"small": "bb22"}
    assert dict(provenance_facts(provenance))["Compared with"] == "small, hash bb22"


def test_one_model_is_in_memory_at_a_time(two: Any) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    sources, plain = two.sources(), two.sources

    class Model:
        def __init__(self, given: Any) -> None:
            self.__dict__.update(vars(given))

    def load(name: str, dtype: str, progress: Any) -> Any:
        gc.collect()
        assert not list(alive)
        model = Model(sources.load_model(name, dtype, progress))
        alive.add(model)
        return model

    two.sources = lambda: replace(plain(), load_model=load)
    (outcome,) = two.build().values()
    assert outcome.reason == ""
    assert two.executed == ["beside small", "tiny k=8 seed=0"]


def test_the_cost_counts_the_larger_memory_both_sizes_and_the_fetch(two: Any) -> None:
    two.models(tiny=TINY, small={**SMALL, "n_params": 9_000_000, "fetch_bytes": 80_000_000})
    sources, plain = two.sources(), two.sources

    def facts(name: str, dtype: str) -> Any:
        known = sources.model_facts(name, dtype)
        return replace(known, memory_bytes=7 * 10**9) if name == "small" else known

    two.sources = lambda: replace(plain(), model_facts=facts)
    plan = two.plan()
    estimate = plan.runs[0].estimate
    assert estimate.memory_bytes == 7 * 10**9
    both = cost.GUESSED_SECONDS + 10_000_000 * cost.GUESSED_SECONDS_PER_PARAMETER
    assert estimate.seconds == pytest.approx(both + plan.model_seconds["small"])
    assert unneeded_activations(plan, two.root / ".engine") == []


def test_bytes_that_were_never_seen_are_seen_by_loading(two: Any) -> None:
    two.models(tiny=TINY, small={"hash": None, "n_layers": 12, "true_hash": "dd44"})
    assert two.plan().runs[0].examined.inputs.key is None
    (outcome,) = two.build().values()
    assert outcome.run.record.inputs.second == {"small": "dd44"}
    assert two.plan().runs[0].state == "up to date"


def test_one_that_cannot_be_had_is_told_and_stops_nothing_else(two: Any) -> None:
    two.spec(count={"parameters": {"against": "small"}}, alone={})
    two.models(tiny=TINY, small={**SMALL, "reason": "the hub is out of reach"})
    count, alone = two.plan().runs
    assert (count.state, alone.state) == ("not measurable", "new")
    assert count.reason == "small, which it is compared with, the hub is out of reach"
    two.models(tiny=TINY, small={**SMALL, "broken": "the index does not answer"})
    events: list[Any] = []
    outcomes = {name.label: outcome for name, outcome in two.build(events.append).items()}
    assert "the index does not answer" in outcomes["count"].reason
    assert outcomes["alone"].run is not None
    assert [event.kind for event in events if event.kind in ("failed", "unmeasured")] == ["unmeasured"]


def test_a_model_is_not_compared_with_itself(two: Any) -> None:
    two.spec(models=("tiny", "small"), count={"parameters": {"against": "small"}})
    tiny, small = two.plan().runs
    assert (tiny.state, small.state) == ("new", "not measurable")
    assert small.reason == "it would be compared with itself"


@pytest.mark.parametrize(
    ("experiment", "models", "where"),
    [
        ({"parameters": {"against": "smal"}}, ("tiny",), r"spec\.yaml:9:16: experiments\.count\.parameters"),
        ({"sweep": {"against": ["small", "smal"]}}, ("tiny",), r"spec\.yaml:11:9: experiments\.count\.sweep"),
        ({}, ("tiny", "smal"), r"spec\.yaml:5:3: models"),
    ],
    ids=["set", "swept", "models"],
)
def test_an_unknown_model_is_told_by_line_and_column(
    two: Any, experiment: dict, models: tuple[str, ...], where: str
) -> None:
    two.spec(models=models, count=experiment)
    sources, plain = two.sources(), two.sources

    def facts(name: str, dtype: str) -> Any:
        if name == "smal":
            raise ModelUnknown("no model is called 'smal'", near=["small"])
        return sources.model_facts(name, dtype)

    two.sources = lambda: replace(plain(), model_facts=facts)
    with pytest.raises(ModelUnknown, match=where) as caught:
        two.plan()
    assert "nearest: small" in str(caught.value)
