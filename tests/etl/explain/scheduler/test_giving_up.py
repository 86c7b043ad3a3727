"""Work that is cancelled, and work that fails."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import pytest

from etl.explain.protocol import Cancelled
from etl.explain.scheduler import Scheduler
from tests.etl.explain.scheduler.device import WAIT, Steps, until
from warehouse.errors import UserError


def test_queued_work_is_dropped_when_the_last_requester_leaves(device):
    futures = device.block()
    one, other = (device.submit(Steps("shared"))[0] for _ in range(2))
    (gone,) = device.submit(Steps("gone"))
    assert one.cancel()
    assert gone.cancel()
    device.run(*futures, other, *device.submit(Steps("last")))
    assert device.log == ["blocker", "last", "shared"]
    assert ["gone"] not in device.calls
    with pytest.raises(CancelledError):
        gone.result(WAIT)


def test_running_work_stops_at_its_next_step(device):
    endless, other = (device.submit(Steps("endless", steps=10_000))[0] for _ in range(2))
    device.let(3)
    assert endless.cancel()
    device.let(3)  # somebody else still waits
    assert other.cancel()
    assert device.run(*device.submit(Steps("next"))) == ["next"]
    assert device.log.count("endless") <= 7


def test_suspended_work_is_stopped_without_another_step(device):
    (long,) = device.submit(Steps("long", steps=100))
    device.let(1)
    (newer,) = device.submit(Steps("newer", steps=5))
    device.let(2)
    assert long.cancel()
    assert not wait([long], WAIT).not_done
    assert device.run(newer) == ["newer"]
    until(lambda: not device.scheduler._runs)
    assert device.log.count("long") == 2


def test_work_that_was_given_up_can_be_asked_for_again(device):
    (blocker,) = device.block()
    assert device.submit(Steps("x"))[0].cancel()
    (again,) = device.submit(Steps("x"))
    assert device.run(blocker, again) == ["blocker", "x"]
    assert device.log == ["blocker", "x"]


def test_work_that_is_being_stopped_can_be_asked_for_again(make):
    stopping, leave = threading.Event(), threading.Event()

    def compute(works, turn):
        if not stopping.is_set():
            try:
                while True:
                    turn.step()
            except Cancelled:
                stopping.set()
                assert leave.wait(WAIT)
                raise
        return [work.key for work in works]

    scheduler = Scheduler(compute)
    (given_up,) = scheduler.submit([Steps("x")])
    assert given_up.cancel()
    assert stopping.wait(WAIT)
    (again,) = scheduler.submit([Steps("x")])
    leave.set()
    assert again.result(WAIT) == "x"
    scheduler.close()


def test_closing_stops_everything(device):
    (running,) = device.submit(Steps("running", steps=10_000))
    device.let(1)
    waiting = device.submit(Steps("x"), Steps("y"), user="other")
    device._freely = True
    device._leave.release()
    device.scheduler.close(WAIT)
    assert all(future.cancelled() for future in (running, *waiting))
    assert not any(thread.is_alive() for thread in device.scheduler._threads)
    assert "x" not in device.log
    with pytest.raises(RuntimeError, match="closed"):
        device.submit(Steps("z"))


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), SystemExit(3)])
def test_failures_stay_with_their_request(error):
    def compute(works, turn):
        if works[0].key == "user":
            raise UserError("Say what to do.")
        if works[0].key == "other":
            raise error
        return [work.key for work in works]

    scheduler = Scheduler(compute)
    user, other, fine = (scheduler.submit([Steps(key)])[0] for key in ("user", "other", "fine"))
    with pytest.raises(UserError, match=r"^Say what to do\.$"):
        user.result(WAIT)
    with pytest.raises(UserError, match=f"{type(error).__name__}: {error}") as caught:
        other.result(WAIT)
    assert caught.value.__cause__ is error
    assert fine.result(WAIT) == "fine"
    scheduler.close()
