"""A server in a process of its own, as a person starts it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_LIMIT = 120.0  # seconds
FLAW = re.compile(r"^(?:.*\b(?:ERROR|CRITICAL)\b.*|[\w.]*(?:Error|Exception|Interrupt)\b.*)$", re.MULTILINE)
# What Tornado and Bokeh log when a browser leaves while the server talks to it: no error of ours.
PARTINGS = (
    r"[^\n]*Task exception was never retrieved\n.*?tornado\.websocket\.WebSocketClosedError\n",
    r"Traceback \(most recent call last\):\n(?:(?!Traceback).)*?assert self\._session is not None\n[ ^]*\n"
    r"AssertionError\n",
)


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes
    ----------
    address
        Such as ``http://127.0.0.1:5006``.
    pid
        Of its process.
    log
        What it says.
    seconds
        From the start of the process until the app's page had come.
    """

    address: str
    pid: int
    log: Path
    seconds: float

    @property
    def app(self) -> str:
        """The page."""
        return f"{self.address}/app"

    def flaws(self) -> dict[str, int]:
        """Return the lines of the log that tell of an error, and how often each stands there."""
        said = self.log.read_text(encoding="utf-8", errors="replace")
        for parting in PARTINGS:
            said = re.sub(parting, "", said, flags=re.DOTALL)
        # Without time and address they are the same.
        return Counter(re.sub(r"^[\d\-:, ]+|0x[0-9a-f]+", "", line) for line in FLAW.findall(said))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(command: list[str], log: Path) -> Iterator[Served]:
    """Run a serving command, its port appended, until the end of the ``with`` block.

    Parameters
    ----------
    command
        Arguments of the Python interpreter, such as ``["-m", "vacpanel", "serve", "w"]``.
    log
        Where its output goes.
    """
    port = free_port()
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children end with it
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, f"{address}/app", log)
            yield Served(address, process.pid, log, time.perf_counter() - started)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def dashboard(warehouse: str | Path, log: Path, *flags: str) -> contextlib.AbstractContextManager[Served]:
    """Run ``vacpanel serve`` on a warehouse."""
    return serving(["-m", "vacpanel", "serve", str(warehouse), *flags], log)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.perf_counter() + START_LIMIT
    while process.poll() is None and time.perf_counter() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=START_LIMIT) as page:  # noqa: S310
            page.read()
            return
        time.sleep(0.02)
    sys.exit(f"The server did not answer:\n{log.read_text(encoding='utf-8')[-2000:]}")
