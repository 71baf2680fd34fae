"""An experiment that asks chat requests is judged by its models' templates before any model is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import SpecError

FAMILY = "engine/families/count_words.py"
DECLARED = """
from engine.spec.inputs import CHAT, Inputs

inputs = Inputs(prompts=CHAT)


class Params("""
ASKED = {"prompts": "words.csv"}


@pytest.fixture
def asking(toy: Any) -> Any:
    """The toy, whose family puts requests to its models; `tiny` has a chat template, `small` has none."""
    toy.edit(
        FAMILY, "\nclass Params(", "from engine.spec.inputs import CHAT, Inputs\n\nDECLARED\n\nclass Params("
    )
    toy.edit(FAMILY, "DECLARED", "inputs = Inputs(prompts=CHAT)\n")
    tiny = {"hash": "aa11", "n_layers": 4, "chat_template": True}
    small = {"hash": "bb22", "n_layers": 12, "chat_template": False}
    unknown = {"hash": None, "n_layers": None}
    toy.models(tiny=tiny, small=small, unknown=unknown)
    toy.spec(models=("tiny", "small", "unknown"), count=ASKED)
    return toy


def test_a_model_without_a_template_is_not_measurable_and_leaves_the_others_alone(asking: Any) -> None:
    tiny, small, unknown = asking.plan().runs
    assert tiny.state == "new"
    assert (small.state, small.decision) == ("not measurable", "unmeasured")
    assert small.reason == "small has no chat template (a tokenizer without a template)"
    # Nothing can be said of a model that is not here yet.
    assert unknown.state == "new"
    assert not (asking.root / "loaded.txt").exists()


@pytest.mark.parametrize(
    ("prompts", "place"),
    [
        ("words.csv", r"spec\.yaml:\d+:\d+: experiments\.count\.prompts"),
        ({"name": "words.csv", "limit": 2}, r"spec\.yaml:\d+:\d+: experiments\.count\.prompts\.name"),
    ],
)
def test_where_no_model_has_one_the_spec_is_at_fault(asking: Any, prompts: Any, place: str) -> None:
    asking.spec(models=("small",), count={"prompts": prompts})
    with pytest.raises(SpecError, match=place) as told:
        asking.plan()
    assert told.value.problem == "small has no chat template"
    assert "count_words puts requests to it" in told.value.expected
    assert "instruct model" in told.value.hint


def test_a_second_model_needs_one_too(asking: Any) -> None:
    asking.edit(FAMILY, "prompts=CHAT", "prompts=CHAT, second_model='against'")
    asking.edit(FAMILY, "    seed: int = 0\n", "    seed: int = 0\n    against: str | None = None\n")
    asking.spec(models=("tiny",), count={**ASKED, "sweep": {"against": ["small", "unknown"]}})
    # At one of the two points nothing can be measured, on any model: the spec asks for it.
    with pytest.raises(SpecError, match="small has no chat template"):
        asking.plan()


def test_a_family_that_reads_other_prompts_needs_none(asking: Any) -> None:
    asking.edit(FAMILY, "prompts=CHAT", "prompts='pairs'")
    assert [run.state for run in asking.plan().runs] == ["new", "new", "new"]
