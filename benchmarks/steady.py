"""A server that is used for long and by many: ``python -m benchmarks.steady [DIR]``.

memory   Sessions are opened, used and closed, one after the other: the server's resident memory after every twenty.
         Bar: it ends within 10 % of what it was after session 20.
users    Thirty people use the dashboard at the same time: p95 from a tap to the last message that comes of it, against
         that of one user alone. Bars: at most three times as long, and no error, neither in the server's log nor in
         any answer nor in the console of the browsers among the users.
vanish   A browser dies in the middle of a long explanation: seconds until the server, and the process that explains
         for several servers where there is one, are idle. Bar: shortly after the server gave the session up.

Users speak Bokeh's protocol (`benchmarks.visitor`), as thirty browsers on one machine would measure the machine; they
think between two taps, as long as `--think` says. `--browsers` of them are pages in a real Chromium all the same, for
what their consoles say. Without DIR a warehouse of 13 models, 1000 classes and 50,000 images is drawn first. What is
explained comes from the embedded demo, built unless `--demo` names it. Ends with status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import warehouse
from benchmarks.memory import resident
from benchmarks.served import Served, dashboard
from benchmarks.synthesize import synthesize
from benchmarks.timing import machine
from benchmarks.ui.plots import ALL, INTERACTIONS, Interaction
from benchmarks.visitor import Visitor, VisitorError

TABLES = ("memory", "users", "vanish")
GROWTH, SLOWDOWN = 0.10, 3.0
EVERY = 20  # sessions between two looks at the memory; the first look is what the others are compared with
GIVEN_UP = ("--unused-session-lifetime", "3000", "--check-unused-sessions", "1000")  # ms
ALL_GIVEN_UP = 6.0  # seconds after which no session can be left
BUSY, IDLE, PATIENCE = 0.5, 0.05, 90.0  # shares of a processor, seconds
LONG = 'method=bbmp&parameters={"bbmp":{"iterations":100000,"early_stop":false}}'


class User:
    """Somebody who taps and brushes, never what was chosen last.

    Parameters
    ----------
    address
        Of the server.
    seed
        Of what is chosen.
    """

    def __init__(self, address: str, seed: int) -> None:
        self.visitor = Visitor(address)
        self.rng = np.random.default_rng(seed)
        self._last: dict[str, list[int]] = {}
        self._boxed: dict[str, list[int]] = {}

    async def act(self, interaction: Interaction) -> float:
        """Do one thing; return the seconds until all that came of it had come."""
        count, last = self.visitor.rows(interaction.marks), self._last.get(interaction.name)
        # Of a box's marks one is tapped: the others have been filtered away.
        seen = self._boxed.get(interaction.marks.key, count) if not interaction.box else count
        rows = last
        while rows == last:
            some = max(2, int(count * self.rng.uniform(0.05, 0.2))) if interaction.box else 1
            rows = sorted(self.rng.choice(seen, some, replace=False).tolist())
        assert rows is not None
        # What is chosen at the start is not known here; it may be just that.
        changes = interaction.changes if last is not None else ()
        self._last[interaction.name] = rows
        if interaction.box:
            self._boxed[interaction.marks.key] = rows
        answer = await self.visitor.select(interaction.marks, rows, changes)
        return answer.seconds if answer.changed else await self.act(interaction)


# Memory -----------------------------------------------------------------------------------------------------------


def memory(path: str, sessions: int, folder: Path) -> list[str]:
    """Open, use and close sessions; print how the memory grows."""
    log = folder / "memory.txt"
    with dashboard(path, log, *GIVEN_UP) as served:
        curve = asyncio.run(_sessions(served, sessions))
        flaws = served.flaws()
    base = curve[0][1]
    growth = curve[-1][1] / base - 1
    print(f"\nresident memory after {curve[-1][0]} sessions against that after {curve[0][0]}: {growth:+.1%}", end="")
    print(f" (bar {GROWTH:+.0%})", flush=True)
    return _flaws("memory", flaws) + ([f"memory: {growth:+.1%}"] if growth > GROWTH else [])


async def _sessions(served: Served, sessions: int) -> list[tuple[int, float]]:
    """Return (sessions so far, MiB) after every so many sessions."""
    curve = []
    print(f"\n{'sessions':>8} {'MiB':>8}  {'growth':>7}  {'s to open':>9}")
    opening = []
    for number in range(1, sessions + 1):
        user = User(served.address, number)
        opening.append(await user.visitor.open())
        for interaction in INTERACTIONS:
            await user.act(interaction)
        await user.visitor.close()
        if number % EVERY == 0:
            await asyncio.sleep(ALL_GIVEN_UP)
            curve.append((number, resident(served.pid)))
            growth = curve[-1][1] / curve[0][1] - 1
            print(f"{number:8} {curve[-1][1]:8.0f}  {growth:+7.1%}  {np.median(opening):9.2f}", flush=True)
            opening = []
    if not curve:
        sys.exit(f"{EVERY} sessions are the fewest.")
    return curve


# Users ------------------------------------------------------------------------------------------------------------


@dataclass
class Use:
    """What users met with.

    Attributes
    ----------
    seconds
        Of every answer, by name of what was done.
    errors
        Texts and how often.
    taps
        What was done.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    def p95(self) -> float:
        """Return the 95th percentile over all that was done."""
        every = [one for some in self.seconds.values() for one in some]
        return float(np.quantile(every, 0.95)) if every else float("nan")

    def line(self) -> str:
        """Return how often, median and p95 in ms, by what was done."""
        parts = (
            f"{name} {len(some)}: {1000 * np.median(some):.0f} {1000 * np.quantile(some, 0.95):.0f}"
            for name, some in sorted(self.seconds.items())
        )
        return ", ".join(parts)


def users(path: str, options: argparse.Namespace, folder: Path) -> list[str]:
    """Let one user work, then many; print what they met with."""
    log = folder / "users.txt"
    with dashboard(path, log) as served:
        alone = asyncio.run(_use(served, 1, options.alone_minutes, options.think))
        print(f"\none user, {options.alone_minutes:g} min: p95 {1000 * alone.p95():.0f} ms", flush=True)
        print(f"  count: median and p95 of {alone.line()}", flush=True)
        said: list[str] = []
        browsers = threading.Thread(target=_browse, args=(served.app, options, said))
        browsers.start()
        load = [os.getloadavg()[0]]
        many = asyncio.run(_use(served, options.users, options.minutes, options.think, load))
        browsers.join()
        flaws = served.flaws()
        print(f"{options.users} users and {options.browsers} browsers, {options.minutes:g} min: p95", end=" ")
        print(f"{1000 * many.p95():.0f} ms, {many.p95() / alone.p95():.1f} times as long (bar {SLOWDOWN:.0f})", end="")
        print(f"; load {np.mean(load):.1f}; server {resident(served.pid):.0f} MiB")
        print(f"  count: median and p95 of {many.line()}")
    missed = [f"users: {often} times: {text}" for text, often in (alone.errors + many.errors).items()]
    missed += [f"browser: {text}" for text in said] + _flaws("users", flaws)
    return missed + (["users: slow"] if not many.p95() <= SLOWDOWN * alone.p95() else [])


async def _use(served: Served, count: int, minutes: float, think: float, load: list[float] | None = None) -> Use:
    use, until = Use(), time.monotonic() + 60 * minutes

    async def work(number: int) -> None:
        user = User(served.address, number)
        # Not all at once: that would be a test of how pages are opened.
        await asyncio.sleep(think * user.rng.random() * min(count, 10))
        try:
            await user.visitor.open()
            while time.monotonic() < until:
                await asyncio.sleep(think * user.rng.uniform(0.5, 1.5))
                interaction = INTERACTIONS[int(user.rng.integers(len(INTERACTIONS)))]
                use.seconds.setdefault(interaction.name, []).append(await user.act(interaction))
        except (TimeoutError, VisitorError, OSError) as error:
            use.errors[str(error) or type(error).__name__] += 1
        use.errors.update(user.visitor.broken)
        await user.visitor.close()

    async def watch() -> None:
        while load is not None:
            await asyncio.sleep(5)
            load.append(os.getloadavg()[0])

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*map(work, range(count)))
    watching.cancel()
    return use


def _browse(url: str, options: argparse.Namespace, said: list[str]) -> None:
    """Use pages in a real browser and note what their consoles say; runs in a thread of its own."""
    if not options.browsers:
        return
    from benchmarks.ui.chromium import Visit, chromium

    until = time.monotonic() + 60 * options.minutes
    with chromium() as browser:
        visits = [Visit(browser, url, (1440, 900)) for _ in range(options.browsers)]
        rngs = [np.random.default_rng(1000 + number) for number in range(options.browsers)]
        for visit in visits:
            visit.first_painted(ALL)
        while time.monotonic() < until:
            for visit, rng in zip(visits, rngs, strict=True):
                visit.page.wait_for_timeout(1000 * options.think / len(visits))
                visit.do(INTERACTIONS[int(rng.integers(len(INTERACTIONS)))], rng)
        said += sorted({error for visit in visits for error in visit.errors})


# A browser that vanishes ------------------------------------------------------------------------------------------


def vanish(demo: str, folder: Path) -> list[str]:
    """Kill a browser while its task is computed; print how soon nothing is computed any more."""
    with warehouse.open(demo) as opened:
        model = str(opened.models()["model"][0])
    with dashboard(demo, folder / "vanish.txt") as served:
        url = f"{served.app}?models={model}&images=0&{LONG}"
        command = [sys.executable, "-m", "benchmarks.steady", "--explain", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            working = child.stdout.readline().strip() == "working"
            family = [child.pid, *_descendants(child.pid)]
            busy = [served.pid, *_descendants(served.pid), *_explainers(demo)]
            before = _share(busy, 3)
            for pid in family:
                _kill(pid)
        died = time.monotonic()
        if not working or before < BUSY:
            return [f"vanish: the task did not begin, or ended too soon ({before:.0%} of a processor)"]
        while (share := _share(busy, 1)) > IDLE and time.monotonic() < died + PATIENCE:
            pass
        seconds = time.monotonic() - died
        flaws = served.flaws()
    print(
        f"\na browser vanished while {before:.0%} of a processor explained for it: idle after {seconds:.0f} s", end=""
    )
    print(f" (bar {PATIENCE:.0f} s; sessions are given up after 15 to 32 s)")
    return _flaws("vanish", flaws) + ([f"vanish: still busy, {share:.0%}"] if share > IDLE else [])


def explain(url: str) -> None:
    """Be the browser: start a task, say so once it is being computed, and wait for the end."""
    from benchmarks.ui.chromium import Visit, chromium
    from benchmarks.ui.explaining import RUN

    with chromium() as browser, Visit(browser, url, (1440, 900)) as visit:
        visit.page.get_by_role("button", name=RUN).click(timeout=120_000)
        visit.page.wait_for_function(
            "instruments.elements('tr[data-key][data-state=working]').length > 0", timeout=120_000
        )
        visit.page.wait_for_timeout(3000)
        print("working", flush=True)
        visit.page.wait_for_timeout(1000 * PATIENCE)


def _kill(pid: int) -> None:
    """Kill a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """Return all processes that a process has started, and that these have."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text(encoding="ascii").rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def _explainers(demo: str) -> list[int]:
    """Return the process that explains for several servers of a warehouse, if there is one."""
    notes = (Path(demo) / ".gen").glob("explain-*.json")
    return [int(json.loads(note.read_text(encoding="utf-8"))["pid"]) for note in notes]


def _share(pids: list[int], seconds: float) -> float:
    """Return which share of a processor some processes take; 0 if they are gone."""
    before = sum(map(_ticks, pids))
    time.sleep(seconds)
    return (sum(map(_ticks, pids)) - before) / os.sysconf("SC_CLK_TCK") / seconds


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


# ------------------------------------------------------------------------------------------------------------------


def _flaws(what: str, flaws: dict[str, int]) -> list[str]:
    return [f"{what}: the log says {often} times: {flaw}" for flaw, often in flaws.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", nargs="?", metavar="DIR", help="a warehouse; drawn by default")
    parser.add_argument("--tables", default=",".join(TABLES), help="some of %(default)s")
    parser.add_argument("--demo", metavar="DIR", help="a warehouse whose models can be explained; built by default")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--users", type=int, default=30)
    parser.add_argument("--browsers", type=int, default=1, help="pages in Chromium, beside the users")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--alone-minutes", type=float, default=2, help="of the one user before")
    parser.add_argument("--think", type=float, default=5, help="seconds between two taps of a user, on average")
    parser.add_argument("--explain", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.explain:
        explain(options.explain)
        return
    tables = options.tables.split(",")
    if unknown := set(tables) - set(TABLES):
        parser.error(f"There is no table {', '.join(sorted(unknown))}.")
    print(machine("panel", "bokeh", "holoviews", "duckdb", "tornado"), flush=True)
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if {"memory", "users"} & set(tables) and options.warehouse is None:
            options.warehouse = str(synthesize(folder / "drawn", pictures=200).root)
        if "memory" in tables:
            missed += memory(options.warehouse, options.sessions, folder)
        if "users" in tables:
            missed += users(options.warehouse, options, folder)
        if "vanish" in tables:
            if options.demo is None:
                options.demo = str(folder / "demo")
                build = [sys.executable, "-m", "vacpanel", "demo", "--no-serve", "--warehouse", options.demo]
                subprocess.run(build, check=True)
            missed += vanish(options.demo, folder)
    print(f"\n{machine()}")
    if missed:
        sys.exit("Missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
