"""`engine runs`, and what `engine runs gc` frees: what goes, what stays, and how much it was."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from filelock import FileLock

from engine.lab.activation_cache import lock_of
from tests.commands.harvests import CORPUS, harvest, harvests
from tests.runs.toy import Toy

NEEDS_NOTHING = "nothing to free"


@pytest.fixture
def toy(toy: Toy) -> Toy:
    """A toy project whose experiment reads a corpus."""
    toy.spec(count={"corpus": CORPUS})
    return toy


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
    corpus = {"corpus": CORPUS}
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


def test_force_measures_again_and_gc_frees_the_older_run(engine, project):
    engine("run", "--name", "planted/lens")
    engine("run", "--name", "planted/lens", "--force")
    assert [r["id"] for r in engine("runs", "--json").json] == [1, 2]
    engine("runs", "gc", "--yes")
    assert [r["id"] for r in engine("runs", "--json").json] == [2]
