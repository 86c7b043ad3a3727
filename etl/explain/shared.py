"""Explanations from one process for all that ask on this machine, such as the workers of one dashboard server."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etl.explain.meeting import Meeting
from etl.explain.outbox import Message, hang_up
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from etl.explain.engine import Progress
    from etl.explain.requests import Explanation
    from etl.explain.task import Task
    from warehouse.folder import Folder

GRACE = 20.0
"""Seconds that the process waits for others after the last has left: a restarted server finds its models loaded."""

_ASK: Message = ("ask",)
"""To the thread that talks to the process: there is something that it does not know of."""

TRIES = 2
"""How often a request is sent: the process may be killed once, by an operator or for its memory."""

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Asked:
    """One task that the process has not answered yet, and over which connection it was told of it."""

    task: Task
    user: str
    priority: int
    batch: int
    position: int
    progress: Progress | None
    future: Future[Explanation]
    told: Connection | None = None
    tries: int = 0


class SharedEngine:
    """Computes in the one process of this machine and user; it is started when it is first needed.

    Stores, models and the queue are that process's. It ends some time after all have closed their engines or died. If
    it dies, what was asked is asked again, once, of a new one.

    Parameters
    ----------
    folder
        Of the warehouse.
    device
        Where the process computes if this engine is the one to start it; as in
        :class:`etl.explain.engine.LocalEngine`.
    grace
        Seconds after which it ends when nobody is left, if this engine is the one to start it.
    """

    def __init__(self, folder: Folder, device: str = "auto", grace: float = GRACE) -> None:
        self._meeting = Meeting(folder)
        self._device = device
        self._grace = grace
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._asked: dict[int, _Asked] = {}
        self._counts: dict[int, Future[int]] = {}
        self._numbers = itertools.count()
        self._outgoing: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._talker: threading.Thread | None = None
        self._closed = False

    @property
    def forwards(self) -> int:
        """Images that went forward through the process's models so far; 0 if this engine has not joined it."""
        with self._lock:
            if self._connection is None:
                return 0
            number = next(self._numbers)
            count = self._counts[number] = Future()
        self._outgoing.put(("count", number))
        return count.result()

    def submit(
        self, tasks: Sequence[Task], user: str = "", priority: int = 0, progress: Progress | None = None
    ) -> list[Future[Explanation]]:
        """Compute and store maps: see :class:`etl.explain.engine.Engine`."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the explanation service was closed")
            batch = next(self._numbers)
            asked = {
                next(self._numbers): _Asked(task, user, priority, batch, i, progress, Future())
                for i, task in enumerate(tasks)
            }
            self._asked |= asked
            if self._talker is None:
                self._talker = threading.Thread(target=self._talk, name="explain: to the process", daemon=True)
                self._talker.start()
        self._outgoing.put(_ASK)
        for number, one in asked.items():
            one.future.add_done_callback(lambda future, number=number: self._withdrawn(future, number))  # type: ignore[misc]
        return [one.future for one in asked.values()]

    def promote(self, futures: Sequence[Future[Explanation]]) -> None:
        """Compute these first: see :class:`etl.explain.engine.Engine`."""
        with self._lock:
            numbers = {one.future: number for number, one in self._asked.items()}
        self._outgoing.put(("promote", [numbers[future] for future in futures if future in numbers]))

    def close(self) -> None:
        """Cancel what is not finished and leave the process."""
        with self._lock:
            self._closed = True
            futures = [one.future for one in self._asked.values()]
            connection = self._connection
        for future in futures:
            future.cancel()
        self._outgoing.put(None)
        if connection is not None:
            hang_up(connection)

    def _withdrawn(self, future: Future[Explanation], number: int) -> None:
        if future.cancelled():
            future.set_running_or_notify_cancel()  # for those who wait with concurrent.futures.wait
            with self._lock:
                waiting = self._asked.pop(number, None)
            if waiting is not None:
                self._outgoing.put(("cancel", number))

    # To the process ---------------------------------------------------------------------------------------------------

    def _talk(self) -> None:
        while (message := self._outgoing.get()) is not None:
            connection = self._connection
            if message != _ASK:
                # What there is to say about requests that a process has lost is of no interest to the next one.
                self._tell(connection, message)
            elif connection is not None or (connection := self._join()) is not None:
                for batch in self._untold(connection):
                    self._tell(connection, batch)

    def _join(self) -> Connection | None:
        try:
            connection = self._meeting.join(self._device, self._grace)
        except (UserError, OSError, EOFError) as error:
            with self._lock:
                failed, self._asked = self._asked, {}
            _fail(failed, f"Explanations cannot be computed in a shared process: {error}")
            return None
        with self._lock:
            self._connection = connection
            if self._closed:
                hang_up(connection)
        threading.Thread(target=self._listen, args=(connection,), name="explain: from the process", daemon=True).start()
        return connection

    def _untold(self, connection: Connection) -> list[Message]:
        """Make a message of each batch, the oldest first, that the process does not know of."""
        with self._lock:
            untold = {number: one for number, one in self._asked.items() if one.told is None}
            for one in untold.values():
                one.told = connection
                one.tries += 1
        messages: list[Message] = []
        for _, items in itertools.groupby(untold.items(), lambda item: item[1].batch):
            group = dict(items)
            tasks = [one.task for one in group.values()]
            first = next(iter(group.values()))
            messages.append(("submit", list(group), tasks, first.user, first.priority, first.progress is not None))
        return messages

    def _tell(self, connection: Connection | None, message: Message) -> None:
        if connection is None:
            return
        try:
            connection.send(message)
        except OSError:
            self._lost(connection)
        except Exception as error:  # noqa: BLE001 - a plug-in's parameters may be anything
            with self._lock:
                failed = {number: self._asked.pop(number) for number in message[1] if number in self._asked}
            _fail(failed, f"The request cannot be sent to the process that computes explanations: {error}")

    # From the process -------------------------------------------------------------------------------------------------

    def _listen(self, connection: Connection) -> None:
        try:
            while True:
                self._hear(connection.recv())
        except (EOFError, OSError):
            pass
        except Exception:  # noqa: BLE001 - a newer version may speak another language
            _log.exception("the process that computes explanations answered nonsense")
            hang_up(connection)
        self._lost(connection)

    def _lost(self, connection: Connection) -> None:
        """Ask a new process for what this one has not answered; noticed by reading, by writing, or by both."""
        with self._lock:
            if self._connection is connection:
                self._connection = None
                for count in self._counts.values():
                    count.set_result(0)
                self._counts.clear()
            lost = {number: one for number, one in self._asked.items() if one.told is connection}
            failed = {number: self._asked.pop(number) for number, one in lost.items() if one.tries >= TRIES}
            for one in lost.values():
                one.told = None
        _fail(failed, "The process that computes explanations ended twice at this request; the server's log says why.")
        if len(lost) > len(failed):
            _log.warning("the process that computes explanations ended; a new one is asked")
            self._outgoing.put(_ASK)

    def _hear(self, message: Message) -> None:
        kind, number, *content = message
        if kind == "counted":
            with self._lock:
                self._counts.pop(number).set_result(content[0])
            return
        with self._lock:
            one = self._asked.get(number) if kind == "progress" else self._asked.pop(number, None)
        if one is None:  # cancelled
            return
        if kind == "progress":
            _report(one, *content)
            return
        with suppress(InvalidStateError):  # cancelled at the last moment
            if kind == "done":
                one.future.set_result(content[0])
            elif kind == "failed":
                one.future.set_exception(UserError(content[0]))
            else:
                one.future.cancel()


def _report(one: _Asked, fraction: float, preview: Any) -> None:
    if one.progress is not None:
        try:
            one.progress(one.position, fraction, preview)
        except Exception:  # noqa: BLE001 - listeners are not ours
            _log.exception("a progress listener failed")


def _fail(asked: dict[int, _Asked], reason: str) -> None:
    for one in asked.values():
        with suppress(InvalidStateError):  # cancelled at the last moment
            one.future.set_exception(UserError(reason))
