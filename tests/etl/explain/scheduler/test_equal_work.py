"""Equal work once, alike work together."""

from __future__ import annotations

from concurrent.futures import CancelledError

import pytest

from tests.etl.explain.scheduler.device import WAIT, Steps
from warehouse.errors import UserError


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
