"""Tasks on threads: their order, their failures, and what they hold at once."""

import threading
import time

import pytest

from release.engine.parallel import Room, run_all


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_results_are_in_the_order_of_the_tasks(threads):
    def work(task: int) -> int:
        time.sleep(0.001 * (task % 3))
        return task * task

    assert run_all(work, range(20), threads=threads) == [n * n for n in range(20)]


def test_after_a_failure_no_further_task_begins():
    begun = []

    def work(task: int) -> None:
        begun.append(task)
        if task == 1:
            raise KeyError(task)

    with pytest.raises(KeyError):
        run_all(work, range(1000), threads=1)

    assert begun == [0, 1]


def test_tasks_together_never_hold_more_than_there_is():
    room, lock = Room(10), threading.Lock()
    held = most = 0

    def work(units: int) -> None:
        nonlocal held, most
        with room.taken(units):
            with lock:
                held += units
                most = max(most, held)
            time.sleep(0.002)
            with lock:
                held -= units

    run_all(work, [10, 4, 4, 4, 9, 1, 5, 5, 10, 3], threads=7)

    assert 5 < most <= 10
    assert held == 0


def test_room_is_free_again_after_a_failure():
    room = Room(1)

    with pytest.raises(KeyError), room.taken(1):
        raise KeyError

    with room.taken(1):
        pass
