"""A lock is held by one, waited for by others, and let go of however its holder ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from engine.runs.store.locks import held, held_if_free, holder


def test_a_held_lock_is_not_free_and_leaves_no_file(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with held(lock), held_if_free(lock) as free:
        assert not free
        assert holder(lock) == str(os.getpid())
    with held_if_free(lock) as free:
        assert free
    assert not lock.exists()
    assert holder(lock) == ""


def test_one_holder_at_a_time_and_those_who_wait_hear_who_holds_it(tmp_path: Path) -> None:
    inside, most, heard, gate = [], [], [], threading.Barrier(8)

    def work() -> None:
        gate.wait()
        for _ in range(20):
            with held(tmp_path / "lock", heard.append):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most)) == (1, 160)
    assert {pid for pid in heard if pid} <= {str(os.getpid())}
    assert not (tmp_path / "lock").exists()
