"""The page on prompts: each of its examples is a file that is read as the kind that it is an example of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from engine.data.prompt_kinds import KINDS
from engine.data.prompts import CLUSTER_COLUMNS, load_prompts
from engine.spec.inputs import ANSWERS, CHAT, CONTRAST, LABELLED, PAIRS, PromptKind
from engine.spec.models import PromptChoice

PAGE = (Path(__file__).parents[2] / "site/guide/prompts.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, PromptKind] = {
    "capitals.csv": ANSWERS,
    "pairs.csv": PAIRS,
    "moods.csv": CONTRAST,
    "languages.csv": LABELLED,
    "requests.jsonl": CHAT,
}


def blocks() -> dict[str, str]:
    return dict(re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', PAGE, re.S))


def test_there_is_an_example_of_every_kind_and_no_other() -> None:
    assert blocks().keys() == EXAMPLES.keys()
    assert set(EXAMPLES.values()) == KINDS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_read_as_its_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(blocks()[name])
    prompts = load_prompts(PromptChoice(name=name), tmp_path, EXAMPLES[name])
    assert prompts.kind == EXAMPLES[name]
    assert len(prompts.table) >= 2


def test_rows_in_a_spec_are_read_as_they_stand_there() -> None:
    (written,) = re.findall(r"```yaml\n(prompts:\n.*?)```", PAGE, re.S)
    choice = PromptChoice.model_validate(yaml.safe_load(written)["prompts"])
    prompts = load_prompts(choice, Path(), ANSWERS)
    assert prompts.table["answer"].tolist() == [" Paris", " Rome"]


def test_the_table_of_kinds_has_their_columns() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    table = {cells[0].removeprefix("| "): cells for cells in rows}
    for kind, columns in KINDS.items():
        assert re.findall(r"`(\w+)`", table[kind][2]) == list(columns.required)
        known = {*columns.optional, *columns.blank, *columns.parts}
        assert set(re.findall(r"`(\w+)`", table[kind][3])) == known


def test_the_columns_that_clusters_are_looked_for_in_are_named_in_their_order() -> None:
    (named,) = re.findall(r"else in the first of (.*?) that tells prompts apart", PAGE)
    assert tuple(re.findall(r"`(\w+)`", named)) == CLUSTER_COLUMNS
