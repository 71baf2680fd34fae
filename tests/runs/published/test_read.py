"""What was committed with the text is read with suspicion: places, verdicts, notes, and what is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StoreError
from engine.runs.ledger import PublishedFault
from engine.runs.published.digests import table_digest
from engine.runs.published.read import (
    EDITED,
    MENDING,
    UNPROVED,
    file_stem,
    published_entry,
    read_published,
    recover,
)
from engine.runs.published.write import write_published
from tests.runs.published.resealing import resealed

CLAIMS = {"more": {"holds": "count.score > count.chance", "requires": ["count.chance > 0"]}}


@pytest.fixture
def folder(toy: Any) -> Path:
    """What the toy project has published: one run, one claim."""
    toy.spec(claims=CLAIMS, count={})
    place = toy.root / "investigations/words/published"
    write_published(toy.ledger(), place)
    return place


def change(folder: Path, **run: Any) -> None:
    """Put other values in the published run, as another engine would have published it."""
    data = json.loads((folder / "tiny.json").read_text())
    data["runs"]["count"] |= run
    (folder / "tiny.json").write_text(json.dumps(resealed(data)))


def edit(folder: Path, *way: str, to: Any) -> None:
    """Put another value in the published file, by hand."""
    data = json.loads((folder / "tiny.json").read_text())
    part = data
    for name in way[:-1]:
        part = part[name]
    part[way[-1]] = to
    (folder / "tiny.json").write_text(json.dumps(data, indent=2))


def only_run(folder: Path) -> Any:
    (run,) = read_published(folder).runs.values()
    return run


def test_runs_go_by_label_and_model_and_verdicts_by_model_and_claim(folder: Path) -> None:
    found = read_published(folder)
    assert set(found.runs) == {("count", "tiny")}
    run = found.runs["count", "tiny"]
    assert (run.experiment, run.point, run.model, run.folder) == ("count", {}, "tiny", folder)
    assert run.provenance.run_id is None  # run 1 there is another run here
    assert run.provenance.asked["parameters"]["k"] == 8
    (verdict,) = found.verdicts.values()
    assert set(found.verdicts) == {("tiny", "more")}
    assert verdict.judged == {"holds": "count.score > count.chance", "requires": ["count.chance > 0"]}
    assert (verdict.verdict.verdict, verdict.verdict.share, verdict.verdict.source) == (
        "supported",
        1.0,
        "published",
    )


def test_where_nothing_is_published_there_is_nothing(tmp_path: Path) -> None:
    found = read_published(tmp_path / "published")
    assert (found.runs, found.verdicts) == ({}, {})
    assert not (tmp_path / "published").exists()


def test_an_entry_says_why_it_was_not_measured_here_and_reads_its_tables_when_they_are_drawn(
    folder: Path,
) -> None:
    entry = published_entry(only_run(folder), "the model is out of reach")
    (folder / "tiny.count.words.csv").unlink()
    assert (entry.state, entry.reason) == ("published", "the model is out of reach")
    assert entry.measurements["score"].value == 25.5
    assert entry.measurements["chance"].role == "control"
    with pytest.raises(StoreError, match=r"tiny\.count\.words\.csv"):
        entry.tables["words"]


def test_a_table_that_was_left_out_takes_its_figure_along_and_both_say_why(folder: Path) -> None:
    table = json.loads((folder / "tiny.json").read_text())["runs"]["count"]["tables"]["words"]
    change(folder, tables={"words": table | {"file": "", "note": "too large"}})
    entry = published_entry(only_run(folder), "")
    assert "words" not in entry.tables
    assert entry.figures == {}
    assert entry.left_out == {("tables", "words"): "too large", ("figures", "scores"): "too large"}


@pytest.mark.parametrize(
    ("content", "problem", "seen"),
    [
        ("{", "cannot be read", "Expecting property name"),
        ("[]", "was not published by this engine", "a list"),
        ('{"format": 3}', "was not published by this engine", "format 3"),
        ("{}", "was not published by this engine", "format None"),
        ('{"format": 1}', "lacks what it should hold", "KeyError: 'model'"),
        ('{"format": 2}', "lacks what it should hold", "KeyError: 'model'"),
        ('{"format": 1, "model": "tiny", "runs": []}', "lacks what it should hold", "AttributeError"),
    ],
)
def test_a_broken_file_is_named_with_what_was_seen_and_how_to_mend_it(
    tmp_path: Path, content: str, problem: str, seen: str
) -> None:
    (tmp_path / "tiny.json").write_text(content)
    with pytest.raises(StoreError, match=problem) as caught:
        read_published(tmp_path)
    assert caught.value.where == str(tmp_path / "tiny.json")
    assert seen in caught.value.seen
    assert caught.value.hint == MENDING
    assert ("an object with format 2" in caught.value.expected) == ("by this engine" in problem)


@pytest.mark.parametrize(
    "broken",
    [
        {"measurements": {"score": {"value": 1.0}}},
        {"measurements": {"score": {"value": 1.0, "colour": "red"}}},
        {"checks": [{"name": "identity"}]},
        {"figures": {"scores": {"kind": "strip"}}},
        {"tables": {"words": {}}},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_a_part_of_a_run_that_is_not_whole_names_the_file_when_it_is_shown(
    folder: Path, broken: dict[str, Any]
) -> None:
    change(folder, **broken)
    run = only_run(folder)  # other runs of the file are read all the same
    with pytest.raises(StoreError, match="lacks what it should hold") as caught:
        published_entry(run, "")
    assert caught.value.where == str(folder / "tiny.json")


def test_provenance_with_a_field_that_is_not_known_names_the_file(folder: Path) -> None:
    change(folder, provenance={"colour": "red"})
    with pytest.raises(StoreError, match="lacks what it should hold") as caught:
        read_published(folder)
    assert "colour" in caught.value.seen


def test_what_was_published_is_believed_whatever_git_makes_of_its_lines(folder: Path) -> None:
    assert read_published(folder).faults == ()
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    found = read_published(folder)
    assert found.faults == ()
    assert published_entry(only_run(folder), "").tables["words"]["word"].tolist()[:2] == ["w0", "w1"]


@pytest.mark.parametrize(
    "way",
    [
        ("measurements", "score", "value"),
        ("measurements", "score", "high"),
        ("measurements", "score", "note"),
        ("provenance", "model_hash"),
        ("provenance", "date"),
        ("figures", "scores", "title"),
        ("experiment",),
    ],
)
def test_an_edited_run_is_read_and_not_believed(folder: Path, way: tuple[str, ...]) -> None:
    edit(folder, "runs", "count", *way, to="by hand")
    found = read_published(folder)
    assert found.faults == (PublishedFault("published/tiny.json", "runs.count", EDITED),)
    assert only_run(folder).fault == EDITED
    assert found.verdicts["tiny", "more"].fault == ""


def test_an_edited_verdict_is_not_believed_and_the_runs_are(folder: Path) -> None:
    edit(folder, "verdicts", "more", "verdict", to="contradicted")
    found = read_published(folder)
    assert found.faults == (PublishedFault("published/tiny.json", "verdicts.more", EDITED),)
    assert found.verdicts["tiny", "more"].fault == EDITED
    assert only_run(folder).fault == ""


def test_another_model_put_over_the_numbers_is_told(folder: Path) -> None:
    edit(folder, "model", to="small")
    parts = [fault.part for fault in read_published(folder).faults]
    assert parts == ["runs.count", "verdicts.more"]


def test_runs_or_verdicts_that_were_taken_out_are_told_and_the_others_believed(folder: Path) -> None:
    edit(folder, "verdicts", to={})
    found = read_published(folder)
    (fault,) = found.faults
    assert (fault.file, fault.part) == ("published/tiny.json", "")
    assert "taken out" in fault.why
    assert only_run(folder).fault == ""


def test_an_edited_table_is_not_shown_and_its_numbers_are(folder: Path) -> None:
    table = folder / "tiny.count.words.csv"
    table.write_text(table.read_text().replace("w3", "w999"))
    assert read_published(folder).faults == (PublishedFault("published/tiny.count.words.csv", "", EDITED),)
    entry = published_entry(only_run(folder), "")
    assert entry.measurements["score"].value == 25.5
    assert (dict(entry.tables), entry.figures) == ({}, {})
    assert entry.left_out == {("tables", "words"): EDITED, ("figures", "scores"): EDITED}


def test_a_file_from_before_digests_is_not_believed_and_says_what_to_do(folder: Path) -> None:
    data = json.loads((folder / "tiny.json").read_text())
    data |= {"format": 1}
    for part in (data, *data["runs"].values(), *data["verdicts"].values()):
        del part["digest"]
    (folder / "tiny.json").write_text(json.dumps(data))
    found = read_published(folder)
    assert found.faults == (PublishedFault("published/tiny.json", "", UNPROVED),)
    assert only_run(folder).fault == UNPROVED
    assert found.verdicts["tiny", "more"].fault == UNPROVED


def test_other_files_in_the_folder_are_left_alone(folder: Path) -> None:
    (folder / "README.md").write_text("by hand")
    (folder / "notes.txt").write_text("{")
    assert set(read_published(folder).runs) == {("count", "tiny")}


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("Qwen/Qwen2.5-1.5B", "Qwen-Qwen2.5-1.5B"),
        ("./models/micro", "models-micro"),
        ("swept[seed=1,k=3]", "swept-seed=1-k=3"),
        ("../../etc/passwd", "etc-passwd"),
        ("a  <b>", "a-b"),
    ],
)
def test_a_name_becomes_a_part_of_a_file_name_and_leads_nowhere_else(text: str, stem: str) -> None:
    assert file_stem(text) == stem


def test_a_publish_that_was_killed_between_its_renames_is_put_back(folder: Path) -> None:
    before = (folder / "tiny.json").read_bytes()
    old = folder.with_name(".published-old")
    folder.rename(old)
    assert set(read_published(folder).runs) == {("count", "tiny")}
    assert (folder / "tiny.json").read_bytes() == before
    assert not old.exists()


def test_what_was_published_since_is_not_overwritten_by_what_was_left_behind(folder: Path) -> None:
    old = folder.with_name(".published-old")
    old.mkdir()
    (old / "tiny.json").write_text("{}")
    recover(folder)
    assert old.is_dir()
    assert set(read_published(folder).runs) == {("count", "tiny")}


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../spec.yaml", "../../words/published/tiny.count.words.csv"]
)
def test_a_table_by_more_than_a_bare_name_is_refused(folder: Path, name: str) -> None:
    data = json.loads((folder / "tiny.json").read_text())
    tables = data["runs"]["count"]["tables"]
    # With the digest that the file has: whoever put it together knows how digests are made.
    content = (folder / name).read_bytes()
    change(folder, tables={"words": tables["words"] | {"file": name, "digest": table_digest(content)}})
    with pytest.raises(StoreError, match="more than a bare name") as caught:
        read_published(folder)
    assert "root:" not in str(caught.value)


def test_a_table_or_a_file_that_is_a_link_is_refused(folder: Path) -> None:
    table = folder / "tiny.count.words.csv"
    kept = table.rename(folder.parent / "kept.csv")
    table.symlink_to(kept)
    with pytest.raises(StoreError, match="a link"):
        read_published(folder)
    table.unlink()
    kept.rename(table)
    whole = (folder / "tiny.json").rename(folder.parent / "kept.json")
    (folder / "tiny.json").symlink_to(whole)
    with pytest.raises(StoreError, match="a link"):
        read_published(folder)


def test_a_published_folder_that_is_a_link_is_refused(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))
    with pytest.raises(StoreError, match="a link"):
        read_published(folder)


def test_what_is_too_large_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runs.published.csv_tables.MOST_TABLE_BYTES", 10)
    with pytest.raises(StoreError, match="too large"):
        read_published(folder)
    monkeypatch.setattr("engine.runs.published.read.MOST_JSON_BYTES", 10)
    with pytest.raises(StoreError, match="at most 10 bytes"):
        read_published(folder)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_file_nested_too_deep_is_an_error(folder: Path, depth: int) -> None:
    text = (folder / "tiny.json").read_text()
    nested = f'{{"a": {"[" * depth}{"]" * depth}, {text.lstrip()[1:]}'
    (folder / "tiny.json").write_text(nested)
    with pytest.raises(StoreError, match="this published file"):
        read_published(folder)


@pytest.mark.parametrize("verdict", ["<img src=x onerror=alert(1)>", "proved", ["supported"], None])
def test_a_verdict_is_one_of_those_that_there_are(folder: Path, verdict: Any) -> None:
    data = json.loads((folder / "tiny.json").read_text())
    data["verdicts"]["more"]["verdict"] = verdict
    (folder / "tiny.json").write_text(json.dumps(resealed(data)))
    with pytest.raises(StoreError, match=r"verdict is .* no one of supported"):
        read_published(folder)


def test_a_date_is_a_date(folder: Path) -> None:
    data = json.loads((folder / "tiny.json").read_text())
    change(folder, provenance=data["runs"]["count"]["provenance"] | {"date": '"><script>alert(1)</script>'})
    with pytest.raises(StoreError, match="no date"):
        read_published(folder)


@pytest.mark.parametrize(
    ("field", "value"), [("n", "<b>"), ("about", ["<b>"]), ("unit", 3), ("exact", 1), ("role", "boss")]
)
def test_a_measurement_has_the_types_of_its_fields(folder: Path, field: str, value: Any) -> None:
    data = json.loads((folder / "tiny.json").read_text())
    measurements = data["runs"]["count"]["measurements"]
    change(folder, measurements=measurements | {"score": measurements["score"] | {field: value}})
    with pytest.raises(StoreError, match=f"{field} is"):
        published_entry(only_run(folder), "")
