"""The queue: fair between users, newest first, equal work once, cancelling, failures that stay with their request."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass

import pytest

from etl.explain.protocol import Cancelled
from etl.explain.scheduler import Scheduler
from warehouse.errors import UserError

WAIT = 20.0


@dataclass(frozen=True)
class Steps:
    """Work of some steps of some (simulated) seconds."""

    key: str
    steps: int = 1
    cost: float = 1.0
    resource: str = "model"
    group: str = "group"


class Device:
    """Does `Steps` on a simulated device with a clock of its own; notes every step, and never two at a time.

    A step ends when the test gives leave, so that what happens meanwhile is in the hands of the test.
    """

    def __init__(self, **options):
        self.now = 0.0
        self.log = []
        self.calls = []
        self.failing = {}
        self.loading = {}
        self.held = set()
        self.inside = None
        self._alone = threading.Lock()
        self._leave = threading.Semaphore(0)
        self._freely = False
        self.scheduler = Scheduler(self.compute, clock=lambda: self.now, **options)

    def compute(self, works, turn):
        self.calls.append([work.key for work in works])
        resource = works[0].resource
        if resource in self.loading and resource not in self.held:
            with turn.loading(), turn.aside():
                self.loading[resource]()
                self.held.add(resource)
        for i in range(works[0].steps):
            turn.step()
            turn.report(i / works[0].steps, {work.key: (work.key, i) for work in works})
            assert self._alone.acquire(blocking=False)
            self.inside = works[0].key
            if not self._freely:
                assert self._leave.acquire(timeout=WAIT)
            self.inside = None
            self.log += [work.key for work in works]
            self.now += works[0].cost
            self._alone.release()
        return [self.failing.get(work.key, work.key) for work in works]

    def submit(self, *works, **how):
        return self.scheduler.submit(works, **how)

    def block(self):
        """Have a piece of work in its only step, so that a queue can build up behind it."""
        futures = self.submit(Steps("blocker", group="blocker"))
        self.let(0)
        return futures

    def let(self, steps):
        """Give leave for so many steps; wait until they are done and the next one, if any, has begun."""
        end = len(self.log) + steps
        for _ in range(steps):
            self._leave.release()
        _until(lambda: len(self.log) >= end and (self.inside or not self.scheduler._jobs))

    def run(self, *futures):
        """Let everything run; returns the results."""
        self._freely = True
        self._leave.release(1000)
        return [future.result(WAIT) for future in futures]


@pytest.fixture
def make():
    made = []

    def build(**options):
        made.append(Device(**options))
        return made[-1]

    yield build
    for device in made:
        device._freely = True
        device._leave.release(1000)
        device.scheduler.close()


@pytest.fixture
def device(make):
    return make()


def _until(condition):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# Order -------------------------------------------------------------------------------------------------------------


def test_newest_first_and_batches_in_their_order(device):
    futures = device.block()
    futures += device.submit(*(Steps(f"old{i}") for i in range(3)))
    futures += device.submit(*(Steps(f"new{i}") for i in range(3)))
    device.run(*futures)
    assert device.log == ["blocker", "new0", "new1", "new2", "old0", "old1", "old2"]


def test_a_newer_batch_overtakes_an_older_one_at_its_next_step(device):
    (long,) = device.submit(Steps("long", steps=5))
    device.let(2)
    (short,) = device.submit(Steps("short"))
    device.run(long, short)
    # One step of the long work was under way.
    assert device.log == ["long", "long", "long", "short", "long", "long"]


def test_the_visible_goes_before_the_rest(device):
    blocker = device.block()
    visible = device.submit(Steps("visible", steps=2))
    later = device.submit(Steps("later"), priority=1)
    device.run(*blocker, *visible, *later)
    assert device.log == ["blocker", "visible", "visible", "later"]


def test_what_becomes_visible_moves_to_the_front(device):
    blocker = device.block()
    later = device.submit(*(Steps(f"later{i}") for i in range(4)), priority=1)
    visible = device.submit(Steps("visible"))
    device.scheduler.promote([later[3], later[1]])
    device.run(*blocker, *later, *visible)
    assert device.log == ["blocker", "later3", "later1", "visible", "later0", "later2"]


def test_work_that_was_begun_can_be_promoted(device):
    (old,) = device.submit(Steps("old", steps=4))
    device.let(1)
    (new,) = device.submit(Steps("new", steps=4))
    device.let(3)
    device.scheduler.promote([old])
    device.run(old, new)
    assert device.log == ["old", "old", "new", "new", "new", "old", "old", "new"]


def test_no_more_than_two_are_begun_at_a_time(device):
    futures = []
    for name in "abcd":
        futures += device.submit(Steps(name, steps=3))
        device.let(1)
    assert device.calls == [["a"], ["b"]]
    device.run(*futures)
    assert device.calls == [["a"], ["b"], ["d"], ["c"]]


# Fairness ----------------------------------------------------------------------------------------------------------


def test_a_short_request_does_not_wait_for_somebody_elses_long_one(device):
    (long,) = device.submit(Steps("long", steps=100), user="one")
    device.let(10)
    (short,) = device.submit(Steps("short", steps=3), user="other")
    device.run(long, short)
    # The step under way, then turns: no more than twice the short one's own three steps, and that one.
    assert device.log[10:17].count("short") == 3
    assert len(device.log) == 103


def test_long_work_of_two_users_takes_turns(device):
    one, other = (device.submit(Steps(name, steps=50), user=name)[0] for name in ("one", "other"))
    device.run(one, other)
    for end in range(2, 101):
        assert abs(device.log[:end].count("one") - device.log[:end].count("other")) <= 1


def test_turns_are_counted_in_device_time_not_in_steps(device):
    (slow,) = device.submit(Steps("slow", steps=20, cost=5.0), user="one")
    (quick,) = device.submit(Steps("quick", steps=50, cost=1.0), user="other")
    device.run(slow, quick)
    end = len(device.log) - device.log[::-1].index("quick")
    # Fifty seconds of quick steps: about as many of slow ones meanwhile.
    assert abs(device.log[:end].count("slow") * 5.0 - 50.0) <= 5.0


def test_many_requests_of_one_user_count_as_one_user(device):
    many = device.submit(*(Steps(f"many{i}", steps=2) for i in range(20)), user="one")
    (single,) = device.submit(Steps("single", steps=10), user="other")
    device.run(*many, single)
    end = len(device.log) - device.log[::-1].index("single")
    assert end <= 21


def test_nobody_saves_up_while_idle_and_nobody_pays_for_time_that_was_free(device):
    (alone,) = device.submit(Steps("alone", steps=30), user="one")
    device.let(20)
    (late,) = device.submit(Steps("late", steps=10), user="other")
    device.run(alone, late)
    mixed = device.log[21:]
    assert mixed.index("alone") <= 2  # the newcomer does not catch up on the first twenty
    assert device.log.index("late") <= 21  # nor does it wait


def test_a_user_who_comes_back_is_level_again(device):
    (rest,) = device.submit(Steps("rest", steps=60), user="steady")
    first = device.submit(Steps("first", steps=10), user="guest")
    while not first[0].done():
        device.let(1)
    device.let(15)
    (again,) = device.submit(Steps("again", steps=10), user="guest")
    before = len(device.log)
    device.run(rest, again)
    window = device.log[before : before + 20]
    assert 9 <= window.count("again") <= 10
    assert window[:6].count("rest") >= 2


def test_three_users_share(device):
    futures = [device.submit(Steps(name, steps=20), user=name)[0] for name in "abc"]
    device.run(*futures)
    for name in "abc":
        assert 9 <= device.log[:30].count(name) <= 11


def test_work_that_two_users_want_is_served_as_early_as_for_either(device):
    one = device.submit(Steps("mine", steps=10), Steps("shared"), user="one")
    device.let(1)
    (joined,) = device.submit(Steps("shared"), user="other")
    device.run(*one, joined)
    assert device.log.index("shared") <= 2
    assert device.log.count("shared") == 1


def test_work_knows_from_its_first_moment_how_long_it_has_had_the_device(monkeypatch):
    """Its thread may be quicker than the one that begins it."""
    seen = threading.Event()
    start = threading.Thread.start

    def start_and_wait(thread):
        start(thread)
        if thread.name == "explain":
            assert seen.wait(WAIT)

    def compute(works, turn):
        before = turn.seconds
        seen.set()
        turn.step()
        return [(before, turn.seconds)]

    monkeypatch.setattr(threading.Thread, "start", start_and_wait)
    scheduler = Scheduler(compute, clock=lambda: 27_000.0)
    [future] = scheduler.submit([Steps("a")])
    assert future.result(WAIT) == (0.0, 0.0)
    scheduler.close()


def test_several_devices_work_at_the_same_time():
    together = threading.Barrier(2)

    def compute(works, turn):
        turn.step()
        together.wait(WAIT)
        return [work.key for work in works]

    scheduler = Scheduler(compute, slots=2)
    futures = [scheduler.submit([Steps(name)], user=name)[0] for name in "ab"]
    assert [future.result(WAIT) for future in futures] == ["a", "b"]
    scheduler.close()


# Equal work --------------------------------------------------------------------------------------------------------


def test_equal_work_is_done_once(device):
    futures = [device.submit(Steps("same"), user=user)[0] for user in "abcde"]
    assert device.run(*futures) == ["same"] * 5
    assert len(set(map(id, futures))) == 5
    assert device.log == ["same"]
    assert device.run(*device.submit(Steps("same"))) == ["same"]
    assert device.log == ["same", "same"]


def test_asking_again_moves_work_forward(device):
    futures = device.block()
    for name in ("a", "b", "a"):
        futures += device.submit(Steps(name))
    device.run(*futures)
    assert device.log == ["blocker", "a", "b"]


def test_progress_reaches_all_who_wait_and_may_fail(device):
    seen, other = [], []

    def broken(position, fraction, preview):
        raise ValueError(fraction)

    blocker = device.block()
    first = device.submit(Steps("x", steps=2), progress=broken)
    second = device.submit(Steps("y"), Steps("x", steps=2), progress=lambda *what: seen.append(what))
    gone = device.submit(Steps("x", steps=2), progress=lambda *what: other.append(what))
    assert gone[0].cancel()
    assert device.run(*blocker, *first, *second) == ["blocker", "x", "y", "x"]
    assert seen == [(0, 0.0, ("y", 0)), (1, 0.0, ("x", 0)), (1, 0.5, ("x", 1))]
    assert other == []


# Batches -----------------------------------------------------------------------------------------------------------


def test_alike_work_that_waits_together_is_done_in_one_go(make):
    device = make(batch=3)
    futures = device.block()
    futures += device.submit(*(Steps(f"a{i}") for i in range(4)), Steps("b", group="other"))
    futures += device.submit(Steps("c", resource="another"), user="else")
    results = device.run(*futures)
    assert results == ["blocker", "a0", "a1", "a2", "a3", "b", "c"]
    assert device.calls == [["blocker"], ["c"], ["a0", "a1", "a2"], ["a3"], ["b"]]


def test_one_of_a_batch_can_fail_or_be_cancelled_alone(make):
    device = make(batch=4)
    device.failing["a1"] = UserError("Say what to do.")
    seen = []
    futures = device.block()
    batch = device.submit(*(Steps(f"a{i}", steps=3) for i in range(4)), progress=lambda *what: seen.append(what))
    device.let(1)
    device.let(1)
    assert device.calls == [["blocker"], ["a0", "a1", "a2", "a3"]]
    assert batch[2].cancel()
    assert device.run(*futures, batch[0], batch[3]) == ["blocker", "a0", "a3"]
    with pytest.raises(UserError, match=r"^Say what to do\.$"):
        batch[1].result(WAIT)
    with pytest.raises(CancelledError):
        batch[2].result(WAIT)
    assert device.log.count("a0") == 3
    assert (0, 1 / 3, ("a0", 1)) in seen
    assert (2, 2 / 3, ("a2", 2)) not in seen


# Cancelling --------------------------------------------------------------------------------------------------------


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
    _until(lambda: not device.scheduler._runs)
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


# Failures ----------------------------------------------------------------------------------------------------------


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


# Loading -----------------------------------------------------------------------------------------------------------


def test_loading_delays_nobody_else(device):
    loaded = threading.Event()
    device.loading["slow"] = lambda: loaded.wait(WAIT)
    waiting = device.submit(Steps("s0", resource="slow"), Steps("s1", resource="slow"), user="one")
    assert device.run(*device.submit(Steps("quick", steps=5), user="other")) == ["quick"]
    assert device.run(*device.submit(Steps("mine"), user="one")) == ["mine"]
    assert device.calls == [["s0"], ["quick"], ["mine"]]  # a second load of the same is not begun
    loaded.set()
    assert device.run(*waiting) == ["s0", "s1"]
    assert device.log[-2:] == ["s0", "s1"]


def test_a_batch_keeps_its_order_but_loads_ahead(device):
    loaded = {name: threading.Event() for name in "ab"}
    for name, event in loaded.items():
        device.loading[name] = lambda event=event: event.wait(WAIT)
    futures = device.submit(Steps("a", resource="a"), Steps("b", resource="b"), Steps("c"))
    _until(lambda: device.calls == [["a"], ["b"]])  # both are being loaded
    loaded["b"].set()
    _until(lambda: any(run.waits for run in device.scheduler._runs))
    (newer,) = device.submit(Steps("newer"), user="other")
    assert device.run(newer) == ["newer"]
    loaded["a"].set()
    device.run(*futures)
    assert device.log == ["newer", "a", "b", "c"]


def test_a_load_that_fails_fails_what_waits_for_it_and_is_tried_again(device):
    begun, leave = threading.Event(), threading.Event()

    def fail():
        begun.set()
        assert leave.wait(WAIT)
        raise UserError("No such weights.")

    device.loading["bad"] = fail
    waiting = device.submit(*(Steps(f"b{i}", resource="bad") for i in range(3)), Steps("good"))
    assert begun.wait(WAIT)
    leave.set()
    assert device.run(waiting[3]) == ["good"]
    for future in waiting[:3]:
        with pytest.raises(UserError, match="No such weights"):
            future.result(WAIT)
    device.loading["bad"] = lambda: None
    assert device.run(*device.submit(Steps("b1", resource="bad"))) == ["b1"]


def test_time_spent_loading_is_not_saved_up(device):
    loaded = threading.Event()
    device.loading["slow"] = lambda: loaded.wait(WAIT)
    (loader,) = device.submit(Steps("loader", steps=20, resource="slow"), user="one")
    (busy,) = device.submit(Steps("busy", steps=60), user="other")
    device.let(30)
    loaded.set()
    _until(lambda: device.held)
    _until(lambda: any(run.waits for run in device.scheduler._runs))
    device.run(loader, busy)
    assert 14 <= device.log[30:61].count("loader") <= 16


def test_cancelling_while_loading(device):
    loaded = threading.Event()
    device.loading["slow"] = lambda: loaded.wait(WAIT)
    gone, stays = device.submit(Steps("gone", resource="slow"), Steps("stays", resource="slow"))
    _until(lambda: device.calls)
    assert gone.cancel()
    loaded.set()
    assert device.run(stays) == ["stays"]
    assert device.log == ["stays"]
