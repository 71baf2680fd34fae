"""One model in memory, what is shared by its requests, and what a reader cannot name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.demo.live_model import MOST_SHARED, LiveModel
from engine.errors import DemoError, ModelUnavailable, ModelUnknown
from engine.models.micro import micro_model
from engine.runs.sources import project_sources
from engine.spec.inputs import LABELLED


def test_the_model_is_not_there_before_it_is_loaded_and_a_failure_is_told_to_all_who_wait() -> None:
    def broken(*_: object) -> None:
        raise ModelUnavailable("the disk is full")

    live = LiveModel("smollm2-135m-instruct", replace(project_sources(), load_model=broken))
    assert not live.wait(0)
    assert live.shape is not None and live.shape.n_layers == 30
    with pytest.raises(DemoError, match="still loading"):
        _ = live.model
    with pytest.raises(ModelUnavailable):
        live.load()
    with pytest.raises(ModelUnavailable, match="disk is full"):
        live.wait()


def test_a_name_of_no_model_is_told_at_once() -> None:
    with pytest.raises(ModelUnknown) as error:
        LiveModel("smollm2-135m-instuct").require_available()
    assert "smollm2-135m-instruct" in error.value.near


def test_what_is_shared_is_made_once_and_bounded() -> None:
    live = LiveModel.of(micro_model())
    made: list[int] = []

    def maker(number: int):
        return lambda: made.append(number) or number

    assert [live.shared("one", maker(1)) for _ in range(3)] == [1, 1, 1]
    for number in range(MOST_SHARED):
        live.shared(number, maker(number))
        live.shared("one", maker(1))  # used again and again: it stays
    assert made == [1, *range(MOST_SHARED)]
    live.shared(0, maker(0))
    assert made[-1] == 0


@pytest.mark.parametrize("name", ["/etc/passwd", "../facts.jsonl", "stanfordnlp/sst2", "~/x.csv", "fact"])
def test_no_prompt_set_and_no_corpus_is_a_file_or_a_dataset(name: str) -> None:
    live = LiveModel.of(micro_model())
    with pytest.raises(DemoError, match="comes with the engine"):
        live.prompts(name)
    with pytest.raises(DemoError, match="comes with the engine"):
        live.corpus(name)


def test_packaged_prompts_and_rows_at_hand_are_read() -> None:
    live = LiveModel.of(micro_model())
    assert len(live.prompts("facts").table) > 100
    rows = [{"id": "a", "topic": "x", "text": "red", "label": "yes"}]
    rows += [{"id": "b", "topic": "x", "text": "green", "label": "no"}]
    assert list(live.prompts(rows, LABELLED).table["text"]) == ["red", "green"]
