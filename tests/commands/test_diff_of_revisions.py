"""`engine diff` of two revisions of what is published, and of two runs, on the toy project."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.runs.published.change_log import read_change_log
from engine.runs.published.write import write_published
from tests.runs.toy import Toy

CLAIMS = {"more": {"holds": "count.score > count.chance"}}
REPORT = """\
# Words

The score is {{ count.score }}. Nothing else is said of {{ count.n_words }} here.
{% claim "more" %}The score beats chance.{% endclaim %}
"""


def git(toy: Toy, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(toy.root), *identity, *arguments], check=True, capture_output=True)


def commit(toy: Toy, message: str) -> None:
    git(toy, "add", "investigations")
    git(toy, "commit", "-m", message)


@pytest.fixture
def history(toy: Toy) -> Toy:
    """Two publications in a repository: k = 8, then k = 0, so that the score falls by sixteen."""
    git(toy, "init", "-q")
    toy.write("investigations/words/report.md", REPORT)
    toy.spec(claims=CLAIMS, count={"parameters": {"k": 8}})
    toy.build()
    write_published(toy.ledger(), toy.root / "investigations/words/published")
    commit(toy, "Publish k = 8")
    toy.spec(claims=CLAIMS, count={"parameters": {"k": 0}})
    toy.build()
    write_published(toy.ledger(), toy.root / "investigations/words/published")
    commit(toy, "Publish k = 0")
    return toy


def test_two_revisions_show_numbers_verdicts_and_sentences_that_moved(engine: Any, history: Toy) -> None:
    answer = engine("diff", "HEAD~1", "HEAD")
    assert (answer.code, answer.err) == (1, "")
    lines = [line.split() for line in answer.out.splitlines()]
    assert next(line for line in lines if line[:1] == ["count.score"])[:2] == ["count.score", "tiny"]
    assert "exclude each other" in answer.out
    assert "investigations/words/report.md:3  The score is [count.score]." in answer.out
    assert "Nothing else is said" not in answer.out  # the count did not move


def test_json_has_both_intervals_and_whether_they_exclude_each_other(engine: Any, history: Toy) -> None:
    answer = engine("diff", "HEAD~1", "HEAD", "words", "--json")
    assert answer.json["sides"].startswith("HEAD~1 (")
    (words,) = answer.json["investigations"]
    score = next(number for number in words["numbers"] if number["name"] == "count.score")
    assert (score["before"], score["after"], score["excludes"]) == (25.5, 9.5, True)
    assert score["before_low"] < 25.5 < score["before_high"]
    assert words["sentences"][0]["where"] == "investigations/words/report.md:3"


def test_markdown_is_a_table_with_what_stays_within_the_intervals_folded(engine: Any, history: Toy) -> None:
    out = engine("diff", "HEAD~1", "HEAD", "--markdown").out
    assert out.startswith("### What moved: HEAD~1 (")
    assert "| `count.score` | tiny | " in out
    assert "<details><summary>" in out


def test_one_revision_is_compared_with_what_is_published_now(engine: Any, history: Toy) -> None:
    assert engine("diff", "HEAD~1").out.splitlines()[0].endswith(" to published")
    same = engine("diff", "HEAD")
    assert same.code == 0
    assert "words: nothing moved, 3 numbers published alike" in same.out


def test_fresh_numbers_are_a_side_too(engine: Any, history: Toy) -> None:
    answer = engine("diff", "HEAD~1", "fresh", "--json")
    (words,) = answer.json["investigations"]
    assert {n["name"] for n in words["numbers"]} >= {"count.score"}
    assert engine("diff", "HEAD", "fresh").code == 0


def test_a_sentence_whose_claim_flipped_says_what_it_says_and_what_holds_now(
    engine: Any, history: Toy
) -> None:
    answer = engine("diff", "HEAD~1", "HEAD", "--json")
    (words,) = answer.json["investigations"]
    (verdict,) = words["verdicts"]
    assert (verdict["claim"], verdict["before"], verdict["after"]) == ("more", "supported", "contradicted")
    assert "broken: the text says supported, now contradicted" in engine("diff", "HEAD~1", "HEAD").out
    assert "agrees: the text says supported, now supported" in engine("diff", "HEAD", "HEAD~1").out


def test_a_number_that_was_edited_by_hand_is_left_out_and_told(engine: Any, history: Toy) -> None:
    history.edit("investigations/words/published/tiny.json", '"value": 9.5', '"value": 999.0')
    answer = engine("diff", "HEAD")
    assert answer.code == 1
    assert "not believed: published/tiny.json: runs.count: edited since it was published" in answer.out
    assert "999" not in answer.out


def test_two_runs_of_one_experiment_are_compared_whatever_their_parameters(engine: Any, history: Toy) -> None:
    with history.store() as store:
        first, second = (run.id for run in store.runs())
    answer = engine("diff", str(first), str(second))
    assert answer.code == 1
    assert answer.out.startswith(f"run {first} (words/count on tiny, ")
    assert "25" in answer.out and "exclude each other" in answer.out


def test_what_cannot_be_compared_is_refused_with_what_can(engine: Any, history: Toy) -> None:
    history.spec(count={"parameters": {"k": 0}}, other={"parameters": {"k": 3}})
    history.build()
    with history.store() as store:
        ids = [str(run.id) for run in store.runs()]
    for typed, said in {
        ("no-such-revision",): "no investigation and no revision is called 'no-such-revision'",
        ("wrods",): "nearest: words",
        ("HEAD~1", "HEAD", "wrods"): "has no investigation 'wrods'",
        ("HEAD", "HEAD"): "compared with itself",
        ("published", "published"): "compared with itself",
        ("12345", "HEAD"): "no investigation and no revision",
        (ids[0],): "two at a time",
        (ids[0], "99"): "there is no run 99",
        (ids[0], ids[-1]): "these are runs of different experiments",
        ("HEAD^{tree}",): "no investigation and no revision",
    }.items():
        answer = engine("diff", *typed)
        assert (answer.code, answer.out) == (2, ""), typed
        assert said in answer.err, typed
        assert "Traceback" not in answer.err


def test_a_revision_without_the_investigation_is_told_which_it_has(engine: Any, history: Toy) -> None:
    history.write("investigations/later/report.md", "# Later\n")
    history.spec("later")
    answer = engine("diff", "HEAD", "later")
    assert answer.code == 2
    assert "revision HEAD" in answer.err and "expected: one of words" in answer.err


def test_a_published_file_that_is_broken_is_named(engine: Any, history: Toy) -> None:
    (history.root / "investigations/words/published/tiny.json").write_text("{")
    commit(history, "A broken file")
    answer = engine("diff", "HEAD~1", "HEAD")
    assert answer.code == 2
    assert "words/published/tiny.json: this published file cannot be read" in answer.err
    assert "/tmp" not in answer.err


def test_outside_of_a_repository_revisions_are_refused_and_the_rest_works(engine: Any, toy: Toy) -> None:
    answer = engine("diff", "HEAD")
    assert answer.code == 2
    assert "no git checkout" in answer.err
    assert engine("diff").code == 0


def test_sentences_of_publications_count_and_one_that_cannot_be_read_is_told(
    engine: Any, history: Toy
) -> None:
    header = "---\ntitle: A thread\n---\n"
    history.write("publications/news/thread.md", f"{header}\nIt is {{{{ words.count.score }}}} words.\n")
    assert "publications/news/thread.md:5  It is [words.count.score] words." in engine("diff", "HEAD~1").out
    history.write("publications/news/thread.md", "no header\n")
    answer = engine("diff", "HEAD~1")
    assert answer.code == 1
    assert "publications are not searched" in answer.out


def test_the_change_log_can_be_made_anew_of_the_history(engine: Any, history: Toy) -> None:
    folder = history.root / "investigations/words/published"
    before = read_change_log(folder)
    (folder / "changes.jsonl").unlink()
    answer = engine("publish", "--history")
    assert (answer.code, answer.out) == (0, "words: 2 publications\n")
    after = read_change_log(folder)
    assert [(e.moved, e.came, e.numbers) for e in after] == [(e.moved, e.came, e.numbers) for e in before]
    assert all(entry.revision and not entry.fault for entry in after)


def test_a_history_that_is_cut_short_makes_no_change_log(
    engine: Any, history: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_all = ["add", "-A"], ["commit", "-m", "All", "-q"]
    for arguments in commit_all:
        git(history, *arguments)
    clone = tmp_path / "clone"
    address = f"file://{history.root}"
    subprocess.run(["git", "clone", "-q", "--depth", "1", address, str(clone)], check=True)
    monkeypatch.chdir(clone)
    answer = engine("publish", "--history")
    assert answer.code == 2
    assert "cut short" in answer.err and "git fetch --unshallow" in answer.err
