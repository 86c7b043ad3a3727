"""The device between users."""

from __future__ import annotations

import threading

from etl.explain.scheduler import Scheduler
from tests.etl.explain.scheduler.device import WAIT, Steps


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
