"""Messages to another process, sent by a thread, so that a slow reader holds up nobody."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Message = tuple[Any, ...]


class Outbox:
    """Sends messages in order. Any thread may put; what cannot be sent any more is dropped.

    Parameters
    ----------
    connection
        Where to send; messages are pickled.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changed = threading.Condition()
        self._waiting: deque[Message | int] = deque()
        self._progress: dict[int, Message] = {}
        self._closed = False
        threading.Thread(target=self._send, name="explain: outbox", daemon=True).start()

    def put(self, message: Message) -> None:
        """Send a message after those before."""
        with self._changed:
            self._waiting.append(message)
            self._changed.notify()

    def put_progress(self, number: int, fraction: float, preview: Any) -> None:
        """Send ``("progress", number, fraction, preview)``; of several that wait for one number only the last goes."""
        with self._changed:
            earlier = self._progress.get(number)
            if earlier is None:
                self._waiting.append(number)
            elif preview is None:
                preview = earlier[3]
            self._progress[number] = ("progress", number, fraction, preview)
            self._changed.notify()

    def close(self) -> None:
        """Send no more and hang up; whoever waits for a message at either end gets ``EOFError``."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        hang_up(self._connection)

    def _send(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                message = self._waiting.popleft()
                if isinstance(message, int):
                    message = self._progress.pop(message)
            try:
                self._connection.send(message)
            except OSError:
                return  # whoever reads from this connection notices, too


def hang_up(connection: Connection) -> None:
    """End a connection; closing it would not wake a thread that reads from it."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as opened:
        opened.shutdown(socket.SHUT_RDWR)
