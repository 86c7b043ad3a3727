"""How soon there is something to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.served import dashboard
from benchmarks.ui.chromium import Visit
from benchmarks.ui.plots import GRAPH, MODEL_BARS, RADAR, SCATTER

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

USEFUL = (SCATTER, RADAR, MODEL_BARS, GRAPH)
"""Views that make a first paint useful."""


def first_paints(browser: Browser, url: str, count: int, viewport: tuple[int, int]) -> dict[str, list[float]]:
    """Open the dashboard again and again; return milliseconds until the useful views are painted.

    By what the browser has: nothing in its cache, as on a first visit, or what a visit before left there. The server is
    warm: the very first visit, which meets a server and a browser that have just begun, is counted by itself.
    """
    times: dict[str, list[float]] = {"the very first": [], "first visit": [], "again": []}
    for i in range(count + 1):
        with Visit(browser, url, viewport) as visit:
            times["first visit" if i else "the very first"].append(visit.first_painted(USEFUL))
            visit.rest()
            visit.page.goto("about:blank")
            visit.page.goto(url)
            times["again"].append(visit.first_painted(USEFUL))
            visit.rest()
    return times


def starts(warehouse: str | Path, log: Path, count: int) -> list[float]:
    """Start ``vacpanel serve`` again and again; return seconds until its first page had come."""
    times = []
    for _ in range(count):
        with dashboard(warehouse, log) as served:
            times.append(served.seconds)
    return times
