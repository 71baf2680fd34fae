"""`engine runs gc` and what `engine status` says of the disk: what goes, what stays, and how much it was."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from engine.lab.activation_cache import lock_of
from tests.runs.toy import Toy

NEEDS_NOTHING = "nothing to free"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A toy project whose experiment reads a corpus; the working directory."""
    made = Toy(tmp_path / "project")
    made.spec(count={"corpus": {"name": "words.csv", "tokens": 2}})
    monkeypatch.setattr("engine.runs.sources.project_sources", made.sources)
    monkeypatch.chdir(made.root)
    return made


def harvest(toy: Toy, name: str, model_hash: str = "", corpus_hash: str = "", n_bytes: int = 50_000) -> Path:
    """A harvest on the disk; by default the one that the toy's experiment would read."""
    inputs = toy.plan().runs[0].examined.inputs
    folder = toy.root / ".engine/activations" / name
    folder.mkdir(parents=True)
    about = {
        "model": "tiny",
        "model_hash": model_hash or str(inputs.model),
        "corpus": "words.csv",
        "corpus_hash": corpus_hash or inputs.data["corpus"],
        "sites": ["blocks.2.hook_resid_pre"],
        "tokens": 2,
        "shards": 1,
    }
    (folder / "about.json").write_text(json.dumps(about))
    (folder / "00000.safetensors").write_bytes(bytes(n_bytes))
    return folder


def harvests(toy: Toy) -> set[str]:
    return {path.name for path in (toy.root / ".engine/activations").glob("*/")}


def test_status_says_what_activations_take_on_the_disk(engine: Any, toy: Toy) -> None:
    assert "activations" not in engine("status").out
    harvest(toy, "one", n_bytes=2_000_000)
    harvest(toy, "two", model_hash="other", n_bytes=1_000_000)
    assert "activations take 3 MB in 2 sets; engine runs gc" in engine("status").out
    assert len(engine("status", "--json").json) == 1  # rows are runs, and only runs


def test_gc_frees_what_no_run_to_be_measured_needs_and_says_how_much(engine: Any, toy: Toy) -> None:
    harvest(toy, "needed")
    harvest(toy, "other_model", model_hash="other", n_bytes=2_000_000)
    harvest(toy, "other_corpus", corpus_hash="other", n_bytes=1_000_000)
    (toy.root / ".engine/activations/cut_short").mkdir()
    listed = engine("runs", "gc")
    assert harvests(toy) == {"needed", "other_model", "other_corpus", "cut_short"}  # only listed
    assert "3 MB in 0 runs and 3 sets of activations; engine runs gc --yes" in listed.out
    assert "of a harvest cut short" in listed.out
    assert "2 tokens of words.csv at blocks.2.hook_resid_pre of tiny" in listed.out
    freed = engine("runs", "gc", "--yes")
    assert freed.code == 0
    assert freed.out.startswith("freed 3 MB: 0 runs, 3 sets of activations")
    assert harvests(toy) == {"needed"}
    assert engine("runs", "gc", "--yes").out.startswith(NEEDS_NOTHING)


def test_activations_stay_until_the_last_run_that_reads_them_is_measured(engine: Any, toy: Toy) -> None:
    corpus = {"corpus": {"name": "words.csv", "tokens": 2}}
    toy.spec(count=corpus, more={**corpus, "parameters": {"k": 2}})
    harvest(toy, "needed")
    toy.build(select=lambda run: run.experiment == "count")
    engine("runs", "gc", "--yes")
    assert harvests(toy) == {"needed"}
    toy.build()
    engine("runs", "gc", "--yes")
    assert harvests(toy) == set()


def test_activations_that_a_process_is_at_stay_and_are_told_of(engine: Any, toy: Toy) -> None:
    folder = harvest(toy, "left_over", model_hash="other")
    with FileLock(lock_of(folder)):
        freed = engine("runs", "gc", "--yes")
    assert "freed 0" in freed.out
    assert "0 sets of activations; 1 more are in use" in freed.out
    assert harvests(toy) == {"left_over"}


def test_an_older_run_that_the_spec_asks_for_again_stays(engine: Any, toy: Toy) -> None:
    for k in (8, 16, 8):
        toy.count(k=k)
        toy.build()
    assert len(toy.executed) == 2  # the first run serves again, though the second is newer
    assert engine("runs", "gc", "--yes").out.startswith(NEEDS_NOTHING)
    toy.build()
    assert len(toy.executed) == 2
    toy.build(fresh=True)  # now a third has the first one's key, and serves in its place
    assert "2 runs, 0 sets" in engine("runs", "gc", "--yes").out
    assert [row["id"] for row in engine("runs", "--json").json] == [3]


@pytest.mark.parametrize("arguments", [(), ("--yes",)])
def test_an_empty_store_has_nothing_to_free(engine: Any, toy: Toy, arguments: tuple[str, ...]) -> None:
    answer = engine("runs", "gc", *arguments)
    assert (answer.code, answer.out.startswith(NEEDS_NOTHING)) == (0, True)
    assert toy.executed == []


def test_a_store_that_cannot_be_written_loses_nothing(
    engine: Any, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    harvest(toy, "left_over", model_hash="other")
    toy.build()

    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("engine.lab.activation_cache.free", refuse)
    assert engine("runs", "gc").code == 0  # what could go is listed all the same
    answer = engine("runs", "gc", "--yes")
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert harvests(toy) == {"left_over"}
    assert len(toy.executed) == 1


def test_activations_that_cannot_be_deleted_are_one_clear_message(
    engine: Any, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    harvest(toy, "left_over", model_hash="other")

    def refuse(found: Any) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("engine.lab.activation_cache.free", refuse)
    answer = engine("runs", "gc", "--yes")
    assert (answer.code, "Permission denied" in answer.err) == (2, True)
    assert harvests(toy) == {"left_over"}
