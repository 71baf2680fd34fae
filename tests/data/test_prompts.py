"""Prompt files: what is read, kept to the letter, and refused with its line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from engine.data.prompts import data_hash, load_prompts, prompt_set_names
from engine.errors import DataError
from engine.spec.models import PromptChoice

PAIR = {
    "id": "capital-france",
    "relation": "capital",
    "clean": "The capital of France is",
    "corrupted": "The capital of Spain is",
    "answer": " Paris",
    "wrong_answer": " Madrid",
}
HEADER = ",".join(PAIR)
HOSTILE = [
    "<script>alert('x')</script> & **bold** [a](b) is",
    '{{ template }} {% claim "x" %} {# no #} is',
    'a "quoted", comma\nand a second line\u2028 is',
    "  NA  ",
    "null",
]


def pairs(count: int = 3, **changes: str) -> list[dict[str, str]]:
    return [PAIR | {"id": f"p{i}", "clean": f"{PAIR['clean']} {i}"} | changes for i in range(count)]


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def refusal(folder: Path, content: str | bytes, name: str = "pairs.jsonl") -> DataError:
    raw = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(raw)
    with pytest.raises(DataError) as caught:
        load_prompts(PromptChoice(name=name), folder)
    return caught.value


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_format_keeps_hostile_text_to_the_letter(tmp_path: Path, suffix: str):
    rows = [PAIR | {"id": f"p{i}", "clean": text, "note": "extra"} for i, text in enumerate(HOSTILE)]
    write(tmp_path / f"own{suffix}", rows)
    prompts = load_prompts(PromptChoice(name=f"own{suffix}"), tmp_path)
    assert prompts.table.to_dict("records") == rows
    assert prompts.hash == data_hash(PromptChoice(name=f"own{suffix}"), tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_not_data(tmp_path: Path):
    line = ",".join(PAIR.values())
    (tmp_path / "own.csv").write_bytes(f"\ufeff{HEADER}\r\n\r\n{line}\r\n".encode())
    assert load_prompts(PromptChoice(name="own.csv"), tmp_path).table.to_dict("records") == [PAIR]


def test_the_hash_follows_the_bytes(tmp_path: Path):
    choice = PromptChoice(name="own.jsonl")
    write(tmp_path / "own.jsonl", pairs())
    before = data_hash(choice, tmp_path)
    write(tmp_path / "own.jsonl", pairs(answer=" Lyon"))
    assert data_hash(choice, tmp_path) != before


def test_a_limit_takes_evenly_from_the_chosen_relations(tmp_path: Path):
    rows = [
        row | {"id": f"{kind}{row['id']}", "relation": kind, "clean": f"{kind} {row['clean']}"}
        for kind in "abc"
        for row in pairs(4)
    ]
    write(tmp_path / "own.jsonl", rows)
    choice = PromptChoice(name="own.jsonl", relations=["a", "c"], limit=5)
    assert list(load_prompts(choice, tmp_path).table["id"]) == ["ap0", "ap1", "ap2", "cp0", "cp1"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (PAIR | {"clean": " \n"}, "clean is empty"),
        (PAIR | {"answer": ""}, "answer is empty"),
        (PAIR | {"wrong_answer": " Paris"}, "answer and wrong_answer are equal"),
        (PAIR | {"corrupted": PAIR["clean"]}, "clean and corrupted are equal"),
        (PAIR | {"answer": 7}, "answer is not text"),
        (PAIR | {"answer": None}, "answer is not text"),
        (PAIR | {"clean": "\ud800"}, "clean is not valid Unicode"),
        (pairs()[1], "the id 'p1' is used twice"),
        ([1], "a line is not an object"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_file_and_line(tmp_path: Path, row: object, said: str):
    content = "\n".join(json.dumps(r) for r in [*pairs(2), row])
    error = refusal(tmp_path, content)
    assert error.problem == said
    assert error.where == f"{tmp_path / 'pairs.jsonl'}:3"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_clean_prompt_stands_once_whatever_its_ids(tmp_path: Path, suffix: str):
    rows = pairs(3)
    rows[2] |= {"clean": rows[0]["clean"], "corrupted": "The capital of Peru is", "wrong_answer": " Lima"}
    write(tmp_path / f"own{suffix}", rows)
    with pytest.raises(DataError, match="2 different prompts under 3 ids") as caught:
        load_prompts(PromptChoice(name=f"own{suffix}"), tmp_path)
    places = {".csv": ("line 4", "line 2"), ".jsonl": ("line 3", "line 1"), ".parquet": ("row 3", "row 1")}
    again, first = places[suffix]
    assert caught.value.seen == f"{again} repeats {first}: clean and answer are equal"
    assert caught.value.where.endswith(again.removeprefix("line "))


def test_one_text_in_two_spellings_is_one_prompt(tmp_path: Path):
    rows = [
        row | {"clean": f"The capital of Per{u} is"}
        for row, u in zip(pairs(2), ("\u00fa", "u\u0301"), strict=True)
    ]
    assert refusal(tmp_path, "\n".join(map(json.dumps, rows))).problem == "1 different prompts under 2 ids"


def test_a_pair_and_its_swap_are_two_prompts(tmp_path: Path):
    swapped = {"clean": "corrupted", "corrupted": "clean", "answer": "wrong_answer", "wrong_answer": "answer"}
    rows = [PAIR, PAIR | {"id": "swap"} | {one: PAIR[other] for one, other in swapped.items()}]
    write(tmp_path / "own.jsonl", rows)
    assert len(load_prompts(PromptChoice(name="own.jsonl"), tmp_path).table) == 2


def test_a_subject_is_asked_of_every_row_and_is_a_part_of_its_prompt(tmp_path: Path):
    def problem(*subjects: dict[str, str]) -> str:
        rows = [row | extra for row, extra in zip(pairs(len(subjects)), subjects, strict=True)]
        return refusal(tmp_path, "\n".join(map(json.dumps, rows))).problem

    assert problem({"subject": "France"}, {}) == "subject is not text"
    assert problem({"subject": "Italy"}) == "the clean prompt does not contain its subject"
    wrong = {"subject": "France", "corrupted_subject": "France"}
    assert problem(wrong) == "the corrupted prompt does not contain its corrupted_subject"


def test_lines_of_a_csv_count_the_line_breaks_inside_quotes(tmp_path: Path):
    good = 'p0,r,"one\ntwo is","one\nsix is", a, b'
    error = refusal(tmp_path, f"{HEADER}\n{good}\np1,r,x, y,a\n", "own.csv")
    assert error.where.endswith("own.csv:5")
    assert (error.expected, error.seen) == ("6 cells", "5")
    assert refusal(tmp_path, f'{HEADER}\n{good}\np1,"r"x,1,2,3,4\n', "own.csv").problem == "not valid CSV"


def test_missing_columns_come_with_the_nearest_present_ones(tmp_path: Path):
    renamed = {"wrong_anwser" if k == "wrong_answer" else k: v for k, v in PAIR.items()}
    error = refusal(tmp_path, json.dumps(renamed))
    assert (error.problem, error.near) == ("no column wrong_answer", ("wrong_anwser",))
    assert refusal(tmp_path, HEADER.replace(",", ";") + "\n1;2", "own.csv").problem.startswith(
        "no columns id, "
    )


@pytest.mark.parametrize(
    ("name", "content", "said", "line"),
    [
        ("a.csv", b"", "the file is empty", ""),
        ("a.jsonl", b" \n\n", "the file is empty", ""),
        ("a.csv", b"\xef\xbb\xbf", "the file has no rows", ""),
        ("a.csv", HEADER.encode(), "the file has no rows", ""),
        ("a.csv", b"id,id\n1,2", "two columns are called 'id'", ":1"),
        ("a.csv", b"PK\x03\x04\n\x00", "a binary file", ":2"),
        ("a.jsonl", "{}\ncafé".encode("latin-1"), "not UTF-8", ":2"),
        ("a.jsonl", b"{'id': 1}", "not valid JSON", ":1"),
        ("a.parquet", b"PAR1 but not really", "not a readable parquet file", ""),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, said: str, line: str):
    error = refusal(tmp_path, content, name)
    assert (error.problem, error.where) == (said, f"{tmp_path / name}{line}")


def test_unknown_names_bring_the_nearest(tmp_path: Path):
    def near(**choice: object) -> tuple[str, ...]:
        with pytest.raises(DataError) as caught:
            load_prompts(PromptChoice.model_validate(choice), tmp_path)
        return caught.value.near

    write(tmp_path / "capitals.csv", pairs())
    assert near(name="fact") == ("facts",)
    assert near(name="capitols.csv") == ("capitals.csv",)
    assert near(name="capitals.csv", relations=["capitol"]) == ("capital",)
    assert near(name="nowhere/at/all.csv") == ()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        load_prompts(PromptChoice(name="folder.csv"), tmp_path)


ONE_CODE_POINT, TWO_CODE_POINTS = "Per\u00fa", "Peru\u0301"


@pytest.mark.parametrize(
    ("prompt", "subject"), [(ONE_CODE_POINT, TWO_CODE_POINTS), (TWO_CODE_POINTS, ONE_CODE_POINT)]
)
def test_an_accented_subject_is_found_however_it_is_spelled(tmp_path: Path, prompt: str, subject: str):
    clean = f"The capital of {prompt} is"
    write(tmp_path / "own.jsonl", [PAIR | {"clean": clean, "subject": subject}])
    [row] = load_prompts(PromptChoice(name="own.jsonl"), tmp_path).table.to_dict("records")
    assert row["clean"] == clean  # the model reads the prompt to the letter
    assert row["subject"] == prompt


def test_a_subject_that_only_looks_like_a_part_of_its_prompt_is_refused_with_its_code_points(tmp_path: Path):
    cyrillic = PAIR | {"clean": "The capital of Per\u00fa is", "subject": "\u0420eru\u0301"}
    error = refusal(tmp_path, json.dumps(cyrillic))
    assert (error.problem, error.where) == (
        "the clean prompt does not contain its subject",
        f"{tmp_path / 'pairs.jsonl'}:1",
    )
    assert error.expected.endswith(r"('\u0420eru\u0301')")
    assert error.seen.endswith(r"('The capital of Per\xfa is')")


def test_a_file_in_windows_encoding_is_refused_with_its_line_and_byte(tmp_path: Path):
    line = "fr,capital,Fact\u2019s: The capital of France is,Fact: The capital of Italy is, Paris, Rome"
    error = refusal(tmp_path, f"{HEADER}\r\n{line}\r\n".encode("cp1252"), "cp1252.csv")
    assert (error.problem, error.where) == ("not UTF-8", f"{tmp_path / 'cp1252.csv'}:2")
    assert error.seen == "the byte 0x92, byte 16 of the line (\u2019 in Windows-1252)"


def test_half_of_a_character_in_any_column_is_refused(tmp_path: Path):
    error = refusal(tmp_path, json.dumps(PAIR | {"note": "cut emoji \ud83d"}))
    assert (error.problem, error.where) == ("note is not valid Unicode", f"{tmp_path / 'pairs.jsonl'}:1")
    assert r"\ud83d" in error.seen


def test_prompts_that_end_in_a_space_are_sound(tmp_path: Path):
    rows = [row | {"clean": row["clean"] + " ", "corrupted": row["corrupted"] + " "} for row in pairs()]
    write(tmp_path / "own.jsonl", rows)
    assert load_prompts(PromptChoice(name="own.jsonl"), tmp_path).table.to_dict("records") == rows


def test_reading_prompts_needs_no_torch_and_no_tokenizer(tmp_path: Path):
    write(tmp_path / "own.jsonl", pairs())
    program = (
        "import sys, pathlib\n"
        "from engine.data.prompts import load_prompts\n"
        "from engine.spec.models import PromptChoice\n"
        f"load_prompts(PromptChoice(name='own.jsonl'), pathlib.Path({str(tmp_path)!r}))\n"
        "sys.exit(bool({'torch', 'tokenizers', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def clusters(folder: Path, rows: list[dict], **choice: object) -> tuple[str, list[str]]:
    write(folder / "own.jsonl", rows)
    prompts = load_prompts(PromptChoice.model_validate({"name": "own.jsonl"} | choice), folder)
    return prompts.cluster_column, prompts.clusters.tolist()


def test_a_set_names_its_clusters(tmp_path: Path):
    rows = [
        row | {"relation": kind, "template": f"t{i % 2}"}
        for i, (row, kind) in enumerate(zip(pairs(4), "aabb", strict=True))
    ]
    assert clusters(tmp_path, rows) == ("relation", ["a", "a", "b", "b"])
    assert clusters(tmp_path, rows, clusters="template") == ("template", ["t0", "t1", "t0", "t1"])
    # The relation tells nothing apart where there is only one.
    assert clusters(tmp_path, rows, relations=["a"]) == ("template", ["t0", "t1"])


def test_without_clusters_each_prompt_is_its_own(tmp_path: Path):
    assert clusters(tmp_path, pairs(3)) == ("", ["p0", "p1", "p2"])


def test_a_cluster_column_that_is_not_there_or_empty_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="no column 'templat' to take clusters from") as caught:
        clusters(tmp_path, pairs(template="t"), clusters="templat")
    assert caught.value.near[0] == "template"
    rows = [pairs()[0] | {"template": "t"}, pairs()[1] | {"template": " "}]
    with pytest.raises(DataError, match="template names no cluster"):
        clusters(tmp_path, rows, clusters="template")


def test_packaged_sets_are_found_by_name():
    assert "facts" in prompt_set_names()


@pytest.mark.parametrize("name", ["/secret.csv", "../../../secret.csv", "link.csv"])
def test_a_strangers_prompts_are_files_of_the_repository(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "project/investigations/words"
    folder.mkdir(parents=True)
    (tmp_path / "project/mkdocs.yml").touch()
    write(tmp_path / "secret.csv", pairs())
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    choice = PromptChoice(name=str(tmp_path / name[1:]) if name.startswith("/") else name)
    for read in (load_prompts, data_hash):
        with pytest.raises(DataError, match="leads out of the repository"):
            read(choice, folder)
    # A spec of a person's own reads what that person may.
    assert len(load_prompts(PromptChoice(name=str(tmp_path / "secret.csv")), tmp_path).table)


def test_the_home_of_nobody_is_no_prompt_set(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_prompts(PromptChoice(name="~nobody-of-this-name/x.csv"), tmp_path)
