"""Clicks by the hundred, in turn on the dashboard and on the pages it is compared with."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.ui.chromium import Click, Visit
from benchmarks.ui.plots import ALL, INTERACTIONS, Interaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from playwright.sync_api import Browser

BLOCK = 10  # clicks on the page that is clicked most before it is the next one's turn
WARM = 3  # clicks that do not count, on each page

Clicks = dict[tuple[str, str], list[Click]]
"""By name of the interaction and name of the page."""


def click_through(
    browser: Browser, pages: Mapping[str, str], counts: Mapping[str, int], viewport: tuple[int, int], seed: int = 0
) -> tuple[Clicks, dict[str, list[str]]]:
    """Do every interaction on every page, page by page in turn, so that a busy machine slows all of them alike.

    Parameters
    ----------
    browser
        Where the pages are opened, anew for each interaction.
    pages
        Address by name.
    counts
        Clicks of each interaction, by name of the page.
    viewport
        Width and height in px.
    seed
        Of what is clicked on.

    Returns
    -------
    tuple
        What every click led to; the errors that each page's console told.
    """
    clicks: Clicks = defaultdict(list)
    errors: dict[str, list[str]] = defaultdict(list)
    turns = max(1, -(-max(counts.values()) // BLOCK))
    shares = {name: np.diff(np.linspace(0, count, turns + 1).round().astype(int)) for name, count in counts.items()}
    for interaction in INTERACTIONS:
        with contextlib.ExitStack() as stack:
            visits = {name: stack.enter_context(Visit(browser, url, viewport)) for name, url in pages.items()}
            rngs = {name: np.random.default_rng(seed) for name in pages}
            for name, visit in visits.items():
                visit.page.bring_to_front()
                visit.first_painted(ALL)
                visit.rest()
                _block(visit, interaction, WARM, rngs[name])
            for turn in range(turns):
                for name, visit in visits.items():
                    clicks[interaction.name, name] += _block(visit, interaction, int(shares[name][turn]), rngs[name])
            for name, visit in visits.items():
                errors[name] += visit.errors
    return clicks, errors


def _block(visit: Visit, interaction: Interaction, count: int, rng: np.random.Generator) -> list[Click]:
    return [visit.do(interaction, rng) for _ in range(count)]


def report(clicks: Clicks, pages: list[str], bars: Mapping[str, float], wire_bar: float) -> list[str]:
    """Print what the clicks took; return what takes longer than it may.

    Parameters
    ----------
    clicks
        From `click_through`.
    pages
        Names of the pages, the dashboard's first.
    bars
        Most milliseconds by name of the interaction, 95th percentile.
    wire_bar
        Most KiB on the wire a click, likewise.
    """
    ours, *others = pages
    missed = []
    header = " ".join(f"{name + ' p50':>12} {'p95':>6} {'ratio':>6}" for name in others)
    print(
        f"\n{'ms':14} {'p50':>6} {'p95':>6} {'bar':>5}  {header}  {'KiB p95':>8} {'bar':>5} {'http':>6} {'failed':>7}"
    )
    for interaction in INTERACTIONS:
        good = {name: [c for c in clicks[interaction.name, name] if not c.same] for name in pages}
        failed = {name: len(clicks[interaction.name, name]) - len(good[name]) for name in pages}
        if not all(good.values()):
            missed.append(f"{interaction.name}: nothing happened on {[name for name in pages if not good[name]]}")
            continue
        times = {name: np.quantile([click.total for click in good[name]], (0.5, 0.95)) for name in pages}
        socket, http = (np.quantile([getattr(c, way) for c in good[ours]], 0.95) / 1024 for way in ("socket", "http"))
        line = f"{interaction.name:14} {times[ours][0]:6.0f} {times[ours][1]:6.0f} {bars[interaction.name]:5.0f}  "
        line += " ".join(
            f"{times[name][0]:12.0f} {times[name][1]:6.0f} {times[ours][1] / times[name][1]:6.2f}" for name in others
        )
        print(f"{line}  {socket:8.1f} {wire_bar:5.0f} {http:6.1f} {' '.join(map(str, failed.values())):>7}", flush=True)
        if times[ours][1] > bars[interaction.name]:
            missed.append(f"{interaction.name}: p95 {times[ours][1]:.0f} ms")
        if socket > wire_bar:
            missed.append(f"{interaction.name}: {socket:.0f} KiB")
        if failed[ours]:
            missed.append(
                f"{interaction.name}: {failed[ours]} of {len(clicks[interaction.name, ours])} changed nothing"
            )
    return missed


def by_view(clicks: Clicks, page: str) -> None:
    """Print when each view was painted, for whoever wants to make it faster."""
    print(f"\n{'ms p95 by view':14}")
    for interaction in INTERACTIONS:
        views = defaultdict(list)
        for click in clicks[interaction.name, page]:
            for view, time in click.views.items():
                views[view].append(time)
            if click.pictures:
                views["pictures"].append(click.pictures)
        parts = sorted((float(np.quantile(times, 0.95)), view, len(times)) for view, times in views.items())
        print(
            f"{interaction.name:14} " + ", ".join(f"{view.removeprefix('vac-')} {t:.0f} ({n})" for t, view, n in parts)
        )
