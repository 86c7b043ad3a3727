"""The same warehouse from the workers of a Dask cluster as from this process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import etl
import warehouse
from etl import dask_client
from warehouse.errors import UserError
from warehouse.folder import Folder
from warehouse.parts import PartStore

distributed = pytest.importorskip("distributed", reason="Dask (extra 'cluster') is not installed")

MODELS = ["demo:squeezenet1_1", "demo:shufflenet_v2_x1_0"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The demo's pictograms: 256 images of 64 classes."""
    return f"demo:{tmp_path_factory.mktemp('demo') / 'images'}?images_per_class=4"


def run(images, target, **options):
    settings = {"device": "cpu", "image_layout": False, "shard_size": 32, "progress": False}
    return etl.run(images, MODELS, target, **settings | options)


def predictions(target):
    query = "select model, image_id, predicted_class_id, round(confidence, 4) from predictions order by 1, 2"
    with warehouse.open(target) as opened:
        return opened.sql(query).fetchall()


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """What one process computes."""
    target = tmp_path_factory.mktemp("alone") / "w"
    run(images, target)
    return predictions(target)


def test_processes_of_this_machine_compute_the_same(images, tmp_path, alone, capfd):
    report = run(images, tmp_path / "w", cluster="local:2", progress=True)
    assert (report.status, report.computed) == ("finished", len(alone))
    assert predictions(tmp_path / "w") == alone
    assert "Dask's dashboard is at http://127.0.0.1:" in capfd.readouterr().err
    with warehouse.open(tmp_path / "w") as opened:
        assert all(row[0] > 0 for row in opened.sql("select latency_ms from models").fetchall())
        [(command,)] = opened.sql("select command from runs").fetchall()
    assert "--cluster local:2" in command
    assert run(images, tmp_path / "w", cluster="local:2").computed == 0


def test_one_of_two_workers_is_killed(images, tmp_path, alone):
    """Its units are computed by the other one, none is lost and none is there twice."""
    killed = threading.Event()
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def kill(progress):
            if progress.images_done and not killed.is_set():
                killed.set()
                cluster.workers[0].process.process.kill()

        report = run(images, tmp_path / "w", cluster=cluster.scheduler_address, progress=kill)
    assert killed.is_set()
    assert (report.status, report.failed) == ("finished", {})
    assert predictions(tmp_path / "w") == alone
    store = PartStore(Folder(tmp_path / "w"))
    assert all(len(store.names("predictions", key)) == 8 for key in store.names("models", "_"))


def test_two_runs_on_one_cluster_do_not_disturb_each_other(images, tmp_path, alone):
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        ThreadPoolExecutor(2) as pool,
    ):
        targets = [tmp_path / name for name in ("a", "b")]
        reports = pool.map(lambda target: run(images, target, cluster=cluster.scheduler_address), targets)
        assert [(report.status, report.failed) for report in reports] == [("finished", {})] * 2
    assert [predictions(target) for target in targets] == [alone] * 2


def test_a_worker_with_other_weights_is_not_believed(images, tmp_path, monkeypatch):
    """A checkpoint that differs on the worker's machine: here the client's differs from that of all processes."""
    from etl.models.demo import DemoModels

    monkeypatch.setattr(DemoModels, "fingerprint", lambda _self, name: f"my own {name}")
    report = run(images, tmp_path / "w", cluster="local:1")
    assert report.status == "finished with errors"
    assert all("are not those that the run began with" in why for why in report.failed.values())
    assert len(report.failed) == len(MODELS)


@pytest.mark.parametrize("address", ["local:", "local:0", "local:-1", "local:many"])
def test_a_wrong_number_of_processes_is_one_sentence(images, tmp_path, address):
    with pytest.raises(UserError, match=r"must be local:N .*, not local:"):
        run(images, tmp_path / "w", cluster=address)


def test_nobody_at_the_address_is_said_so(images, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_client, "CONNECT_WITHIN", 0.5)
    with pytest.raises(UserError, match="No Dask scheduler answers at"):
        run(images, tmp_path / "w", cluster="tcp://127.0.0.1:9")
