"""What the explanation service promises, wherever it computes: in this process, in a shared one, on a Dask cluster."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

import warehouse
from etl.explain.requests import Request
from etl.explain.service import ExplanationService, connect
from etl.explain.shared import SharedEngine
from warehouse.errors import UserError
from warehouse.publish import publish

WAIT = 60.0
LONG = {"iterations": 100_000}


@pytest.fixture(scope="module", params=["local", "shared", "cluster"])
def service(request, built, tmp_path_factory):
    """A service over a warehouse of its own; tests share it, and ask for different things."""
    folder = tmp_path_factory.mktemp(request.param) / "w"
    shutil.copytree(built[0], folder, symlinks=True)
    for file in folder.glob("explanations.sqlite*"):
        file.unlink()
    publish(folder, force=True)
    if request.param == "local":
        with ExplanationService(folder, device="cpu") as made:
            yield made
    elif request.param == "shared":
        with ExplanationService(folder, engine=lambda at, _kept: SharedEngine(at, "cpu", grace=0.5)) as made:
            yield made
    else:
        distributed = pytest.importorskip("distributed", reason="Dask (extra 'cluster') is not installed")
        with (
            distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
            connect(folder, cluster.scheduler_address) as made,
        ):
            yield made


def _settled(service, until):
    """Wait until no more passes are made."""
    counts = []

    def still():
        counts.append(service.forwards)
        time.sleep(0.3)
        return len(counts) > 1 and counts[-1] == counts[-2]

    until(still)
    return counts[-1]


def test_maps_are_those_of_this_process(service, folder, models):
    requests = [Request(model, 1, target=class_id) for model in models for class_id in range(3)]
    found = [future.result(WAIT) for future in service.request_many(requests)]
    with ExplanationService(folder, device="cpu") as local:
        for one, future in zip(found, local.request_many(requests), strict=True):
            other = future.result(WAIT)
            assert (one.digest, one.model, one.image_id, one.flags) == (
                other.digest,
                other.model,
                other.image_id,
                other.flags,
            )
            np.testing.assert_allclose(one.map, other.map, atol=1e-5)
            assert one.measures == pytest.approx(other.measures, abs=1e-4, nan_ok=True)
            assert not one.cached


def test_the_second_request_costs_no_pass(service, models):
    first = service.request(Request(models[0], 2, target=1)).result(WAIT)
    passes = service.forwards
    again = service.request(Request(models[0], 2, target=1))
    assert again.done()
    assert again.result().cached
    np.testing.assert_array_equal(again.result().map, first.map)
    assert service.forwards == passes


def test_equal_requests_cost_one_pass(service, models, until):
    service.request(Request(models[0], 3, target=0)).result(WAIT)  # loaded
    passes = _settled(service, until)
    futures = [service.request(Request(models[0], 3, target=1), client=client) for client in "abc"]
    assert len({id(future) for future in futures}) == 3
    assert {future.result(WAIT).digest for future in futures} == {futures[0].result().digest}
    assert service.forwards == passes + 1


def test_progress_comes_with_maps_and_says_of_which_request(service, models):
    seen = []
    requests = [Request(models[0], 4, target=0), Request(models[0], 4, "bbmp", target=0, parameters={"iterations": 40})]
    for future in service.request_many(requests, lambda *what: seen.append(what)):
        future.result(WAIT)
    fractions = [fraction for position, fraction, _ in seen if position == 1]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    maps = [preview for position, _, preview in seen if position == 1 and preview is not None]
    assert maps
    assert all(m.dtype == np.float32 and m.ndim == 2 and 0 <= m.min() <= m.max() <= 1 for m in maps)


def test_cancelling_stops_what_runs(service, models, until):
    seen = []
    request = Request(models[0], 5, "bbmp", target=0, parameters=LONG)
    future, joined = (service.request(request, lambda *what: seen.append(what), client=name) for name in "ab")
    until(lambda: len(seen) > 4)
    assert future.cancel()
    until(lambda: seen.append(None) or len(seen) > 8)
    assert not joined.done()  # somebody still waits
    assert joined.cancel()
    passes = _settled(service, until)
    heard = len(seen)
    with pytest.raises(CancelledError):
        future.result(WAIT)
    assert service.request(Request(models[0], 5, target=0)).result(WAIT).image_id == 5
    assert service.forwards == passes + 1
    assert len(seen) == heard


def test_a_long_task_does_not_hold_up_another_user(service, models, until):
    service.request(Request(models[1], 0, target=0)).result(WAIT)
    begun = []
    request = Request(models[0], 0, "bbmp", target=0, parameters=LONG)
    long = service.request(request, lambda *what: begun.append(what), client="one")
    until(lambda: begun)
    assert service.request(Request(models[1], 0, target=1), client="other").result(WAIT).target_class_id == 1
    assert not long.done()
    assert long.cancel()
    _settled(service, until)


def test_a_model_that_cannot_be_loaded_fails_alone_and_is_tried_again(service, models, checkpoint):
    content = checkpoint.file.read_bytes()
    checkpoint.file.unlink()
    bad, good = service.request_many([Request(checkpoint.model, 2, target=0), Request(models[1], 2, target=0)])
    with pytest.raises(UserError, match=r"shufflenet.* cannot be explained"):
        bad.result(WAIT)
    assert good.result(WAIT).model == models[1]
    checkpoint.file.write_bytes(content)
    assert service.request(Request(checkpoint.model, 2, target=0)).result(WAIT).model == checkpoint.model


def test_an_image_that_cannot_be_read_fails_alone(service, folder, models):
    with warehouse.open(folder) as held:
        file = held.image(3).file
    content = file.read_bytes()
    file.write_bytes(b"no image")
    try:
        bad, good = service.request_many([Request(models[0], i, target=2) for i in (3, 4)])
        with pytest.raises(UserError, match=f"The image .*{file.name} cannot be explained: not an image"):
            bad.result(WAIT)
        assert good.result(WAIT).image_id == 4
    finally:
        file.write_bytes(content)


def test_what_becomes_visible_can_be_promoted(service, models):
    futures = service.request_many([Request(models[1], i, target=2) for i in range(5)], priority=1)
    service.promote(futures[3:])
    assert [future.result(WAIT).image_id for future in futures] == list(range(5))


def test_a_file_is_explained_and_not_stored(service, folder, models):
    with warehouse.open(folder) as held:
        file = held.image(0).file
    for _ in range(2):
        (future,) = service.request_file(file, [models[0]], target=1)
        assert (future.result(WAIT).image_id, future.result().cached) == (-1, False)


def test_wrong_requests_fail_at_once(service, models):
    future = service.request(Request(models[0], 999))
    with pytest.raises(UserError, match="no image 999"):
        future.result(0)
