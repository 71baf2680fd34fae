"""What is named on the command line and is not there is refused with what is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.commands.arguments import (
    current_plan,
    existing_parent,
    existing_spec,
    require,
    run_selector,
)
from engine.errors import EngineError
from engine.runs.store.record import RunName
from tests.runs.toy import Toy


def test_a_name_that_is_not_known_is_refused_with_all_and_the_nearest() -> None:
    require([], {"a"}, "model")
    require(["a"], {"a", "b"}, "model")
    with pytest.raises(EngineError, match="no model is called 'tinny'") as caught:
        require(["small", "tinny"], {"tiny", "small"}, "model")
    assert (caught.value.expected, caught.value.near) == ("one of small, tiny", ("tiny",))


def test_a_spec_file_that_is_not_there_brings_the_nearest_beside_it(tmp_path: Path) -> None:
    for name in ("base.yaml", "other.yml", "base.txt"):
        (tmp_path / name).write_text("")
    assert existing_spec(tmp_path / "base.yaml") == tmp_path / "base.yaml"
    with pytest.raises(EngineError, match="no such spec file") as caught:
        existing_spec(tmp_path / "bse.yaml")
    assert caught.value.where == str(tmp_path / "bse.yaml")
    assert caught.value.near[0] == "base.yaml" and "base.txt" not in caught.value.near
    with pytest.raises(EngineError, match="no such spec file"):
        existing_spec(tmp_path)  # a folder is no file
    with pytest.raises(EngineError, match="no such spec file"):
        existing_spec(tmp_path / "nowhere" / "base.yaml")


def test_a_file_is_written_only_into_a_folder_that_is_there(tmp_path: Path) -> None:
    assert existing_parent(tmp_path / "new.csv") == tmp_path / "new.csv"
    with pytest.raises(EngineError, match="no such folder") as caught:
        existing_parent(tmp_path / "nowhere" / "new.csv")
    assert caught.value.where == str(tmp_path / "nowhere")


@pytest.fixture
def two(toy: Toy) -> Toy:
    """Two investigations, of two models each."""
    toy.spec(models=("tiny", "small"), count={})
    toy.write("investigations/other/report.md", "# Other\n")
    toy.write("investigations/other/words.csv", "a,b\n")
    toy.spec("other", models=("tiny",), count={})
    return toy


@pytest.mark.parametrize(
    ("slugs", "models", "chosen"),
    [
        (None, None, {"words tiny", "words small", "other tiny"}),
        (["other"], None, {"other tiny"}),
        (None, ["small"], {"words small"}),
        (["words"], ["tiny"], {"words tiny"}),
        (["other"], ["small"], set()),
    ],
)
def test_runs_are_those_of_the_named_investigations_on_the_named_models(
    two: Toy, slugs: Any, models: Any, chosen: set[str]
) -> None:
    selects = run_selector(two.investigations(), slugs, models)
    names: list[RunName] = [run.name for run in two.plan().runs]
    assert {f"{name.slug} {name.model}" for name in names if selects(name)} == chosen


def test_an_unknown_investigation_or_model_is_refused_before_anything_is_chosen(two: Toy) -> None:
    with pytest.raises(EngineError, match="no investigation is called 'wrods'") as caught:
        run_selector(two.investigations(), ["wrods"], None)
    assert caught.value.near == ("words",)
    with pytest.raises(EngineError, match="no model in any spec is called 'smal'") as caught:
        run_selector(two.investigations(), None, ["smal"])
    assert caught.value.near[0] == "small"


def test_the_plan_as_things_are_has_nothing_to_measure(two: Toy) -> None:
    with current_plan(two.root, ["words"]) as (_, plan):
        assert list(plan.investigations) == ["words"]
        assert list(plan.order) == []
    assert two.executed == []
