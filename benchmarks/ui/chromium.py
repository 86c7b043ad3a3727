"""A real browser, what goes over the wire to it, and hands to use it with."""

from __future__ import annotations

import base64
import contextlib
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.ui.plots import Interaction, Marks

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WINDOW_OPENS = 3000  # ms in which Chromium fills a new window with pages of its own: a second of two cores
INSTRUMENTS = Path(__file__).with_name("instruments.js").read_text(encoding="utf-8")
QUIET = 150  # ms without a stroke on a canvas: everything is painted
LIMIT = 15_000  # ms until a click that changes nothing counts as an error
ALONE = 12.0  # px to the next mark that are enough to be sure which one is tapped
ROOMIEST = 0.85  # quantile of that distance from which a mark is tapped where no mark has so much room


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        sys.exit("This benchmark needs Chromium, for example: apt-get install chromium.")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Wire:
    """Bytes that went over the wire since the last `clear`: payloads of web socket frames, both ways, and HTTP."""

    socket: int = 0
    http: int = 0

    def clear(self) -> None:
        """Begin to count anew."""
        self.socket = self.http = 0

    @classmethod
    def of(cls, page: Page) -> Wire:
        """Count what a page sends and receives from now on."""
        wire, session = cls(), page.context.new_cdp_session(page)

        def frame(event: dict[str, Any]) -> None:
            content = event["response"]["payloadData"]
            binary = event["response"]["opcode"] == 2
            wire.socket += len(base64.b64decode(content)) if binary else len(content.encode())

        def loaded(event: dict[str, Any]) -> None:
            wire.http += event["encodedDataLength"]  # nothing where it came from the browser's cache

        session.send("Network.enable")
        session.on("Network.webSocketFrameSent", frame)
        session.on("Network.webSocketFrameReceived", frame)
        session.on("Network.loadingFinished", loaded)
        return wire


@dataclass(frozen=True)
class Click:
    """What one click led to.

    Attributes
    ----------
    total
        Milliseconds from the pointer's release to the last stroke on a canvas of a view.
    views
        The same by view.
    pictures
        Milliseconds until the last picture that was loaded had come; 0 if none was.
    socket, http
        Bytes on the wire.
    same
        Selectors of views that should have changed and did not.
    """

    total: float
    views: dict[str, float]
    pictures: float
    socket: int
    http: int
    same: list[str] = field(default_factory=list)


class Visit:
    """A page that is used, with instruments in it.

    Parameters
    ----------
    browser
        Where it is opened: in a window and a context of its own, so that nothing is in its cache. The window has been
        open for a while by then, as a visitor's is.
    url
        What to open.
    viewport
        Width and height in px.
    """

    def __init__(self, browser: Browser, url: str, viewport: tuple[int, int]) -> None:
        self._context = browser.new_context(viewport={"width": viewport[0], "height": viewport[1]})
        self._context.add_init_script(INSTRUMENTS)
        self.page = self._context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.wire = Wire.of(self.page)
        self.page.wait_for_timeout(WINDOW_OPENS)
        self.page.goto(url)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def instrument(self, call: str, *arguments: Any) -> Any:
        """Call one of the instruments in the page."""
        return self.page.evaluate(f"(given) => instruments.{call}(...given)", list(arguments))

    def first_painted(self, views: tuple[str, ...], limit: float = 60_000) -> float:
        """Wait until all these views have been drawn; return milliseconds since the page was asked for."""
        painted = self.instrument("painted", views, limit)
        if painted is None:
            sys.exit(f"{self.page.url} did not paint {', '.join(views)}: {self.errors or 'no error'}")
        return float(painted)

    def rest(self, quiet: float = 1000) -> None:
        """Wait until nothing has been drawn for a while."""
        self.page.wait_for_function(f"performance.now() - instruments.last() > {quiet}", timeout=60_000)

    def marks(self, marks: Marks) -> list[tuple[Any, float, float]]:
        """Return the marks that can be tapped: value of the key and position of each."""
        return [tuple(found) for found in self.instrument("marks", marks.view, marks.key, marks.without)]

    def do(self, interaction: Interaction, rng: np.random.Generator) -> Click:
        """Do something once, with marks drawn at random, and watch what comes of it."""
        self.page.bring_to_front()
        marks = self.marks(interaction.marks)
        if not marks:
            return Click(0, {}, 0, 0, 0, [interaction.marks.view])
        before = self.instrument("look", interaction.changes)
        if interaction.box:
            self._aim_box(interaction.marks, marks, rng)
        else:
            self._aim(marks, rng)
        self.page.wait_for_timeout(150)  # what hovering draws is no part of it
        self.wire.clear()
        self.page.mouse.up() if interaction.box else self._press()
        read = self.instrument("settled", before, QUIET, LIMIT)
        return Click(read["total"], read["views"], read["pictures"], self.wire.socket, self.wire.http, read["same"])

    def _press(self) -> None:
        self.page.mouse.down()
        self.page.mouse.up()

    def _aim(self, marks: list[tuple[Any, float, float]], rng: np.random.Generator) -> None:
        """Move to a mark that stands alone and is not the one tapped last."""
        place = np.array([mark[1:] for mark in marks])
        nearest = cKDTree(place).query(place, k=2)[0][:, 1]
        room = min(np.quantile(nearest, ROOMIEST), ALONE)
        alone = [mark for mark, distance in zip(marks, nearest, strict=True) if distance >= room]
        found = [mark for mark in alone if mark[0] != getattr(self, "_last", None)] or alone
        value, x, y = found[int(rng.integers(len(found)))]
        self._last = value
        self.page.mouse.move(x - 3, y - 3)
        self.page.mouse.move(x, y)

    def _aim_box(self, marks: Marks, found: list[tuple[Any, float, float]], rng: np.random.Generator) -> None:
        """Draw a box around a part of the marks, and hold it."""
        assert self.instrument("select_by_box", marks.view), f"no tool draws boxes in {marks.view}"
        x, y = ([mark[axis] for mark in found] for axis in (1, 2))
        width, height = (0.3 + 0.2 * rng.random(2)) * (max(x) - min(x), max(y) - min(y))
        left = min(x) + rng.random() * (max(x) - min(x) - width)
        top = min(y) + rng.random() * (max(y) - min(y) - height)
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move(left + width / 2, top + height / 2)
        self.page.mouse.move(left + width, top + height)
