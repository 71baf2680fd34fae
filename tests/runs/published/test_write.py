"""The numbers committed with the text: written for a diff, read with suspicion, compared with care."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

from engine.errors import StoreError
from engine.runs.ledger import DisplayItem
from engine.runs.published.read import published_entry, read_published
from engine.runs.published.write import _as_json, write_published

CLAIMS = {"more": {"holds": "count.score > count.chance"}, "fewer": {"holds": "count.score < count.chance"}}


def folder(toy: Any) -> Path:
    return toy.root / "investigations/words/published"


def contents(toy: Any) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder(toy).iterdir())}


def publish(toy: Any, **options: Any):
    return write_published(toy.ledger(**options), folder(toy))


def forget_runs(toy: Any) -> None:
    """A fresh clone: what is published, and no store."""
    for path in sorted((toy.root / ".engine").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_publishing_again_what_was_published_gives_the_same_bytes(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={}, swept={"sweep": {"seed": [1, 0], "k": [3]}})
    report = publish(toy)
    before = contents(toy)
    assert set(report.changed) == set(before)
    assert publish(toy).changed == ()
    forget_runs(toy)
    ledger = toy.ledger(budget=0.0)  # every entry is read back from the files
    assert {e.state for e in ledger.entries} == {"published"}
    assert write_published(ledger, folder(toy)).changed == ()
    assert contents(toy) == before
    assert [e.label for e in ledger.entries] == ["count", "swept[seed=1,k=3]", "swept[seed=0,k=3]"]


def test_a_published_entry_says_what_the_measured_one_said_to_six_digits(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={})
    measured = toy.ledger()
    write_published(measured, folder(toy))
    forget_runs(toy)
    published = toy.ledger(budget=0.0)
    (before,), (after,) = measured.entries, published.entries
    assert after.state == "published"
    assert after.reason == "never measured here; --budget 0 measures nothing"
    assert after.checks == before.checks
    assert after.figures == before.figures
    for name, m in before.measurements.items():
        seen = after.measurements[name]
        assert seen.value == pytest.approx(m.value, rel=5e-6)
        assert (seen.low is None) == (m.low is None)
        assert (seen.n, seen.unit, seen.role, seen.control, seen.exact) == (
            m.n,
            m.unit,
            m.role,
            m.control,
            m.exact,
        )
        assert seen.replicates is None
    assert after.provenance is not None
    assert (after.provenance.key, after.provenance.run_id) == (before.provenance.key, None)
    assert_frame_equal(after.tables["words"], before.tables["words"])
    for claim, verdict in published.verdicts["tiny"].items():
        was = measured.verdicts["tiny"][claim]
        assert (verdict.verdict, verdict.source, was.source) == (was.verdict, "published", "measured")


def test_files_are_made_for_a_diff(toy: Any) -> None:
    publish(toy)
    assert sorted(contents(toy)) == ["changes.jsonl", "tiny.count.words.csv", "tiny.json"]
    text = (folder(toy) / "tiny.json").read_text()
    data = json.loads(text)
    assert list(data) == sorted(data)
    assert list(data["runs"]["count"]["measurements"]) == ["chance", "n_words", "score"]
    assert '"value": 25.5\n' in text
    assert '"value": 20\n' in text  # a whole number without a point
    assert text.endswith("}\n")


def test_only_what_was_measured_here_replaces_what_is_published(toy: Any) -> None:
    toy.models(tiny={"hash": "aa", "n_layers": 4}, small={"hash": "bb", "n_layers": 4})
    toy.spec(models=("tiny", "small"), count={}, more={"parameters": {"k": 2}})
    publish(toy)
    (folder(toy) / "README.md").write_text("by hand")
    before = contents(toy)
    forget_runs(toy)
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    report = publish(toy, select=lambda name: (name.label, name.model) == ("more", "tiny"))
    assert report.taken == ("more on tiny",)
    assert set(report.kept) == {"count on tiny", "count on small", "more on small"}
    assert set(report.changed) == {"changes.jsonl", "tiny.json", "tiny.more.words.csv"}
    after = contents(toy)
    assert {name for name in before if before[name] != after[name]} == set(report.changed)
    runs = [json.loads(c["tiny.json"])["runs"] for c in (before, after)]
    assert runs[0]["count"] == runs[1]["count"]
    toy.spec(models=("tiny",), count={})
    assert set(publish(toy, budget=0.0).changed) == {
        "changes.jsonl",
        "small.json",
        "small.count.words.csv",
        "small.more.words.csv",
        "tiny.json",
        "tiny.more.words.csv",
    }
    assert sorted(contents(toy)) == ["README.md", "changes.jsonl", "tiny.count.words.csv", "tiny.json"]


def test_a_run_that_failed_a_check_replaces_nothing(toy: Any) -> None:
    publish(toy)
    before = contents(toy)
    toy.edit("engine/families/count_words.py", "1e-7", "1e-3")
    report = publish(toy)
    assert report.changed == ()
    assert report.notes == (
        "count on tiny is not published: check identity failed: 0.001, at most 1e-05 is allowed",
    )
    assert contents(toy) == before


def test_what_answers_another_experiment_is_not_shown(toy: Any) -> None:
    publish(toy)
    forget_runs(toy)
    toy.count(k=9)
    (entry,) = toy.ledger(budget=0.0).entries
    assert entry.state == "unmeasured"
    assert entry.reason.endswith("what is published answers another experiment (parameter k: 8 -> 9)")


def test_a_parameter_that_the_family_gained_does_not_unpublish(toy: Any) -> None:
    publish(toy)
    forget_runs(toy)
    toy.edit(
        "engine/families/count_words.py", "    seed: int = 0\n", "    seed: int = 0\n    layer: int = 3\n"
    )
    (entry,) = toy.ledger(budget=0.0).entries
    assert entry.state == "published"
    assert entry.reason.endswith("published with other code")
    toy.count(layer=3)
    assert toy.ledger(budget=0.0).entries[0].state == "unmeasured"


def test_a_large_table_is_left_out_with_its_figure_and_says_so(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runs.published.write.MAX_TABLE_BYTES", 100)
    publish(toy)
    table = json.loads((folder(toy) / "tiny.json").read_text())["runs"]["count"]["tables"]["words"]
    assert (table["file"], table["rows"]) == ("", 20)
    assert table["note"].startswith("left out: ")
    (run,) = read_published(folder(toy)).runs.values()
    entry = published_entry(run, "")
    assert entry.tables == {} and entry.figures == {}
    assert "score" in entry.measurements


def test_a_table_that_the_text_does_not_show_is_not_written(toy: Any) -> None:
    report = write_published(toy.ledger(), folder(toy), asked=set())
    assert report.changed == ("tiny.json", "changes.jsonl")
    data = json.loads((folder(toy) / "tiny.json").read_text())["runs"]["count"]
    assert list(data["measurements"]) == ["chance", "n_words", "score"]  # numbers are published all the same
    assert (data["tables"]["words"]["file"], data["tables"]["words"]["rows"]) == ("", 20)
    forget_runs(toy)
    (entry,) = toy.ledger(budget=0.0).entries
    why = "left out: the text does not show it"
    assert entry.left_out == {("tables", "words"): why, ("figures", "scores"): why}


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        (DisplayItem("count", "tiny", "tables", "words"), True),
        (DisplayItem("count", "tiny", "figures", "scores"), True),  # a chart draws the table
        (DisplayItem("count", "small", "tables", "words"), False),
        (DisplayItem("other", "tiny", "figures", "scores"), False),
        (DisplayItem("count", "tiny", "figures", "words"), False),
    ],
)
def test_a_table_is_written_where_it_or_a_chart_of_it_is_asked_for(
    toy: Any, asked: DisplayItem, written: bool
) -> None:
    write_published(toy.ledger(), folder(toy), {asked})
    assert ("tiny.count.words.csv" in contents(toy)) == written


def test_publishing_again_takes_away_what_the_text_no_longer_shows(toy: Any) -> None:
    ledger, words = toy.ledger(), {DisplayItem("count", "tiny", "tables", "words")}
    write_published(ledger, folder(toy), words)
    before = contents(toy)
    assert write_published(ledger, folder(toy), words).changed == ()
    assert write_published(ledger, folder(toy), set()).changed == ("tiny.count.words.csv", "tiny.json")
    without = contents(toy)
    assert write_published(ledger, folder(toy), words).changed == ("tiny.count.words.csv", "tiny.json")
    assert contents(toy) == before
    forget_runs(toy)  # where nothing was measured, what is no longer shown goes as well
    clone = toy.ledger(budget=0.0)
    assert write_published(clone, folder(toy), words).changed == ()
    assert write_published(clone, folder(toy), set()).changed == ("tiny.count.words.csv", "tiny.json")
    assert contents(toy) == without
    assert write_published(clone, folder(toy), words).changed == ()  # and cannot come back from nothing


def test_a_run_that_failed_a_check_takes_no_table_away(toy: Any) -> None:
    publish(toy)
    before = contents(toy)
    toy.edit("engine/families/count_words.py", "1e-7", "1e-3")
    assert write_published(toy.ledger(), folder(toy), set()).changed == ()
    assert contents(toy) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "not published by this engine"),
        ('{"format": 7}', "not published by this engine"),
        ('{"format": 1}', "lacks what it should hold"),
        (
            '{"format": 1, "model": "tiny", "runs": {"count": {"experiment": "count"}}, "verdicts": {}}',
            "lacks what",
        ),
        ("\x00\xff", "cannot be read"),
    ],
)
def test_a_broken_or_foreign_file_is_named(toy: Any, text: str, says: str) -> None:
    publish(toy)
    (folder(toy) / "tiny.json").write_bytes(text.encode("latin1"))
    with pytest.raises(StoreError, match=rf"tiny\.json: .*{says}(?s:.)*git checkout"):
        toy.plan()


def test_a_missing_or_other_table_is_named(toy: Any) -> None:
    publish(toy)
    forget_runs(toy)
    table = folder(toy) / "tiny.count.words.csv"
    table.write_text("a,b\n1,2\n")
    ledger = toy.ledger(budget=0.0)
    assert [fault.file for fault in ledger.faults] == ["published/tiny.count.words.csv"]
    assert not ledger.entries[0].tables
    table.unlink()
    with pytest.raises(StoreError, match=r"words\.csv"):
        toy.ledger(budget=0.0)


def edit(toy: Any, old: str, new: str, name: str = "tiny.json") -> None:
    """Edit a published file by hand."""
    path = folder(toy) / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "name", "what"),
    [
        ('"value": 25.5', '"value": 999.0', "tiny.json", "count on tiny"),
        ('"verdict": "contradicted"', '"verdict": "supported"', "tiny.json", "the verdict on fewer on tiny"),
        ("w3,", "w999,", "tiny.count.words.csv", "count on tiny"),
    ],
)
def test_what_was_edited_is_shown_to_nobody_and_not_published_again(
    toy: Any, old: str, new: str, name: str, what: str
) -> None:
    toy.spec(claims=CLAIMS, count={})
    publish(toy)
    before = contents(toy)
    edit(toy, old, new, name)
    edited = contents(toy)
    forget_runs(toy)
    ledger = toy.ledger(budget=0.0)
    assert len(ledger.faults) == 1
    if name == "tiny.json" and "value" in old:
        (entry,) = ledger.entries
        assert (entry.state, entry.measurements) == ("unmeasured", {})
        assert "what is published was edited since" in entry.reason
        assert ledger.verdicts["tiny"]["fewer"].verdict == "unmeasured"
    if "verdict" in old:
        verdict = ledger.verdicts["tiny"]["fewer"]
        assert (verdict.verdict, "edited since" in verdict.reason) == ("unmeasured", True)
        assert ledger.verdicts["tiny"]["more"].verdict == "supported"
    with pytest.raises(StoreError, match=rf"{what} was edited(?s:.)*git checkout(?s:.)*measure it here"):
        write_published(ledger, folder(toy))
    assert contents(toy) == edited
    publish(toy)  # measured here
    assert contents(toy).keys() == before.keys()
    assert toy.ledger().faults == ()


def test_what_was_published_before_digests_gets_them_with_its_numbers_as_they_are(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={})
    publish(toy)
    before = contents(toy)
    data = json.loads(before["tiny.json"]) | {"format": 1}
    for part in (data, *data["runs"].values(), *data["verdicts"].values()):
        del part["digest"]
    del data["runs"]["count"]["tables"]["words"]["digest"]
    (folder(toy) / "tiny.json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    forget_runs(toy)
    ledger = toy.ledger(budget=0.0)
    (entry,) = ledger.entries
    assert entry.state == "unmeasured"
    assert "published before digests" in entry.reason and "publish it anew" in entry.reason
    assert write_published(ledger, folder(toy)).changed == ("tiny.json",)
    assert contents(toy) == before
    assert toy.ledger(budget=0.0).faults == ()


def test_a_publish_that_fails_or_is_killed_leaves_the_old_files(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(toy)
    before = contents(toy)
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    ledger = toy.ledger()

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(StoreError, match=r"No space left"):
            write_published(ledger, folder(toy))
    assert contents(toy) == before
    folder(toy).rename(folder(toy).with_name(".published-old"))  # as between the two renames
    assert read_published(folder(toy)).runs
    assert contents(toy) == before
    write_published(ledger, folder(toy))
    assert sorted(p.name for p in folder(toy).parent.iterdir()) == [
        "published",
        "report.md",
        "spec.yaml",
        "words.csv",
    ]


def test_what_is_published_names_no_folder_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runs.published.write.project_or_none", lambda: tmp_path)
    data = {"reason": f"{tmp_path}/investigations/é/spec.yaml", "asked": {"vector": f"{Path.home()}/v.gguf"}}
    said = _as_json(data)
    assert said == {"reason": "investigations/é/spec.yaml", "asked": {"vector": "~/v.gguf"}}
