"""One queue for one device: newest request first, equal requests computed once, nobody waits for unwanted work."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor

from etl.explain.protocol import Cancelled, Context
from warehouse.errors import UserError

T = TypeVar("T")
Order = tuple[int, int]
Progress = Callable[[float, Tensor | None], None]

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job(Generic[T]):
    """Work that one or more requesters wait for."""

    key: str
    work: Callable[[Context], T]
    order: Order
    waiters: list[Future[T]] = field(default_factory=list)
    listeners: list[Progress] = field(default_factory=list)
    started: bool = False

    def abandoned(self) -> bool:
        return all(waiter.cancelled() for waiter in self.waiters)

    def report(self, fraction: float, maps: Tensor | None) -> None:
        for listener in tuple(self.listeners):
            try:
                listener(fraction, maps)
            except Exception:  # noqa: BLE001 - listeners are not ours
                _log.exception("a progress listener failed")


class Scheduler(Generic[T]):
    """Runs work on one thread.

    Every requester has a future of their own. Cancelling it is always possible until the result is there; when the last
    requester of a piece of work has cancelled, it is dropped from the queue, or stopped at its next step if it runs.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._queue: list[tuple[Order, int, _Job[T]]] = []
        self._jobs: dict[str, _Job[T]] = {}
        self._ticket = itertools.count()
        self._batch = itertools.count(1)
        self._closed = False
        self._name = name
        self._thread: threading.Thread | None = None

    def batch(self) -> int:
        """Take a number for requests that are made together; later batches go first, within one the order is kept."""
        return -next(self._batch)

    def submit(
        self, key: str, work: Callable[[Context], T], order: Order, progress: Progress | None = None
    ) -> Future[T]:
        """Queue work, or join the same work that is already queued or running.

        Parameters
        ----------
        key
            Equal for equal work.
        work
            Called on the scheduler's thread with a context that tells whether anybody still waits.
        order
            Smaller goes first: (:meth:`batch`, position within it). Joining moves queued work forward.
        progress
            Called on the scheduler's thread; see :class:`etl.explain.protocol.Context`.

        Returns
        -------
        concurrent.futures.Future
            Fails with :class:`UserError` whatever went wrong.

        Raises
        ------
        RuntimeError
            If the scheduler was closed.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the explanation service was closed")
            job = self._jobs.get(key)
            if job is None or job.abandoned():
                job = _Job(key, work, order)
                self._jobs[key] = job
                heapq.heappush(self._queue, (order, next(self._ticket), job))
            elif order < job.order:
                job.order = order
                heapq.heappush(self._queue, (order, next(self._ticket), job))
            job.waiters.append(future)
            if progress is not None:
                job.listeners.append(progress)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def close(self, timeout: float | None = 10.0) -> None:
        """Cancel what waits, stop what runs at its next step, and end the thread.

        Parameters
        ----------
        timeout
            Longest wait for the running step, in seconds; None waits for ever.
        """
        with self._changed:
            self._closed = True
            jobs = list(self._jobs.values())
            self._queue.clear()
            self._changed.notify()
        for job in jobs:
            for waiter in job.waiters:
                waiter.cancel()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            context = Context(cancelled=job.abandoned, progress=job.report)
            try:
                result = job.work(context)
            except Cancelled:
                self._finish(job, lambda waiter: waiter.cancel())
            except Exception as error:  # noqa: BLE001 - the queue must survive whatever fails
                self._finish(job, _failure(error))
            else:
                self._finish(job, _success(result))

    def _next(self) -> _Job[T] | None:
        with self._changed:
            while True:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return None
                _, _, job = heapq.heappop(self._queue)
                if job.started:  # an older entry of work that was moved forward
                    continue
                if job.abandoned():
                    self._forget(job)
                    continue
                job.started = True
                return job

    def _finish(self, job: _Job[T], settle: Callable[[Future[T]], Any]) -> None:
        with self._changed:
            self._forget(job)  # from here on nobody can join
        for waiter in job.waiters:
            settle(waiter)

    def _forget(self, job: _Job[T]) -> None:
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]


def _success(result: T) -> Callable[[Future[T]], None]:
    def settle(waiter: Future[T]) -> None:
        if waiter.set_running_or_notify_cancel():
            waiter.set_result(result)

    return settle


def _failure(error: Exception) -> Callable[[Future[Any]], None]:
    if not isinstance(error, UserError):
        _log.error("explaining failed", exc_info=error)
        plain = UserError(f"The explanation failed: {type(error).__name__}: {error}")
        plain.__cause__ = error
        error = plain

    def settle(waiter: Future[Any]) -> None:
        if waiter.set_running_or_notify_cancel():
            waiter.set_exception(error)

    return settle
