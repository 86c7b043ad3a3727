"""Models that have to be loaded first."""

from __future__ import annotations

import threading

import pytest

from tests.etl.explain.scheduler.device import WAIT, Steps, until
from warehouse.errors import UserError


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
    until(lambda: device.calls == [["a"], ["b"]])  # both are being loaded
    loaded["b"].set()
    until(lambda: any(run.waits for run in device.scheduler._runs))
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
    until(lambda: device.held)
    until(lambda: any(run.waits for run in device.scheduler._runs))
    device.run(loader, busy)
    assert 14 <= device.log[30:61].count("loader") <= 16


def test_cancelling_while_loading(device):
    loaded = threading.Event()
    device.loading["slow"] = lambda: loaded.wait(WAIT)
    gone, stays = device.submit(Steps("gone", resource="slow"), Steps("stays", resource="slow"))
    until(lambda: device.calls)
    assert gone.cancel()
    loaded.set()
    assert device.run(stays) == ["stays"]
    assert device.log == ["stays"]
