"""What a run says while it works, and at its end."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from warehouse.progress import Progress, write_progress

if TYPE_CHECKING:
    from types import TracebackType

    from warehouse.folder import Folder

Listener = Callable[[Progress], None]

_SECONDS_BETWEEN_WRITES = 0.5


@dataclass
class RunReport:
    """The outcome of :func:`etl.run`.

    Attributes
    ----------
    run_id
        As in the relation ``runs``.
    status
        ``"finished"``, ``"finished with errors"`` (a model failed) or ``"interrupted"``.
    models
        Canonical names of the models that are complete, in the order asked for.
    failed
        Reason by the name of each model that is not.
    skipped
        Reason by path of each image of the folder that could not be read.
    changed
        For models run in lower precision, the share of top-1 predictions that differ from those in float32, where the
        warehouse has these of the same weights.
    images
        Number of images of the folder that are in the warehouse, skipped ones included.
    computed
        Number of predictions made by this run (images x models); 0 if all had been there.
    seconds
        Wall-clock time of the run.
    """

    run_id: str
    status: str = "finished"
    models: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)
    images: int = 0
    computed: int = 0
    seconds: float = 0.0


class Reporter:
    """Shows how far a run is: bars on a terminal, lines elsewhere, a file for dashboards, a call for programs.

    Parameters
    ----------
    folder
        The warehouse.
    run_id
        The run.
    show
        Whether to write to stderr.
    listener
        Called with every state, several times a second at most.
    """

    def __init__(self, folder: Folder, run_id: str, show: bool, listener: Listener | None) -> None:
        self._folder = folder
        self._run_id = run_id
        self._listener = listener
        self._console = Console(stderr=True, quiet=not show, highlight=False, emoji=False, soft_wrap=True)
        self._bars: Bars | None = None
        self._bar: TaskID | None = None
        if show and sys.stderr.isatty():
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
        self._models = self._models_total = 0
        self._images = self._images_total = 0
        self._message = ""
        self._working = 0.0  # seconds spent on predictions, which the rate counts
        self._written = 0.0
        self._lock = threading.Lock()  # models are completed in a thread of their own

    def __enter__(self) -> Reporter:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def plan(self, models: int, images: int) -> None:
        """Announce the work: models to complete, and predictions to make (images x models)."""
        self._models_total, self._images_total = models, images
        if self._bars is not None:
            self._bar = self._bars.add_task("predict", total=images, rate="")
        self._write("running", force=True)

    def say(self, message: str) -> None:
        """Tell what is being done."""
        self._message = message
        self._console.print(message, markup=False)
        self._write("running", force=True)

    def step(self, message: str, fraction: float | None = None) -> None:
        """Tell of a passing state, which is not worth a line of its own."""
        self._message = message if fraction is None else f"{message} ({fraction:.0%})"
        self._write("running")

    def predicted(self, images: int, seconds: float) -> None:
        """Count predictions and the time that they took."""
        self._images += images
        self._working += seconds
        if self._bars is not None and self._bar is not None:
            rate = self._images / max(self._working, 1e-9)
            self._bars.update(self._bar, advance=images, rate=f"{rate:.0f} images/s")
        self._write("running")

    def dropped(self, images: int) -> None:
        """Take predictions that will not be made out of the plan."""
        self._images_total -= images
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, total=self._images_total)

    def completed(self, message: str) -> None:
        """Count a model."""
        self._models += 1
        self.say(message)

    def finish(self, status: str, message: str = "") -> None:
        """Tell the end, with a sentence if there is one to say; dashboards see no running ETL any more."""
        self._message = message
        if message:
            self._console.print(message, markup=False)
        self._write(status, force=True)

    def _write(self, status: str, force: bool = False) -> None:
        with self._lock:
            self._write_locked(status, force)

    def _write_locked(self, status: str, force: bool) -> None:
        now = time.monotonic()
        if not force and now - self._written < _SECONDS_BETWEEN_WRITES:
            return
        self._written = now
        rate = self._images / self._working if self._images and self._working else None
        left = max(0, self._images_total - self._images)
        progress = Progress(
            run_id=self._run_id,
            pid=os.getpid(),
            status=status,
            models_total=self._models_total,
            models_done=self._models,
            images_total=self._images_total,
            images_done=self._images,
            images_per_second=rate,
            eta_seconds=left / rate if rate else None,
            message=self._message,
            updated_at=datetime.now(UTC).replace(tzinfo=None),
        )
        write_progress(self._folder, progress)
        if self._listener is not None:
            self._listener(progress)
