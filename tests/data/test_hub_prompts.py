"""Prompt sets of the hub: one commit, read once, and a clear no where it cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.data import hub_prompts
from engine.data.prompts import data_hash, load_prompts
from engine.errors import DataError, DataUnavailable
from engine.spec.inputs import CHAT, LABELLED
from engine.spec.models import PromptChoice
from tests.data.test_hub_corpora import Hub, hub

__all__ = ["hub"]
CHOICE = PromptChoice(name="org/requests", columns={"request": "text"}, split="test")


@pytest.fixture(autouse=True)
def requests(hub: Hub) -> None:
    hub.rows = [{"text": f"request {i}", "picture": b"no JSON"} for i in range(4)]


def test_a_dataset_is_streamed_at_a_recorded_commit_and_read_once(hub: Hub, tmp_path: Path) -> None:
    first = load_prompts(CHOICE, tmp_path, CHAT)
    assert first.table["request"].tolist() == [f"request {i}" for i in range(4)]
    assert first.source == "org/requests, split test, at abc123, from the Hugging Face hub"
    assert hub.calls == [("info", "org/requests"), ("org/requests", None, "test", "abc123", True)]
    hub.problem = OSError("no network")
    again = load_prompts(CHOICE, tmp_path, CHAT)
    assert again.table.equals(first.table)
    assert again.hash == data_hash(CHOICE, tmp_path)
    assert len(hub.calls) == 2


def test_another_split_is_another_set(tmp_path: Path) -> None:
    assert data_hash(CHOICE, tmp_path) != data_hash(CHOICE.model_copy(update={"split": None}), tmp_path)


def test_without_the_hub_it_says_so(hub: Hub, tmp_path: Path) -> None:
    hub.problem = OSError("no network")
    with pytest.raises(DataUnavailable, match="the prompt set org/requests cannot be had") as caught:
        data_hash(CHOICE, tmp_path)
    assert "a local .csv" in caught.value.hint


def test_a_split_that_is_not_there_is_a_mistake_and_not_a_hub_out_of_reach(hub: Hub, tmp_path: Path) -> None:
    data_hash(CHOICE, tmp_path)
    hub.problem = ValueError("Bad split: test. Available splits: ['train']\nmore")
    with pytest.raises(DataError, match="org/requests cannot be read") as caught:
        load_prompts(CHOICE, tmp_path, CHAT)
    assert not isinstance(caught.value, DataUnavailable)
    assert caught.value.seen == "Bad split: test. Available splits: ['train']"


def test_columns_of_another_kind_are_told_with_the_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column label") as caught:
        load_prompts(PromptChoice(name="org/requests"), tmp_path, LABELLED)
    assert caught.value.where == "org/requests, split train: row 1"
    assert caught.value.seen == "text, picture"


@pytest.mark.parametrize("count", [0, 5])
def test_a_dataset_without_rows_or_with_too_many_is_no_prompt_set(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setattr(hub_prompts, "MAX_ROWS", 4)
    rows: list[dict[str, Any]] = [{"text": f"{i}"} for i in range(count)]
    hub.rows = rows
    with pytest.raises(DataError, match="not a prompt set"):
        load_prompts(CHOICE, tmp_path, CHAT)
