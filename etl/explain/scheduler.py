"""A fair queue for a device: users take turns between the passes of their work.

Running work has a thread of its own, but only one piece at a time has the device. It lays the device down whenever it
asks whether it is still wanted (:meth:`Turn.cancelled`, which methods do between their passes), and gets it back when
no other has a better claim. A short request therefore overtakes a long one that is running already.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any, Generic

from etl.explain.protocol import Cancelled
from etl.explain.queued import Job, Order, Run, T, User, W, Want
from warehouse.errors import UserError

Compute = Callable[[Sequence[W], "Turn"], "Sequence[T | BaseException]"]

STARTED = 2
"""Most pieces of work that one user has begun and not finished: a long one, and a newer one that overtakes it."""

_log = logging.getLogger(__name__)


class Turn:
    """What work knows of the queue it runs in."""

    def __init__(self, scheduler: Scheduler[Any, Any], run: Run[Any, Any]) -> None:
        self._scheduler = scheduler
        self._run = run

    @property
    def seconds(self) -> float:
        """For how long this work, which has the device now, has had it so far."""
        return self._run.seconds + self._scheduler._clock() - self._run.since

    def wanted(self) -> bool:
        """Tell whether anybody still waits; keeps the device."""
        return any(self._run.wants())

    def cancelled(self) -> bool:
        """Lay the device down for those with a better claim, if any; then tell whether nobody waits any more."""
        return self._scheduler._pass_on(self._run)

    def step(self) -> None:
        """Do as :meth:`cancelled`, and raise :class:`Cancelled` if nobody waits any more."""
        if self.cancelled():
            raise Cancelled

    def report(self, fraction: float, previews: Mapping[str, Any] | None = None) -> None:
        """Tell those who still wait the fraction done, in [0, 1], and what there is so far, by key of the work."""
        for job in self._run.jobs:
            preview = None if previews is None else previews.get(job.work.key)
            for want in job.wants():
                if want.progress is not None:
                    try:
                        want.progress(fraction, preview)
                    except Exception:  # noqa: BLE001 - listeners are not ours
                        _log.exception("a progress listener failed")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Go on without the device for a while; raises :class:`Cancelled` at the end if nobody waits any more."""
        self._scheduler._leave(self._run)
        yield
        if self._scheduler._return(self._run):
            raise Cancelled

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Load what the work needs first; nothing else that needs it begins meanwhile.

        If that fails, all that waits for it fails with it. What is asked later tries again.
        """
        with self._scheduler._loading(self._run.jobs[0].work.resource):
            yield


class Scheduler(Generic[W, T]):
    """Does work in the order of fairness between users, then priority, then newest batch first.

    The device goes to the user who has had it least; one who comes, or comes back, starts level with the others, so
    nobody starves and nobody saves up. Within a user, work of the smaller priority number goes first, then that of the
    newest batch, then the order within the batch, in which the next may be loaded meanwhile.

    Every requester has a future of their own. Cancelling is possible until the result is there. When the last requester
    of a piece of work has cancelled, it is dropped from the queue, or stopped at its next step if it was begun; one of
    several that are done in one go is done nevertheless.

    Parameters
    ----------
    compute
        Does work, one piece or up to ``batch`` of one group, on a thread of its own; returns a result or an exception
        for each. It should call :meth:`Turn.cancelled` or :meth:`Turn.step` often.
    name
        Of the threads.
    batch
        Most pieces of work to do in one go; may be changed at any time.
    slots
        Devices: how many pieces of work may go on at the same time; may be changed at any time.
    clock
        Device time in seconds; only differences count.
    """

    def __init__(
        self,
        compute: Compute[W, T],
        name: str = "explain",
        batch: int = 1,
        slots: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.batch = batch
        self.slots = slots
        self._compute = compute
        self._name = name
        self._clock = clock
        self._lock = threading.RLock()
        self._users: dict[str, User[W, T]] = {}
        self._jobs: dict[str, Job[W, T]] = {}
        self._runs: list[Run[W, T]] = []
        self._busy: list[Run[W, T]] = []  # those that have a device
        self._loads: Counter[Hashable] = Counter()
        self._level = 0.0  # device time of the user served last: those who come are lifted to it
        self._ticket = itertools.count()
        self._batches = itertools.count(1)
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def submit(
        self,
        works: Sequence[W],
        user: str = "",
        priority: int = 0,
        progress: Callable[[int, float, Any], None] | None = None,
    ) -> list[Future[T]]:
        """Queue a batch of work; what is queued or running already is joined.

        Parameters
        ----------
        works
            What to do, in this order, before what the user asked earlier.
        user
            Who asks.
        priority
            0 for what can be seen, 1 for what may be needed later.
        progress
            Called from the thread of the work with its position in ``works``, the fraction done, and a preview or None.

        Returns
        -------
        list of concurrent.futures.Future
            One for each. They fail with :class:`UserError` whatever went wrong.

        Raises
        ------
        RuntimeError
            If the scheduler was closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the explanation service was closed")
            asker = self._users.setdefault(user, User())
            batch = next(self._batches)
            futures = []
            for i, work in enumerate(works):
                listener = None if progress is None else _listener(progress, i)
                want: Want[W, T] = Want(asker, (priority, -batch, i), Future(), listener)
                job = self._jobs.get(work.key)
                if job is None or (job.run is not None and job.run.stopped):
                    job = self._jobs[work.key] = Job(work)
                job.all_wants.append(want)
                self._queue(job, want)
                want.future.add_done_callback(lambda future, job=job: self._withdrawn(future, job))  # type: ignore[misc]
                futures.append(want.future)
            self._dispatch()
        return futures

    def promote(self, futures: Sequence[Future[T]]) -> None:
        """Move work to the front of its user's queue, in this order, as a new batch of priority 0."""
        position = {future: i for i, future in enumerate(futures)}
        with self._lock:
            batch = next(self._batches)
            for job in self._jobs.values():
                for want in job.wants():
                    if want.future in position:
                        want.order = (0, -batch, position[want.future])
                        self._queue(job, want)
            self._dispatch()

    def close(self, timeout: float = 10.0) -> None:
        """Cancel everything, stop what runs at its next step, and end the threads.

        Parameters
        ----------
        timeout
            Longest wait for running steps, in seconds.
        """
        with self._lock:
            self._closed = True
            wants = [want for job in self._jobs.values() for want in job.all_wants]
            threads = self._threads - {threading.current_thread()}
        for want in wants:
            want.future.cancel()
        end = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    # The methods below hold the lock, or take it. ---------------------------------------------------------------------

    def _queue(self, job: Job[W, T], want: Want[W, T]) -> None:
        if job.run is None:
            queue = want.user.queues.setdefault(job.work.resource, [])
            heapq.heappush(queue, (want.order, next(self._ticket), job))

    def _withdrawn(self, future: Future[T], job: Job[W, T]) -> None:
        if future.cancelled():
            future.set_running_or_notify_cancel()  # for those who wait with concurrent.futures.wait
            with self._lock:
                if job.run is None and not job.wants() and self._jobs.get(job.work.key) is job:
                    del self._jobs[job.work.key]
                self._dispatch()

    def _dispatch(self) -> None:
        """Give free devices to those with the best claim."""
        while len(self._busy) < self.slots and (best := self._best()) is not None:
            user, choice = best
            if isinstance(choice, Job):
                choice = self._begin(user, choice)
            elif any(choice.wants()):
                choice.user = user
            if any(choice.wants()):  # what only comes to its end is no turn of anybody
                choice.user.used = self._level = max(choice.user.used, self._level)
            choice.waits = False
            choice.since = self._clock()
            self._busy.append(choice)
            choice.turn.notify()

    def _best(self) -> tuple[User[W, T], Job[W, T] | Run[W, T]] | None:
        claims: list[tuple[float, Order, User[W, T], Job[W, T] | Run[W, T]]] = []
        # A batch keeps its order: what was begun while something before it is being loaded has to wait for that.
        ahead = [(want.user, want.order) for run in self._runs if run.aside for want in run.wants()]
        for run in self._runs:
            if run.waits:
                if not any(run.wants()):
                    return run.user, run
                claims += [
                    (max(want.user.used, self._level), want.order, want.user, run)
                    for want in run.wants()
                    if not any(user is want.user and _before(order, want.order) for user, order in ahead)
                ]
        started = Counter(run.user for run in self._runs)
        for user in self._users.values():
            if started[user] < STARTED:
                for resource in [resource for resource in user.queues if not self._loads[resource]]:
                    first = self._first(user, resource)
                    if first is not None:
                        claims.append((max(user.used, self._level), first[0], user, first[1]))
        return min(claims, key=lambda claim: claim[:2])[2:] if claims else None

    def _first(self, user: User[W, T], resource: Hashable) -> tuple[Order, Job[W, T]] | None:
        queue = user.queues[resource]
        while queue:
            order, _, job = queue[0]
            if self._waits(job, user, order):
                return order, job
            heapq.heappop(queue)
        del user.queues[resource]
        return None

    def _waits(self, job: Job[W, T], user: User[W, T], order: Order) -> bool:
        """Tell whether a place in a queue still counts: the job may be begun, dropped, or moved to another place."""
        return (
            job.run is None
            and self._jobs.get(job.work.key) is job
            and any(want.user is user and want.order == order for want in job.wants())
        )

    def _begin(self, user: User[W, T], job: Job[W, T]) -> Run[W, T]:
        jobs = [job]
        if self.batch > 1:
            for order, _, other in sorted(user.queues[job.work.resource], key=lambda place: place[:2]):
                alike = other.work.group == job.work.group and other not in jobs
                if len(jobs) < self.batch and alike and self._waits(other, user, order):
                    jobs.append(other)
        # Its thread may look at once for how long it has had the device.
        run = Run(jobs, user, threading.Condition(self._lock), since=self._clock())
        for begun in jobs:
            begun.run = run
        self._runs.append(run)
        thread = threading.Thread(target=self._work, args=(run,), name=self._name, daemon=True)
        self._threads.add(thread)
        thread.start()
        return run

    def _lay_down(self, run: Run[W, T]) -> None:
        seconds = self._clock() - run.since
        run.seconds += seconds
        run.user.used += seconds
        self._busy.remove(run)

    def _leave(self, run: Run[W, T]) -> None:
        with self._lock:
            self._lay_down(run)
            run.aside = True
            self._dispatch()

    def _return(self, run: Run[W, T]) -> bool:
        with self._lock:
            run.aside = False
            run.waits = True
            self._dispatch()
            while run not in self._busy:
                run.turn.wait()
            run.stopped = not any(run.wants())
            return run.stopped

    def _pass_on(self, run: Run[W, T]) -> bool:
        with self._lock:
            self._lay_down(run)
            return self._return(run)

    @contextmanager
    def _loading(self, resource: Hashable) -> Iterator[None]:
        with self._lock:
            self._loads[resource] += 1
        waiting: list[Job[W, T]] = []
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Cancelled):
                with self._lock:
                    waiting = [job for job in self._jobs.values() if job.run is None and job.work.resource == resource]
                    for job in waiting:
                        del self._jobs[job.work.key]
                for job in waiting:
                    _settle(job, error)
            raise
        finally:
            with self._lock:
                self._loads[resource] -= 1
                self._dispatch()

    def _work(self, run: Run[W, T]) -> None:
        outcomes: Sequence[T | BaseException]
        try:
            outcomes = self._compute([job.work for job in run.jobs], Turn(self, run))
        except BaseException as error:  # noqa: BLE001 - the queue must survive whatever fails, sys.exit included
            outcomes = [error] * len(run.jobs)
        with self._lock:
            if run in self._busy:
                self._lay_down(run)
            self._runs.remove(run)
            for job in run.jobs:
                if self._jobs.get(job.work.key) is job:
                    del self._jobs[job.work.key]  # from here on nobody can join
            if not self._jobs:
                self._users.clear()  # nobody waits: all start level again
                self._level = 0.0
            self._dispatch()
            self._threads.discard(threading.current_thread())
        for job, outcome in zip(run.jobs, outcomes, strict=True):
            _settle(job, outcome)


def _before(order: Order, other: Order) -> bool:
    """Tell whether one comes before the other in the same batch."""
    return order[:2] == other[:2] and order < other


def _listener(progress: Callable[[int, float, Any], None], position: int) -> Callable[[float, Any], None]:
    return lambda fraction, preview: progress(position, fraction, preview)


def _settle(job: Job[Any, T], outcome: T | BaseException) -> None:
    if isinstance(outcome, BaseException) and not isinstance(outcome, (Cancelled, UserError)):
        _log.error("explaining failed", exc_info=outcome)
        plain = UserError(f"The explanation failed: {type(outcome).__name__}: {outcome}")
        plain.__cause__ = outcome
        outcome = plain
    for want in job.all_wants:
        with suppress(InvalidStateError):  # cancelled at the last moment
            if isinstance(outcome, Cancelled):
                want.future.cancel()
            elif isinstance(outcome, BaseException):
                want.future.set_exception(outcome)
            else:
                want.future.set_result(outcome)
