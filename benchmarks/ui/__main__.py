"""From the click to the screen, in a real browser: ``python -m benchmarks.ui [DIR]``.

Serves a warehouse with ``vacpanel serve``, opens it in headless Chromium, clicks, and times from the pointer's release
to the last stroke on a canvas of a view. Two smaller pages with the same plots are clicked in turn with it: ``swap``,
where all data are in the browser, and ``dynamic``, made of plain DynamicMaps. Every click must change what the views
show. Without DIR a warehouse of one of the sizes is drawn first (`benchmarks.synthesize`).

Maps of 13 models are timed on the same warehouse, which must have so many that can be explained; one drawn with
``--explainable 13 --pictures 500`` has. With `--demo` the embedded demo takes its place for them, built unless a folder
is named. Ends with status 1 if something takes longer than it may.

Tables: clicks, paint, start; of maps: cached, threshold.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.served import Served, dashboard, serving
from benchmarks.synthesize import synthesize
from benchmarks.timing import machine
from benchmarks.ui.chromium import chromium
from benchmarks.ui.clicks import by_view, click_through, report
from benchmarks.ui.explaining import EXPLAINED, drag_threshold, models_and_images, show_cached
from benchmarks.ui.loading import first_paints, starts
from benchmarks.ui.plots import INTERACTIONS
from warehouse.errors import UserError

TABLES = ("clicks", "paint", "start", "cached", "threshold")
OF_MAPS = {"cached", "threshold"}
PICTURES = 500  # enough that no two of the images that are explained are links to one file
FRAME, CACHED = 33.0, 150.0  # ms


@dataclass(frozen=True)
class Size:
    """How much is drawn, and what it may cost: p95 in ms, KiB a click, and seconds to the first page."""

    models: int
    classes: int
    images: int
    click: float
    paint: float
    start: float
    wire: float


SIZES = {
    "tiny": Size(13, 100, 2_000, click=100, paint=1500, start=4, wire=100),
    "13": Size(13, 1000, 50_000, click=100, paint=1500, start=4, wire=100),
    "100": Size(100, 1000, 50_000, click=200, paint=3000, start=6, wire=300),
}


def quantiles(times: list[float]) -> str:
    """Return median, 95th percentile and worst as text."""
    return "median {:.1f}, p95 {:.1f}, worst {:.1f}".format(*np.quantile(times, (0.5, 0.95, 1)))


def clicks(warehouse: str, size: Size, options: argparse.Namespace, served: Served, stack: ExitStack) -> list[str]:
    """Click on the dashboard and, unless told not to, on the two other pages."""
    pages = {"dashboard": served.app}
    if not options.alone:
        for name in ("swap", "dynamic"):
            command = ["-m", f"benchmarks.ui.reference.{name}", warehouse]
            pages[name] = stack.enter_context(serving(command, served.log.with_name(f"{name}.txt"))).app
    with chromium() as browser:
        counts = {name: options.clicks if name == "dashboard" else options.others for name in pages}
        made, errors = click_through(browser, pages, counts, options.viewport)
    missed = report(made, list(pages), {i.name: size.click for i in INTERACTIONS}, size.wire)
    by_view(made, "dashboard")
    return missed + [f"{name}: {error}" for name, said in errors.items() for error in sorted(set(said))]


def paint(size: Size, options: argparse.Namespace, served: Served) -> list[str]:
    """Open the dashboard until it is painted."""
    with chromium() as browser:
        times = first_paints(browser, served.app, options.loads, options.viewport)
    print(f"\nfirst useful paint, ms (bar {size.paint:.0f})")
    for name, each in times.items():
        print(f"{name:14} {quantiles(each)}")
    warm = {name: each for name, each in times.items() if name != "the very first"}
    return [f"paint, {name}" for name, each in warm.items() if np.quantile(each, 0.95) > size.paint]


def start(warehouse: str, size: Size, options: argparse.Namespace, log: Path) -> list[str]:
    """Start the server until its first page has come."""
    times = starts(warehouse, log, options.starts)
    print(f"\n`vacpanel serve` to the first page, s (bar {size.start:.0f}): {quantiles(times)}")
    return ["start"] if max(times) > size.start else []


def cached(warehouse: str, options: argparse.Namespace, served: Served) -> list[str]:
    """Show maps from the store."""
    with chromium() as browser:
        shown = show_cached(browser, served.app, warehouse, options.clicks)
    print(f"\ncached explanations of {EXPLAINED} models, ms (bar {CACHED:.0f}; {shown.maps} near the screen): ", end="")
    print(f"{quantiles(shown.times) if shown.times else 'none'}, {shown.failed} failed")
    missed = ["cached explanation"] if not shown.times or np.quantile(shown.times, 0.95) > CACHED else []
    return missed + (["cached explanation: some did not come"] if shown.failed else [])


def threshold(warehouse: str, served: Served) -> list[str]:
    """Drag the threshold."""
    with chromium() as browser:
        try:
            drag = drag_threshold(browser, served.app, warehouse)
        except RuntimeError as error:
            print(f"\nthreshold: {error}")
            return [f"threshold: {error}"]
    what = f"{drag.pictures} pictures of {EXPLAINED} maps, {len(drag.paints)} repaints, {drag.socket} bytes"
    print(f"\nthreshold dragged, {what}")
    print(f"repaint, ms (bar {FRAME:.0f}): {quantiles(drag.paints)}\nbetween frames, ms: {quantiles(drag.frames)}")
    return ["threshold"] if max(np.quantile(times, 0.95) for times in (drag.paints, drag.frames)) > FRAME else []


def time_pages(size: Size, options: argparse.Namespace, folder: Path) -> list[str]:
    """Print the tables of clicks and pages that are asked for; return what took too long."""
    missed = []
    if "start" in options.tables:
        missed += start(options.warehouse, size, options, folder / "start.txt")
    if {"clicks", "paint"} & options.tables:
        with ExitStack() as stack:
            served = stack.enter_context(dashboard(options.warehouse, folder / "server.txt"))
            if "paint" in options.tables:
                missed += paint(size, options, served)
            if "clicks" in options.tables:
                missed += clicks(options.warehouse, size, options, served, stack)
            missed += flaws(served)
    return missed


def time_maps(options: argparse.Namespace, folder: Path) -> list[str]:
    """Print the tables of maps that are asked for; return what took too long."""
    missed = []
    if OF_MAPS & options.tables:
        print(f"\nmaps of {options.explained}", flush=True)
        with dashboard(options.explained, folder / "maps.txt") as served:
            if "threshold" in options.tables:
                missed += threshold(options.explained, served)
            if "cached" in options.tables:
                missed += cached(options.explained, options, served)
            missed += flaws(served)
    return missed


def flaws(served: Served) -> list[str]:
    """Return what the server complained about."""
    return [f"server, {often} times: {flaw}" for flaw, often in served.flaws().items()]


def find_warehouses(size: Size, options: argparse.Namespace, folder: Path) -> None:
    """Make the warehouses that are needed and not named; set ``warehouse`` and ``explained``."""
    of_maps = OF_MAPS & options.tables
    options.explained = options.demo or build_demo(folder / "demo") if of_maps and options.demo is not None else None
    if options.warehouse is None and (options.explained is None or options.tables - OF_MAPS):
        sizes = size.models, size.classes, size.images
        options.warehouse = str(synthesize(folder / "drawn", *sizes, pictures=PICTURES, explainable=EXPLAINED).root)
    options.explained = options.explained or options.warehouse
    if of_maps:
        try:
            models_and_images(options.explained, 1)
        except UserError as error:
            sys.exit(f"{error} Name another warehouse with --demo, or leave out the tables of maps.")


def build_demo(folder: Path) -> str:
    """Build the embedded demo."""
    print("building the demo", flush=True)
    subprocess.run([sys.executable, "-m", "vacpanel", "demo", "--no-serve", "--warehouse", str(folder)], check=True)
    return str(folder)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", nargs="?", metavar="DIR", help="a warehouse; drawn by default")
    parser.add_argument("--size", choices=SIZES, default="13", help="what is drawn, and which bars apply")
    parser.add_argument("--tables", default=",".join(TABLES), help="some of %(default)s")
    parser.add_argument(
        "--demo", nargs="?", const="", metavar="DIR", help="time maps on the embedded demo, in DIR or built"
    )
    parser.add_argument("--clicks", type=int, default=200, help="of each kind, on the dashboard")
    parser.add_argument(
        "--others", type=int, help="of each kind, on each page that is compared with; as many by default"
    )
    parser.add_argument("--loads", type=int, default=20, help="of the page")
    parser.add_argument("--starts", type=int, default=5, help="of the server")
    parser.add_argument("--alone", action="store_true", help="leave out the pages that are compared with")
    parser.add_argument("--viewport", default="1440x900", metavar="WxH")
    options = parser.parse_args()
    options.tables = set(options.tables.split(","))
    options.others = options.clicks if options.others is None else options.others
    if unknown := options.tables - set(TABLES):
        parser.error(f"There is no table {', '.join(sorted(unknown))}.")
    options.viewport = tuple(map(int, options.viewport.split("x")))
    return options


def main() -> None:
    options = arguments()
    size = SIZES[options.size]
    print(machine("panel", "bokeh", "holoviews", "duckdb", "playwright"), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        find_warehouses(size, options, Path(temporary))
        if options.warehouse is not None:
            print(f"{options.warehouse}, bars for {size.models} x {size.classes} x {size.images:,}", flush=True)
        missed = time_pages(size, options, Path(temporary)) + time_maps(options, Path(temporary))
    print(f"\n{machine()}")
    if missed:
        sys.exit("Missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
