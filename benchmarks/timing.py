"""Things timed side by side, in rounds, so that a busy machine slows all of them alike."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


def rounds(calls: Mapping[str, Callable[[], object]], count: int, warm: int = 1) -> dict[str, NDArray[np.float64]]:
    """Call everything once a round, in ``count`` rounds after ``warm`` that do not count; seconds a round by name."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm + count):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if number >= warm:
                times[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in times.items()}


def ratio(times: Mapping[str, NDArray[np.float64]], of: str, to: str) -> float:
    """Median over the rounds of one time divided by another."""
    return float(np.median(times[of] / times[to]))


class Alongside:
    """Times a unit again and again while something long runs, so that both meet the same load.

    Parameters
    ----------
    unit
        What one unit is.
    every
        Calls of :meth:`step` between two measurements.
    """

    def __init__(self, unit: Callable[[], object], every: int = 8) -> None:
        self._unit = unit
        self._every = every
        self._calls = 0
        self._units: list[float] = []
        self._started = time.perf_counter()

    def step(self) -> None:
        """Measure the unit now and then; to be called from inside the long work."""
        self._calls += 1
        if self._calls % self._every == 1:
            started = time.perf_counter()
            self._unit()
            self._units.append(time.perf_counter() - started)

    def units(self) -> float:
        """How many units the work has taken so far, without those that were measured meanwhile."""
        own = time.perf_counter() - self._started - sum(self._units)
        return own / float(np.mean(self._units))


def machine(*packages: str) -> str:
    """One line about where and with what this was measured."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:  # noqa: PTH123
            model = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} processors, load {load:.1f}; {versions}"
