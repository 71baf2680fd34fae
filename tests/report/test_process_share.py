"""Work is shared among processes, and comes out the same whoever did it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.report.process_share import Processes


def squared(number: int) -> tuple[int, int]:
    """The square, and which process found it."""
    return number * number, os.getpid()


def killed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refused(number: int) -> None:
    raise TemplateError("not this one", where="report.md:3", near=["that one"])


def made_once(folder: Path, number: int) -> int:
    """Fails where the same work is done twice."""
    (folder / str(number)).mkdir()
    return number


def numbers(count: int) -> Mapping[int, tuple]:
    return {number: (number,) for number in range(count)}


def all_of(count: int, jobs: int | None, worth: int = 1) -> list[tuple[int, int]]:
    with Processes(jobs) as processes, processes.share(squared, numbers(count), worth) as others:
        return [others.take(number) or squared(number) for number in range(count)]


def test_others_do_a_part_and_the_results_are_the_same() -> None:
    # So many that another process begins while there is something left.
    with Processes(2) as processes, processes.share(squared, numbers(40), 1) as others:
        others.futures[39].result()
        found = [others.take(number) or squared(number) for number in range(40)]
    assert [square for square, _ in found] == [number * number for number in range(40)]
    assert len({process for _, process in found}) == 2


@pytest.mark.parametrize(("count", "jobs", "worth"), [(9, 2, 5), (40, 1, 1), (0, 2, 1), (1, 2, 1)])
def test_what_is_not_worth_a_process_is_done_here(count: int, jobs: int, worth: int) -> None:
    assert {process for _, process in all_of(count, jobs, worth)} <= {os.getpid()}


def test_no_piece_is_done_twice(tmp_path: Path) -> None:
    pieces = {number: (tmp_path, number) for number in range(40)}
    with Processes(2) as processes, processes.share(made_once, pieces, 1) as others:
        found = []
        for number in range(40):
            made = others.take(number)
            found.append(made_once(tmp_path, number) if made is None else made)
    assert found == list(range(40))


def test_what_a_killed_process_had_is_done_here() -> None:
    with Processes(2) as processes, processes.share(killed, numbers(3), 1) as others:
        for number in range(3):
            others.futures[number].exception()
        assert [others.take(number) for number in range(3)] == [None, None, None]


def test_an_error_comes_back_whole() -> None:
    with Processes(2) as processes, processes.share(refused, numbers(3), 1) as others:
        others.futures[2].exception()
        with pytest.raises(TemplateError) as caught:
            others.take(2)
    assert caught.value.where == "report.md:3" and caught.value.near == ("that one",)


def test_what_nobody_asked_for_is_called_off(tmp_path: Path) -> None:
    pieces = {number: (tmp_path, number) for number in range(1000)}
    with pytest.raises(KeyboardInterrupt), Processes(2) as processes, processes.share(made_once, pieces, 1):
        raise KeyboardInterrupt
    assert len([*tmp_path.iterdir()]) < 1000


def test_the_same_processes_do_what_comes_later_and_a_killed_one_is_replaced() -> None:
    with Processes(2) as processes:
        processes.begin("engine.errors", 3, 1)
        with processes.share(squared, numbers(3), 1) as others:
            first = others.futures[2].result()[1]
        with processes.share(squared, numbers(3), 1) as others:
            assert others.futures[2].result()[1] == first != os.getpid()
        with processes.share(killed, numbers(3), 1) as others:
            others.futures[2].exception()
            assert others.take(2) is None
        with processes.share(squared, numbers(3), 1) as others:
            assert others.futures[2].result()[1] not in (first, os.getpid())


def test_what_is_begun_for_little_is_begun_for_nothing() -> None:
    with Processes(2) as processes:
        processes.begin("engine.errors", 3, 2)
        assert processes.pool is None
