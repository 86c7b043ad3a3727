"""What is computed first."""

from __future__ import annotations

from tests.etl.explain.scheduler.device import Steps


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
