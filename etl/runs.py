"""The record of a run: when, with which command, with which versions, and how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import signal
import threading
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import pyarrow as pa

from warehouse.schema import DERIVED_SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from warehouse.parts import DerivedStore

_PACKAGES = ("vacpanel", "torch", "torchvision", "openTSNE", "numpy", "pillow", "duckdb")


class RunRecord:
    """One row of the relation ``runs``, written at the start and replaced at the end.

    Parameters
    ----------
    derived
        The warehouse's derived results.
    command
        The command that does the same again.
    images
        The image folder.
    """

    def __init__(self, derived: DerivedStore, command: str, images: str) -> None:
        started = utc_now()
        self._derived = derived
        self._row: dict[str, object] = {
            "run_id": f"{started:%Y%m%dT%H%M%S}-{os.getpid()}-{started.microsecond:06d}",
            "started_at": started,
            "finished_at": None,
            "status": "running",
            "command": command,
            "images": images,
            "versions": json.dumps(_versions()),
            "message": None,
        }

    @property
    def run_id(self) -> str:
        """The run's id; ids sort by time."""
        return str(self._row["run_id"])

    def write(self, status: str, message: str | None = None) -> None:
        """Store the row.

        Parameters
        ----------
        status
            One of ``warehouse.schema.RUN_STATUSES``.
        message
            What went wrong.
        """
        self._row |= {"status": status, "message": message}
        if status != "running":
            self._row["finished_at"] = utc_now()
        table = pa.Table.from_pylist([self._row], DERIVED_SCHEMAS["runs"])
        self._derived.write("runs", self.run_id, table, status)


class Interrupt:
    """Whether Ctrl-C was pressed. The second time it stops at once."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn Ctrl-C into a request to stop after the current unit of work.

    Only in the main thread, the only one that Python lets handle signals; elsewhere nothing changes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)


def command_line(images: str, warehouse: str, models: Sequence[str], **options: object) -> str:
    """Return the ``vacpanel etl`` command for some arguments; options that are None are left out.

    Examples
    --------
    >>> command_line("my photos", "w", ["a", "b"], limit=5, batch_size=None)
    "vacpanel etl 'my photos' --warehouse w --models a,b --limit 5"
    """
    words = ["vacpanel", "etl", images, "--warehouse", warehouse, "--models", ",".join(models)]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def utc_now() -> datetime:
    """Now, in UTC without time zone, as the warehouse keeps times."""
    return datetime.now(UTC).replace(tzinfo=None)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
