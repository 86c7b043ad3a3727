"""A simulated device for a scheduler, with a clock of its own, which a test lets go on step by step."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from etl.explain.scheduler import Scheduler

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
        until(lambda: len(self.log) >= end and (self.inside or not self.scheduler._jobs))

    def run(self, *futures):
        """Let everything run; returns the results."""
        self._freely = True
        self._leave.release(1000)
        return [future.result(WAIT) for future in futures]


def until(condition):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
