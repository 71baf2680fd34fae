"""The kinds of prompts: which rows fit which, and what is refused of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.data.prompt_kinds import KINDS, kinds_that_fit
from engine.data.prompts import PromptSet, data_hash, load_prompts
from engine.errors import DataError, WrongPromptKind
from engine.spec.inputs import ANSWERS, CHAT, CONTRAST, LABELLED, PAIRS, PromptKind
from engine.spec.models import PromptChoice

Rows = Sequence[dict[str, Any]]
CAPITAL = {"relation": "r", "corrupted": "x is", "answer": " a", "wrong_answer": " b"}
ROWS: dict[PromptKind, Rows] = {
    PAIRS: [CAPITAL | {"id": i, "clean": f"{i} is"} for i in ("one", "two")],
    ANSWERS: [
        {"prompt": "The capital of France is", "answer": "Paris"},
        {"prompt": "2 + 2 =", "answer": " 4"},
    ],
    CONTRAST: [
        {"positive": "I am glad", "negative": "I am sad"},
        {"positive": "We win", "negative": "We lose"},
    ],
    LABELLED: [{"text": "a kind word", "label": "kind"}, {"text": "a rude word", "label": "rude"}],
    CHAT: [{"request": "Name a city.", "system": "Be brief."}, {"request": "Name a river."}],
}
BARE = {"prompt": "x", "answer": "y"}


def inline(rows: Rows, **choice: object) -> PromptChoice:
    return PromptChoice.model_validate({"rows": rows} | choice)


def load(kind: PromptKind, rows: Rows, **choice: object) -> PromptSet:
    return load_prompts(inline(rows, **choice), Path(), kind)


def refusal(kind: PromptKind, rows: Rows, **choice: object) -> DataError:
    with pytest.raises(DataError) as caught:
        load(kind, rows, **choice)
    return caught.value


def test_every_kind_is_declared_and_read() -> None:
    assert KINDS.keys() == ROWS.keys()
    for kind, rows in ROWS.items():
        found = load(kind, rows)
        assert (found.kind, len(found.table), found.source) == (kind, 2, "written in the spec")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("kind", [ANSWERS, CONTRAST, LABELLED])
def test_the_same_prompts_are_the_same_whatever_they_are_written_in(
    tmp_path: Path, kind: PromptKind, suffix: str
) -> None:
    file = tmp_path / f"own{suffix}"
    table = pd.DataFrame(ROWS[kind])
    if suffix == ".csv":
        table.to_csv(file, index=False)
    elif suffix == ".jsonl":
        table.to_json(file, orient="records", lines=True)
    else:
        table.to_parquet(file)
    from_file = load_prompts(PromptChoice(name=file.name), tmp_path, kind)
    ours = load(kind, ROWS[kind]).table
    assert from_file.table.drop(columns="relation", errors="ignore").to_dict("records") == ours.drop(
        columns="relation", errors="ignore"
    ).to_dict("records")


def test_a_natural_file_needs_no_ids_no_relations_and_no_spaces() -> None:
    table = load(ANSWERS, ROWS[ANSWERS]).table
    assert table["clean"].tolist() == ["The capital of France is", "2 + 2 ="]
    # The second one has its space already; the first would run into the prompt's last word.
    assert table["answer"].tolist() == [" Paris", " 4"]
    assert table["relation"].tolist() == ["rows", "rows"]
    turned = load(ANSWERS, ROWS[ANSWERS][::-1]).table
    # By content: the same id wherever the row stands.
    assert turned["id"].tolist() == table["id"].tolist()[::-1]


def test_a_family_that_reads_answers_reads_pairs_as_pairs() -> None:
    found = load(ANSWERS, ROWS[PAIRS])
    assert found.kind == PAIRS
    assert found.table.equals(load(PAIRS, ROWS[PAIRS]).table)


@pytest.mark.parametrize(("wanted", "given"), [(w, g) for w in KINDS for g in KINDS if w != g])
def test_prompts_of_another_kind_are_told_with_what_they_are(wanted: PromptKind, given: PromptKind) -> None:
    if (wanted, given) == (ANSWERS, PAIRS):
        return  # pairs are prompts with answers
    error = refusal(wanted, ROWS[given])
    assert isinstance(error, WrongPromptKind)
    assert given in error.kinds
    assert KINDS[given].noun in error.problem
    assert error.seen == ", ".join(ROWS[given][0])
    assert error.expected == f"the columns {', '.join(KINDS[wanted].required)}"


def test_pairs_are_known_to_be_enough_where_answers_are_read() -> None:
    assert [kind.kind for kind in kinds_that_fit(ROWS[PAIRS][0])] == [PAIRS, ANSWERS]
    assert ANSWERS in refusal(CONTRAST, ROWS[PAIRS]).kinds  # pyright: ignore[reportAttributeAccessIssue]


def test_a_column_that_is_missing_or_misspelt_comes_with_the_nearest() -> None:
    error = refusal(CONTRAST, [{"positive": "a", "negativ": "b"}])
    assert (error.problem, error.near) == ("no column negative", ("negativ",))
    assert error.where == "prompts.rows[0]"
    error = refusal(LABELLED, [*ROWS[LABELLED], {"text": "no label"}])
    assert (error.problem, error.where) == ("no column label", "prompts.rows[2]")


@pytest.mark.parametrize(
    ("kind", "row", "said", "column"),
    [
        (ANSWERS, {"prompt": "x", "answer": ""}, "answer is empty", "answer"),
        (ANSWERS, {"prompt": "x", "answer": 7}, "answer is not text", "answer"),
        (ANSWERS, BARE | {"wrong_answer": "y"}, "answer and wrong_answer are equal", "answer"),
        (ANSWERS, BARE | {"subject": "z"}, "the prompt does not contain its subject", "subject"),
        (CONTRAST, {"positive": "x", "negative": "x"}, "positive and negative are equal", "positive"),
        (CONTRAST, {"positive": "x", "negative": None}, "negative is not text", "negative"),
        (LABELLED, {"text": "x", "label": 0.5}, "label is not text", "label"),
        (LABELLED, {"text": "x", "label": " "}, "label is empty", "label"),
        (CHAT, {"request": "\n"}, "request is empty", "request"),
        (CHAT, {"request": "x", "system": 3}, "system is not text", "system"),
    ],
)
def test_a_cell_that_cannot_be_used_is_told_with_its_place(
    kind: PromptKind, row: dict[str, object], said: str, column: str
) -> None:
    error = refusal(kind, [row])
    assert (error.problem, error.where) == (said, f"prompts.rows[0].{column}")


@pytest.mark.parametrize(
    ("kind", "again", "said"),
    [
        (ANSWERS, {"prompt": "2 + 2 =", "answer": "5"}, "row 3 repeats row 2: prompt is equal"),
        (CONTRAST, ROWS[CONTRAST][1], "row 3 repeats row 2: positive and negative are equal"),
        (LABELLED, {"text": "a kind word", "label": "rude"}, "row 3 repeats row 1: text is equal"),
        (LABELLED, {"text": "a kind word", "label": "kind"}, "row 3 repeats row 1: text and label are equal"),
        (
            CHAT,
            {"request": "Name a river.", "system": ""},
            "row 3 repeats row 2: request and system are equal",
        ),
    ],
)
def test_a_row_that_says_what_another_says_is_refused(
    kind: PromptKind, again: dict[str, object], said: str
) -> None:
    error = refusal(kind, [*ROWS[kind], again])
    assert (error.seen, error.where) == (said, "prompts.rows[2]")


def test_ids_do_not_make_two_of_one_and_are_not_used_twice() -> None:
    rows = [{"id": str(i), "text": "same", "label": str(i)} for i in range(2)]
    assert refusal(LABELLED, rows).problem == "1 different labelled texts under 2 ids"
    rows = [{"id": "a", "text": str(i), "label": str(i)} for i in range(2)]
    assert refusal(LABELLED, rows).problem == "the id 'a' is used twice"


def test_the_same_request_under_another_system_text_is_another_prompt() -> None:
    rows: Rows = [{"request": "Hi", "system": s} for s in ("a", "b", None)]
    assert len(load(CHAT, rows).table) == 3


def test_a_contrast_and_its_swap_would_cancel() -> None:
    error = refusal(CONTRAST, [*ROWS[CONTRAST], {"positive": "I am sad", "negative": "I am glad"}])
    assert error.problem == "two contrasts are one with its sides changed about"
    assert error.seen == "row 1 is row 3, swapped"


def test_labels_are_text_and_there_are_two() -> None:
    labels = (True, False, 3)
    rows: Rows = [{"text": str(i), "label": label} for i, label in enumerate(labels)]
    assert load(LABELLED, rows).table["label"].tolist() == ["true", "false", "3"]
    assert refusal(LABELLED, rows[:1]).problem == "all texts have one label"


def test_a_limit_takes_evenly_from_the_labels_and_from_the_topics() -> None:
    rows = [{"text": f"{label}{i}", "label": label} for label in "ab" for i in range(3)]
    assert load(LABELLED, rows, limit=4).table["text"].tolist() == ["a0", "a1", "b0", "b1"]
    topics = [{"request": f"{topic}{i}", "topic": topic} for topic in "ab" for i in range(3)]
    assert load(CHAT, topics, limit=2).table["request"].tolist() == ["a0", "b0"]
    both = [
        {"request": f"{label}{topic}{i}", "topic": topic, "label": label}
        for topic in "xyz"
        for label in "ab"
        for i in range(2)
    ]
    assert load(CHAT, both, limit=4).table["request"].tolist() == ["ax0", "bx0", "ay0", "by0"]
    assert load(CHAT, both, limit=7).table["request"].tolist() == [
        *("ax0", "ax1", "bx0", "ay0", "by0", "az0", "bz0"),
    ]
    plain = [{"request": str(i)} for i in range(3)]
    assert load(CHAT, plain, limit=2).table["request"].tolist() == ["0", "1"]


def test_every_kind_may_name_clusters_and_topics_are_clusters() -> None:
    rows = [{"positive": f"p{i}", "negative": f"n{i}", "topic": "ab"[i % 2], "source": "s"} for i in range(4)]
    assert load(CONTRAST, rows).cluster_column == "topic"
    assert load(CONTRAST, rows).clusters.tolist() == ["a", "b", "a", "b"]
    assert load(CONTRAST, rows, clusters="source").cluster_column == "source"
    error = refusal(CONTRAST, rows, clusters="topics")
    assert (error.where, error.near) == ("prompts.clusters", ("topic",))
    assert error.expected == "a column of the rows in the spec: positive, negative, topic, source"


def test_columns_go_by_other_names_where_the_spec_says_so(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("question,text,label\nHow?,one,1\nWhy?,two,2\n")
    choice = PromptChoice(name="own.csv", columns={"text": "question"})
    table = load_prompts(choice, tmp_path, LABELLED).table
    assert table["text"].tolist() == ["How?", "Why?"]
    wrong = choice.model_copy(update={"columns": {"text": "questoin"}})
    with pytest.raises(DataError, match="no column 'questoin' to read as text") as caught:
        load_prompts(wrong, tmp_path, LABELLED)
    assert (caught.value.where, caught.value.near) == ("prompts.columns.text", ("question",))


def test_a_cell_that_goes_by_another_name_is_told_at_its_own_place() -> None:
    error = refusal(ANSWERS, [{"question": "x", "answer": 4}], columns={"prompt": "question"})
    assert (error.where, error.hint) == ("prompts.rows[0].answer", "put it in quotes")
    error = refusal(ANSWERS, [{"question": " ", "answer": "4"}], columns={"prompt": "question"})
    assert error.where == "prompts.rows[0].question"
    error = refusal(ANSWERS, [{"question": "x", "answer": "4"}, BARE], columns={"prompt": "question"})
    assert (error.problem, error.where) == ("no column 'question' to read as prompt", "prompts.rows[1]")


def test_two_columns_may_change_their_names_about() -> None:
    rows = [{"positive": "sad", "negative": "glad"}]
    table = load(CONTRAST, rows, columns={"positive": "negative", "negative": "positive"}).table
    assert table[["positive", "negative"]].to_numpy().tolist() == [["glad", "sad"]]


def test_rows_of_a_spec_are_hashed_by_what_they_say() -> None:
    def hashed(*rows: dict[str, Any]) -> str:
        return data_hash(inline(list(rows)), Path())

    first, second = ROWS[ANSWERS]
    assert hashed(first, second) == hashed(dict(reversed(first.items())), second)
    assert hashed(first, second) != hashed(first, second | {"answer": " 5"})


def test_only_a_dataset_of_the_hub_has_splits(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("text,label\na,1\nb,2\n")
    for choice in (
        PromptChoice(name="own.csv", split="test"),
        inline(ROWS[LABELLED], configuration="x"),
        PromptChoice(name="facts", split="train"),
    ):
        with pytest.raises(DataError, match="with a dataset of the hub"):
            load_prompts(choice, tmp_path, LABELLED)


@pytest.mark.parametrize(
    ("name", "content", "problem", "hint"),
    [
        ("a.csv", b"prompt;answer\nx;y\n", "no columns prompt, answer", "semicolons"),
        ("a.csv", b"prompt\tanswer\nx\ty\n", "no columns prompt, answer", "tabs"),
        ("a.csv", b"prompt,answer,answer\nx,y,z\n", "two columns are called 'answer'", ""),
        ("a.csv", b"prompt,answer\nParis, France is,y\n", "the row does not fit the header", "double quotes"),
        ("a.csv", b"prompt,answer\nx,\n", "answer is empty", ""),
        ("a.csv", b"prompt\nx\n", "no column answer", ""),
        ("a.csv", "prompt,answer\nx,y\n".encode("utf-16"), "a binary file", ""),
        ("a.csv", b"prompt,answer\ncaf\xe9,y\n", "not UTF-8", "save it as UTF-8"),
        ("a.jsonl", b'[{"prompt": "x", "answer": "y"}]', "a line is not an object", "one object a line"),
        ("a.jsonl", b'[\n{"prompt": "x", "answer": "y"},\n]', "not valid JSON", "one object a line"),
        ("a.jsonl", b'{"prompt": ["x"], "answer": "y"}', "prompt is not text", ""),
        ("a.jsonl", b'{"prompt": "x", "answer": 4}', "answer is not text", "put it in quotes"),
        ("a.jsonl", b'{"prompt": "x", "prompt": "z"}', "two columns are called 'prompt'", ""),
    ],
)
def test_files_as_they_come_are_refused_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, problem: str, hint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_prompts(PromptChoice(name=name), tmp_path, ANSWERS)
    assert caught.value.problem == problem
    assert hint in caught.value.hint
    assert caught.value.where.startswith(str(tmp_path / name))


def test_nested_columns_of_a_parquet_file_are_no_text_and_no_clusters(tmp_path: Path) -> None:
    pd.DataFrame([{"text": f"{i}", "label": str(i), "meta": {"topic": i}} for i in range(3)]).to_parquet(
        tmp_path / "own.parquet"
    )
    choice = PromptChoice(name="own.parquet")
    # What nobody asks for may be nested.
    assert len(load_prompts(choice, tmp_path, LABELLED).table) == 3
    with pytest.raises(DataError, match="meta names no cluster") as caught:
        load_prompts(choice.model_copy(update={"clusters": "meta"}), tmp_path, LABELLED)
    assert caught.value.seen.startswith("dict for the prompt")
    nested = choice.model_copy(update={"columns": {"text": "meta"}})
    with pytest.raises(DataError, match="text is not text"):
        load_prompts(nested, tmp_path, LABELLED)


def test_a_byte_order_mark_and_accents_in_two_spellings_are_no_second_prompt(tmp_path: Path) -> None:
    rows = ["\ufeffprompt,answer", "Per\u00fa is,a", "Peru\u0301 is,b"]
    (tmp_path / "own.csv").write_text("\r\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match="1 different prompts under 2 rows") as caught:
        load_prompts(PromptChoice(name="own.csv"), tmp_path, ANSWERS)
    assert caught.value.seen == "line 3 repeats line 2: prompt is equal"


def test_a_path_without_a_known_ending_is_no_dataset_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/own").write_text(json.dumps(ROWS[ANSWERS]))
    (tmp_path / "data/own.json").write_text("{}")
    for name, seen in (
        ("data/own", "a file without a suffix"),
        ("data/own.json", ".json"),
        ("data", "a folder"),
    ):
        with pytest.raises(DataError, match="not a file of prompts") as caught:
            load_prompts(PromptChoice(name=name), tmp_path, ANSWERS)
        assert caught.value.seen == seen
