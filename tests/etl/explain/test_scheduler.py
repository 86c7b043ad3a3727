"""The queue: newest first, equal work once, cancelling, failures that stay with their request."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from etl.explain.scheduler import Scheduler
from warehouse.errors import UserError

WAIT = 20.0


@pytest.fixture
def scheduler():
    made = Scheduler("test")
    yield made
    made.close()


class Blocker:
    """Work that runs until it is released, so that a queue can build up behind it."""

    def __init__(self, scheduler):
        self.started, self.release = threading.Event(), threading.Event()
        self.future = scheduler.submit("blocker", self._run, (scheduler.batch(), 0))
        assert self.started.wait(WAIT)

    def _run(self, context):
        self.started.set()
        assert self.release.wait(WAIT)
        return "blocker"


def _noting(order, name):
    def work(context):
        order.append(name)
        return name

    return work


def test_newest_first_and_batches_in_their_order(scheduler):
    order, blocker = [], Blocker(scheduler)
    futures = []
    for batch in ("old", "new"):
        number = scheduler.batch()
        futures += [scheduler.submit(f"{batch}{i}", _noting(order, f"{batch}{i}"), (number, i)) for i in range(3)]
    blocker.release.set()
    assert [f.result(WAIT) for f in futures] == ["old0", "old1", "old2", "new0", "new1", "new2"]
    assert order == ["new0", "new1", "new2", "old0", "old1", "old2"]


def test_equal_work_runs_once(scheduler):
    order, blocker = [], Blocker(scheduler)
    futures = [scheduler.submit("same", _noting(order, "same"), (scheduler.batch(), 0)) for _ in range(5)]
    blocker.release.set()
    assert [f.result(WAIT) for f in futures] == ["same"] * 5
    assert order == ["same"]
    assert scheduler.submit("same", _noting(order, "again"), (scheduler.batch(), 0)).result(WAIT) == "again"


def test_asking_again_moves_work_forward(scheduler):
    order, blocker = [], Blocker(scheduler)
    futures = [scheduler.submit(name, _noting(order, name), (scheduler.batch(), 0)) for name in ("a", "b", "a")]
    blocker.release.set()
    for future in futures:
        future.result(WAIT)
    assert order == ["a", "b"]


def test_running_work_can_be_joined(scheduler):
    blocker = Blocker(scheduler)
    joined = scheduler.submit("blocker", _noting([], "never"), (scheduler.batch(), 0))
    blocker.release.set()
    assert joined.result(WAIT) == blocker.future.result(WAIT) == "blocker"


def test_queued_work_is_dropped_when_the_last_requester_leaves(scheduler):
    order, blocker = [], Blocker(scheduler)
    one, other = (scheduler.submit("shared", _noting(order, "shared"), (scheduler.batch(), 0)) for _ in range(2))
    gone = scheduler.submit("gone", _noting(order, "gone"), (scheduler.batch(), 0))
    assert one.cancel()
    assert gone.cancel()
    blocker.release.set()
    assert other.result(WAIT) == "shared"
    with pytest.raises(CancelledError):
        gone.result(WAIT)
    assert scheduler.submit("last", _noting(order, "last"), (scheduler.batch(), 0)).result(WAIT) == "last"
    assert order == ["shared", "last"]


def test_running_work_stops_at_its_next_step(scheduler):
    started, stopped = threading.Event(), threading.Event()

    def endless(context):
        started.set()
        try:
            while True:
                context.step(0.5)
        finally:
            stopped.set()

    future = scheduler.submit("endless", endless, (scheduler.batch(), 0))
    assert started.wait(WAIT)
    assert future.cancel()
    assert stopped.wait(WAIT)
    assert scheduler.submit("next", _noting([], "next"), (scheduler.batch(), 0)).result(WAIT) == "next"


def test_work_that_was_given_up_can_be_asked_for_again(scheduler):
    order, blocker = [], Blocker(scheduler)
    assert scheduler.submit("x", _noting(order, "first"), (scheduler.batch(), 0)).cancel()
    again = scheduler.submit("x", _noting(order, "second"), (scheduler.batch(), 0))
    blocker.release.set()
    assert again.result(WAIT) == "second"
    assert order == ["second"]


def test_failures_stay_with_their_request(scheduler):
    def fail(error):
        def work(context):
            raise error

        return work

    user = scheduler.submit("user", fail(UserError("Say what to do.")), (scheduler.batch(), 0))
    other = scheduler.submit("other", fail(ZeroDivisionError("division by zero")), (scheduler.batch(), 0))
    fine = scheduler.submit("fine", _noting([], "fine"), (scheduler.batch(), 0))
    with pytest.raises(UserError, match=r"^Say what to do\.$"):
        user.result(WAIT)
    with pytest.raises(UserError, match="ZeroDivisionError: division by zero") as caught:
        other.result(WAIT)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert fine.result(WAIT) == "fine"


def test_progress_reaches_all_who_wait_and_may_fail(scheduler):
    blocker, seen = Blocker(scheduler), []

    def work(context):
        context.step(0.25)
        context.step(1.0)

    def broken(fraction, maps):
        raise ValueError(fraction)

    future = scheduler.submit("x", work, (scheduler.batch(), 0), broken)
    scheduler.submit("x", work, (scheduler.batch(), 0), lambda fraction, maps: seen.append(fraction))
    blocker.release.set()
    assert future.result(WAIT) is None
    assert seen == [0.25, 1.0]


def test_closing_cancels_everything():
    scheduler = Scheduler("test")
    blocker = Blocker(scheduler)
    waiting = scheduler.submit("x", _noting([], "x"), (scheduler.batch(), 0))
    blocker.release.set()
    scheduler.close()
    assert waiting.done()
    with pytest.raises(RuntimeError, match="closed"):
        scheduler.submit("y", _noting([], "y"), (0, 0))
