"""The process that computes explanations for all others on its machine; :mod:`etl.explain.meeting` starts it.

Usage: ``python -m etl.explain.shared_process WAREHOUSE DEVICE GRACE``.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import signal
import sys
import tempfile
import threading
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import TYPE_CHECKING

from etl.explain.engine import LocalEngine
from etl.explain.kept import KeptMaps
from etl.explain.meeting import HELLO, Meeting
from etl.explain.outbox import Outbox
from warehouse.folder import Folder

if TYPE_CHECKING:
    from concurrent.futures import Future

    from etl.explain.outbox import Message
    from etl.explain.requests import Explanation

_log = logging.getLogger(__name__)


class _Guest:
    """A process that has joined: does what it asks, and withdraws all of that when it leaves."""

    def __init__(self, engine: LocalEngine, connection: Connection, name: str) -> None:
        self._engine = engine
        self._connection = connection
        self._name = name
        self._outbox = Outbox(connection)
        self._futures: dict[int, Future[Explanation]] = {}

    def serve(self) -> None:
        """Answer until the process leaves."""
        self._outbox.put(HELLO)
        try:
            while True:
                self._do(self._connection.recv())
        except (EOFError, OSError):
            pass
        finally:
            for future in list(self._futures.values()):
                future.cancel()
            self._outbox.close()

    def _do(self, message: Message) -> None:
        kind, *content = message
        if kind == "submit":
            numbers, tasks, user, priority, listening = content
            # Users of two processes are two, whatever they are called.
            futures = self._engine.submit(
                tasks,
                f"{self._name} {user}",
                priority,
                (lambda i, *progress: self._outbox.put_progress(numbers[i], *progress)) if listening else None,
            )
            for number, future in zip(numbers, futures, strict=True):
                self._futures[number] = future
                future.add_done_callback(partial(self._answer, number))
        elif kind == "cancel":
            for known in self._known(content):
                known.cancel()
        elif kind == "promote":
            self._engine.promote(self._known(content[0]))
        elif kind == "count":
            self._outbox.put(("counted", content[0], self._engine.forwards))

    def _known(self, numbers: list[int]) -> list[Future[Explanation]]:
        """Return the futures with these numbers that are not finished; they may finish at any moment."""
        return [future for number in numbers if (future := self._futures.get(number)) is not None]

    def _answer(self, number: int, future: Future[Explanation]) -> None:
        self._futures.pop(number, None)
        if future.cancelled():
            self._outbox.put(("cancelled", number))
        elif (error := future.exception()) is not None:
            self._outbox.put(("failed", number, str(error)))
        else:
            self._outbox.put(("done", number, future.result()))


class _Host:
    """Accepts guests until there has been none for some time.

    Parameters
    ----------
    engine
        Computes for them.
    listener
        Where they connect.
    """

    def __init__(self, engine: LocalEngine, listener: Listener) -> None:
        self._engine = engine
        self._listener = listener
        self.ended = False
        self._changed = threading.Condition()
        self._guests = 0
        self._names = itertools.count()

    def accept(self) -> None:
        """Take in guests until the end."""
        while not self.ended:
            try:
                connection = self._listener.accept()
            except (AuthenticationError, EOFError, OSError):
                continue  # one who does not know the key, or died at the door
            with self._changed:
                self._guests += 1
                self._changed.notify()
            threading.Thread(target=self._serve, args=(connection,), name="explain: guest", daemon=True).start()

    def wait(self, grace: float) -> None:
        """Return when there has been no guest for so many seconds."""
        with self._changed:
            while self._changed.wait_for(lambda: self._guests > 0, grace):
                self._changed.wait_for(lambda: self._guests == 0)

    @property
    def empty(self) -> bool:
        """Whether there is no guest now."""
        return self._guests == 0

    def _serve(self, connection: Connection) -> None:
        try:
            _Guest(self._engine, connection, str(next(self._names))).serve()
        except Exception:  # noqa: BLE001 - unreadable messages included
            _log.exception("a process that asked for explanations was cut off")
        finally:
            with self._changed:
                self._guests -= 1
                self._changed.notify()


NICE = 5
"""How far the process stands back for others, those that serve pages, when all processors are busy."""


def main(root: str, device: str, grace: str) -> None:
    """Listen, say "ready" on standard output, compute for whoever joins; return when all have left for good."""
    os.nice(NICE)  # before there are threads
    folder = Folder.at(root)
    meeting = Meeting(folder)
    kept = KeptMaps(folder.explanations)
    engine = LocalEngine(kept, device)
    key = secrets.token_bytes(32)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    # A socket of its own place: the path of one may have a hundred letters only, and the warehouse may lie anywhere.
    with tempfile.TemporaryDirectory(prefix="vacpanel-") as place:
        address = str(Path(place, "explain"))
        with Listener(address, "AF_UNIX", backlog=64, authkey=key) as listener:
            host = _Host(engine, listener)
            threading.Thread(target=host.accept, name="explain: door", daemon=True).start()
            meeting.announce(address, key)
            print("ready", flush=True)  # noqa: T201 - to the process that started this one
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            while not host.ended:
                host.wait(float(grace))
                with meeting.locked():
                    if host.empty:
                        host.ended = True
                        meeting.withdraw()
    engine.close()
    kept.close()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s explanations: %(message)s")
    main(*sys.argv[1:])
