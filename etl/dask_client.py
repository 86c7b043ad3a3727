"""A Dask cluster: one that runs somewhere, or worker processes started here."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_WITHIN = 10.0
"""Seconds to find the scheduler."""

THREADS = 2
"""Units at a time that a worker process of this machine is given: one is decoded while the other is predicted."""

_LOCAL = "local:"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, and start it first if it is to be on this machine.

    Parameters
    ----------
    address
        Of a Dask scheduler, such as ``"tcp://gpu-server:8786"``; ``"local:4"`` starts four worker processes, which end
        with the context.

    Yields
    ------
    distributed.Client

    Raises
    ------
    UserError
        If Dask is not installed, nobody answers at the address, or it is none.
    """
    distributed = _distributed()
    if not address.startswith(_LOCAL):
        client = connect(address)
        try:
            yield client
        finally:
            client.close()
        return
    count = address.removeprefix(_LOCAL)
    if not (count.isascii() and count.isdigit() and int(count) >= 1):
        raise UserError(
            f"The cluster must be local:N with a number N, or an address such as tcp://host:8786, not {address}."
        )
    # Together the processes use each processor once.
    threads = str(max(1, (os.cpu_count() or 1) // int(count)))
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    with (
        distributed.LocalCluster(
            n_workers=int(count),
            threads_per_worker=THREADS,
            dashboard_address="127.0.0.1:0",
            env=environment,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def connect(address: str) -> Any:
    """Connect to a Dask scheduler.

    Returns
    -------
    distributed.Client

    Raises
    ------
    UserError
        If Dask is not installed, or nobody answers at the address.
    """
    distributed = _distributed()
    try:
        return distributed.Client(address, timeout=CONNECT_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"No Dask scheduler answers at {address}: {error}.") from error


def gpus(client: Any) -> int:
    """Count the units of the resource ``GPU`` that workers declare."""
    return int(sum(worker["resources"].get("GPU", 0) for worker in _workers(client)))


def slots(client: Any) -> int:
    """Count the tasks that the workers run at once: one for each GPU if there are some, else one for each thread."""
    return max(1, gpus(client) or sum(worker["nthreads"] for worker in _workers(client)))


def _workers(client: Any) -> list[dict[str, Any]]:
    return list(client.scheduler_info(n_workers=-1)["workers"].values())


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UserError("Computing on a cluster needs Dask: pip install 'vacpanel[cluster]'.") from error
    return distributed
