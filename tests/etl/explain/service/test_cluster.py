"""Computing on a Dask cluster: what can go wrong with it."""

from __future__ import annotations

import builtins

import pytest

from etl import dask_client
from etl.explain.requests import Request
from etl.explain.service import connect
from warehouse.errors import UserError

distributed = pytest.importorskip("distributed", reason="Dask (extra 'cluster') is not installed")
WAIT = 90.0


def test_nobody_at_the_address_is_said_so(folder, monkeypatch):
    monkeypatch.setattr(dask_client, "CONNECT_WITHIN", 0.5)
    with pytest.raises(UserError, match="No Dask scheduler answers at"):
        connect(folder, "tcp://127.0.0.1:9")


def test_without_dask_it_is_said_what_to_install(folder, monkeypatch):
    plain = builtins.__import__

    def without(name, *rest):
        if name == "distributed":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"vacpanel\[cluster\]"):
        connect(folder, "tcp://127.0.0.1:8786")


def test_gpus_that_workers_declare_are_used_one_at_a_time(folder, models):
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=4, resources={"GPU": 1}, dashboard_address=None
        ) as local,
        connect(folder, local.scheduler_address) as service,
    ):
        assert service._engine.slots == 1
        assert service._engine.batch > 1
        futures = service.request_many([Request(models[0], i, target=1) for i in range(6)])
        assert [future.result(WAIT).image_id for future in futures] == list(range(6))


def test_a_worker_that_is_killed_is_replaced(folder, models, until):
    begun = []
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as local,
        connect(folder, local.scheduler_address) as service,
    ):
        request = Request(models[0], 1, "bbmp", target=0, parameters={"iterations": 100_000})
        future = service.request(request, lambda *what: begun.append(what))
        until(lambda: begun)
        local.workers[0].process.process.kill()  # its nanny starts another one
        begun.clear()
        until(lambda: begun)
        assert future.cancel()
        assert service.request(Request(models[0], 2, target=0)).result(WAIT).image_id == 2
