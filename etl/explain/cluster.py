"""Explanations computed by the workers of a Dask cluster."""

from __future__ import annotations

import math
import threading
import time
import uuid
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from etl import dask_client
from etl.explain.computer import PREVIEW_EVERY, Computer
from etl.explain.engine import BATCH_ON_GPU, best_batch
from etl.explain.protocol import Cancelled
from etl.explain.requests import Explanation
from etl.explain.scheduler import Scheduler, Turn
from etl.explain.task import Task
from warehouse.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from etl.explain.kept import KeptMaps
    from warehouse.maps import StoredMap

POLL = 0.1
"""Seconds between two looks at whether a result is there, or is still wanted."""

TOPIC = "vacpanel-explanations"
"""Dask event topic of progress. One for all, since a scheduler keeps the last events of every topic there ever was."""

PREVIEW_SIDE = 64
"""Pixels of a preview's longer side at most."""


class ClusterEngine(Scheduler[Task, Explanation]):
    """Sends work to a Dask cluster, no more at a time than its workers can take on; the queue stays in this process.

    Order and fairness between users are those of :class:`etl.explain.scheduler.Scheduler`, but work that a worker has
    begun is not interrupted for others: they wait until a worker is free. Workers keep models ready, find images and
    weights under the paths that this machine knows them by, and take one piece of work at a time for each GPU if they
    declare the resource ``GPU``, else for each thread. Results go into the store from here.

    Parameters
    ----------
    address
        Of the Dask scheduler, such as ``"tcp://gpu-server:8786"``.
    kept
        The store of maps.

    Raises
    ------
    UserError
        If Dask is not installed, or nobody answers at the address.
    """

    def __init__(self, address: str, kept: KeptMaps) -> None:
        self._client = dask_client.connect(address)
        self._turns: dict[str, Turn] = {}
        self._client.subscribe_topic(TOPIC, self._hear)
        self._resources: dict[str, float] = {}
        super().__init__(
            lambda tasks, turn: kept.answer(tasks, partial(self._explain, turn=turn)), f"explain on {address}"
        )
        self._look_at_workers()

    @property
    def forwards(self) -> int:
        """Images that went forward through the workers' models so far, for whomever."""
        return sum(self._client.run(_forwards).values())

    def close(self, timeout: float = 10.0) -> None:
        """Cancel all requests and leave the cluster."""
        super().close(timeout)
        self._client.close()

    def _look_at_workers(self) -> None:
        """Adapt to workers that came or went."""
        gpus = dask_client.gpus(self._client)
        self._resources = {"GPU": 1} if gpus else {}
        self.slots = dask_client.slots(self._client)
        self.batch = max(1, BATCH_ON_GPU // gpus) if gpus else 1

    def _explain(self, tasks: list[Task], turn: Turn) -> list[StoredMap | BaseException]:
        key = f"vacpanel-{uuid.uuid4().hex}"
        done = threading.Event()
        self._turns[key] = turn
        try:
            self._look_at_workers()
            future = self._client.submit(
                explain_here, tasks, self._client.id, key, key=key, pure=False, resources=self._resources or None
            )
            future.add_done_callback(lambda _future: done.set())
            while not done.wait(POLL):
                if not turn.wanted():
                    future.cancel()
                    return [Cancelled() for _ in tasks]
            found: list[StoredMap | BaseException] = future.result()
        except Exception as error:
            raise UserError(f"The cluster could not compute this: {type(error).__name__}: {error}") from error
        finally:
            del self._turns[key]
        return found

    def _hear(self, event: tuple[float, Any]) -> None:
        _, (key, fraction, of, shape, data) = event
        turn = self._turns.get(key)
        if turn is not None:
            preview = np.frombuffer(data, np.float16).reshape(shape).astype(np.float32) if data else None
            turn.report(fraction, None if preview is None else {of: preview})


# On a worker ----------------------------------------------------------------------------------------------------------

_lock = threading.Lock()
_here: list[tuple[Computer, Scheduler[Task, StoredMap]]] = []


def explain_here(tasks: list[Task], user: str, key: str) -> list[StoredMap | BaseException]:
    """Compute maps on a Dask worker, with the models that its process keeps ready.

    Parameters
    ----------
    tasks
        What to compute.
    user
        Who asks: those whose work a worker with several threads does at the same time take turns.
    key
        Of the Dask task that calls; it is stopped when Dask no longer wants it.

    Returns
    -------
    list of StoredMap or BaseException
        One for each task.
    """
    import distributed

    worker = distributed.get_worker()
    scheduler = _computer()[1]
    futures = scheduler.submit(tasks, user, progress=_Teller(worker, key, tasks))
    while wait(futures, POLL).not_done:
        # The worker's own record; asking the scheduler would cost a message each time.
        state = worker.state.tasks.get(key)
        if state is None or state.state != "executing":
            for future in futures:
                future.cancel()
    return [Cancelled() if future.cancelled() else future.exception() or future.result() for future in futures]


def _computer() -> tuple[Computer, Scheduler[Task, StoredMap]]:
    with _lock:
        if not _here:
            from etl.devices import choose_device

            computer = Computer(choose_device("auto"))
            _here.append((computer, Scheduler(computer.explain, batch=best_batch(computer.device))))
        return _here[0]


def _forwards() -> int:
    return _computer()[0].forwards


class _Teller:
    """Tells all who listen about the progress of a Dask task, in small messages and not too many."""

    def __init__(self, worker: Any, key: str, tasks: list[Task]) -> None:
        self._worker = worker
        self._key = key
        self._tasks = tasks
        self._last: dict[int, float] = {}

    def __call__(self, position: int, fraction: float, preview: NDArray[np.float32] | None) -> None:
        # Previews come no more often than that already.
        if preview is None and time.monotonic() - self._last.get(position, -PREVIEW_EVERY) < PREVIEW_EVERY:
            return
        self._last[position] = time.monotonic()
        if preview is None:
            small = np.empty((0, 0), np.float16)
        else:
            every = math.ceil(max(preview.shape) / PREVIEW_SIDE)
            small = preview[::every, ::every].astype(np.float16)
        of = self._tasks[position].key
        self._worker.log_event(TOPIC, (self._key, fraction, of, small.shape, small.tobytes()))
