"""How processes on one machine find the one that computes explanations for all of them."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import secrets
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from typing import TYPE_CHECKING

from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warehouse.folder import Folder

HELLO = ("hello",)
"""What a process that computes says to one that has joined it."""


class Meeting:
    """A note in the warehouse's private folder that says where the process for this machine and user listens.

    The note holds the key that connections prove to know, so only its owner may read it. Whoever starts, joins or ends
    the process holds a lock meanwhile: there is never a second one, and none ends while somebody joins.

    Parameters
    ----------
    folder
        Of the warehouse; it may lie on a network disk, so the name of the note has the machine's name in it.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        machine = re.sub(r"[^A-Za-z0-9]+", "-", platform.node())
        self._note = folder.generations / f"explain-{machine}-{os.getuid()}.json"
        self._lock = self._note.with_suffix(".lock")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from starting, joining or ending the process."""
        with os.fdopen(os.open(self._lock, os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def announce(self, address: str, key: bytes) -> None:
        """Say where this process listens; its starter holds the lock."""
        draft = self._note.with_suffix(f".{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as note:
            json.dump({"address": address, "key": key.hex(), "pid": os.getpid()}, note)
        draft.replace(self._note)

    def withdraw(self) -> None:
        """Say that nobody listens any more; hold the lock."""
        self._note.unlink(missing_ok=True)

    def pid(self) -> int | None:
        """Return the number of the process that listens; None without one."""
        try:
            return int(json.loads(self._note.read_text())["pid"])
        except FileNotFoundError:
            return None

    def join(self, device: str, grace: float) -> Connection:
        """Connect to the process; start it if there is none. Takes seconds then.

        Parameters
        ----------
        device
            Where it should compute, if it has to be started.
        grace
            Seconds after which it ends when the last has left, if it has to be started.

        Raises
        ------
        UserError
            If it cannot be started.
        """
        with self.locked():
            with suppress(OSError, EOFError, AuthenticationError, ValueError, KeyError):  # nobody there, or killed
                return self._connect()
            command = [sys.executable, "-m", "etl.explain.shared_process", str(self._folder.root)]
            # A session of its own: Ctrl-C ends the server that started it, not what others use as well.
            process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, device, str(grace)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                # OpenMP threads that wait should sleep: those of several pieces of work share the processors.
                env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
                start_new_session=True,
            )
            assert process.stdout is not None
            with process.stdout as words:
                ready = words.readline()
            threading.Thread(target=process.wait, name="explain: reaper", daemon=True).start()
            if not ready:
                raise UserError(
                    "The process that computes explanations could not be started; the server's log says why."
                )
            return self._connect()

    def _connect(self) -> Connection:
        note = json.loads(self._note.read_text())
        connection: Connection = Client(note["address"], "AF_UNIX", authkey=bytes.fromhex(note["key"]))
        if connection.recv() != HELLO:
            raise EOFError
        return connection
