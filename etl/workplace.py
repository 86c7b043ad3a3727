"""Where a run has its units computed: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from etl.dask_client import connected, gpus, slots
from etl.devices import choose_device
from etl.station import Assignment, Outcome, Station, Unit
from warehouse.errors import UserError
from warehouse.parts import PartStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etl.models import LoadedModel
    from etl.registry import Shard

_TOGETHER = 2
"""Units in work in this process: one is decoded while the other is predicted."""


class Workplace(ABC):
    """Computes units on an executor, a few ahead of what the run waits for.

    Parameters
    ----------
    executor
        Runs them.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @property
    @abstractmethod
    def ahead(self) -> int:
        """Largest number of units worth submitting before one is waited for."""

    @abstractmethod
    def submit(self, unit: Unit) -> Future[list[Outcome]]:
        """Have a unit computed."""

    @abstractmethod
    def latency_ms(self, model: Assignment, shards: list[Shard]) -> float:
        """Measure the time of one image's forward pass, in milliseconds, where the units are computed."""

    def outcomes(self, future: Future[list[Outcome]], unit: Unit) -> list[Outcome]:  # noqa: ARG002 - for the cluster
        """Return what came of a unit that is done.

        Raises
        ------
        UserError
            If nothing can be computed any more: a full disk, a cluster that is gone.
        """
        return future.result()

    def prepare(self, model: Assignment, loaded: LoadedModel) -> None:  # noqa: B027 - a cluster loads models itself
        """Take over a model that is loaded already."""

    def forget(self) -> None:  # noqa: B027 - a cluster's workers decide that themselves
        """Let go of the models; the next units have others."""


class _Here(Workplace):
    """Threads of this process."""

    def __init__(self, executor: Executor, station: Station) -> None:
        super().__init__(executor)
        self._station = station

    @property
    def ahead(self) -> int:
        return _TOGETHER

    def submit(self, unit: Unit) -> Future[list[Outcome]]:
        return self._executor.submit(self._station.compute, unit)

    def latency_ms(self, model: Assignment, shards: list[Shard]) -> float:
        return self._station.latency_ms(model, shards)

    def prepare(self, model: Assignment, loaded: LoadedModel) -> None:
        self._station.hold(model, loaded)

    def forget(self) -> None:
        self._station.drop()


class _OnCluster(Workplace):
    """Workers of a Dask cluster. They find images and weights under the paths that this machine knows them by."""

    def __init__(self, client: Any, location: str, device: str) -> None:
        self._client = client
        self._location = location
        self._device = device
        # A unit that was lost with its worker is computed again by another one.
        super().__init__(client.get_executor(pure=False, resources={"GPU": 1} if gpus(client) else None))

    @property
    def ahead(self) -> int:
        return 2 * slots(self._client)

    def submit(self, unit: Unit) -> Future[list[Outcome]]:
        return self._executor.submit(compute_here, unit, self._location, self._device)

    def latency_ms(self, model: Assignment, shards: list[Shard]) -> float:
        future = self._executor.submit(measure_here, model, shards, self._location, self._device)
        return self._answer(future)

    def outcomes(self, future: Future[list[Outcome]], unit: Unit) -> list[Outcome]:
        from distributed.scheduler import KilledWorker

        try:
            return self._answer(future)
        except KilledWorker:
            why = f"several workers died while they computed it over {unit.shard.name}; perhaps of lack of memory"
            return [Outcome(model.key, 0, 0.0, why) for model in unit.models]

    @staticmethod
    def _answer(future: Future[Any]) -> Any:
        from distributed.scheduler import KilledWorker

        try:
            return future.result()
        except (UserError, KilledWorker):
            raise
        except Exception as error:
            raise UserError(f"The cluster could not compute this: {type(error).__name__}: {error}") from error


@contextmanager
def workplace(
    cluster: str | None, store: PartStore, device: str, stopped: Callable[[], bool], say: Callable[[str], None]
) -> Iterator[Workplace]:
    """Open the place where a run's units are computed.

    Parameters
    ----------
    cluster
        See :func:`etl.dask_client.connected`; None for this process.
    store
        The warehouse's parts.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:0"``; on a cluster each worker has its own.
    stopped
        Whether units that have not begun should not begin.
    say
        Is told the address of the cluster's own dashboard.
    """
    if cluster is None:
        station = Station(store, choose_device(device), stopped)
        with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="predict") as executor:
            try:
                yield _Here(executor, station)
            except BaseException:
                station.abort()  # Ctrl-C pressed twice, or a disk that is full: nobody waits for the unit
                raise
            finally:
                executor.shutdown(wait=True, cancel_futures=True)
                station.close()
        return
    with connected(cluster) as client:
        say(f"Dask's dashboard is at {client.dashboard_link}")
        yield _OnCluster(client, store.location, device)


# On a worker ----------------------------------------------------------------------------------------------------------

_stations: dict[tuple[str, str], Station] = {}
_lock = threading.Lock()


def compute_here(unit: Unit, location: str, device: str) -> list[Outcome]:
    """Compute a unit on a Dask worker, see :meth:`etl.station.Station.compute`.

    Parameters
    ----------
    unit
        What to compute.
    location
        Where the parts go, see :class:`warehouse.parts.PartStore`.
    device
        See :func:`etl.devices.choose_device`.
    """
    return _station(location, device).compute(unit)


def measure_here(model: Assignment, shards: list[Shard], location: str, device: str) -> float:
    """Measure a model on a Dask worker, see :meth:`etl.station.Station.latency_ms`."""
    return _station(location, device).latency_ms(model, shards)


def _station(location: str, device: str) -> Station:
    with _lock:
        key = (location, device)
        if key not in _stations:
            # Runs that ended do not say so, others may be at work: those load their models again.
            for station in _stations.values():
                station.drop()
            _stations[key] = Station(PartStore(location), choose_device(device))
        return _stations[key]
