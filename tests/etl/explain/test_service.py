"""Explanations on demand, over a real warehouse of two small networks with random weights."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import etl
import warehouse
from etl.explain import explain
from etl.explain.bbmp import BBMP
from etl.explain.measures import measure
from etl.explain.requests import Request
from etl.explain.service import ExplanationService
from etl.images import read_image
from etl.models import resolve
from warehouse.errors import UserError
from warehouse.maps import MapStore
from warehouse.publish import publish

WAIT = 60.0
CLASSES = ("cat", "dog", "owl")
NETWORKS = ("squeezenet1_1", "mobilenet_v3_small")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of a warehouse, and the names of its models."""
    root = tmp_path_factory.mktemp("service")
    random = np.random.default_rng(0)
    for name in CLASSES:
        (root / "images" / name).mkdir(parents=True)
        for i in range(2):
            pixels = random.integers(0, 256, (80, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{i}.png")
    models = []
    for name in NETWORKS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            network = torchvision.models.get_model(name, num_classes=len(CLASSES))
        torch.save(network.state_dict(), root / f"{name}.pth")
        models.append(f"torchvision:{name}@{root / name}.pth")
    report = etl.run(root / "images", models=models, warehouse=root / "w", device="cpu", image_layout=False)
    assert not report.failed
    return root / "w", models


@pytest.fixture
def folder(built):
    """The warehouse without any explanation."""
    for file in built[0].glob("explanations.sqlite*"):
        file.unlink()
    return built[0]


@pytest.fixture
def models(built):
    return built[1]


@pytest.fixture
def service(folder):
    with ExplanationService(folder, device="cpu") as made:
        yield made


def _block(service):
    """Hold the worker until the returned event is set, so that requests queue up."""
    started, release = threading.Event(), threading.Event()

    def work(context):
        started.set()
        assert release.wait(WAIT)

    service._scheduler.submit("block", work, (service._scheduler.batch(), 0))
    assert started.wait(WAIT)
    return release


def _speaking(service, model, image_id):
    """An explanation that is not constant: of the first class that has one."""
    requests = [Request(model, image_id, target=class_id) for class_id in range(len(CLASSES))]
    return next(f.result(WAIT) for f in service.request_many(requests) if not f.result(WAIT).flags)


def test_equals_explain(service, folder, models):
    found = _speaking(service, models[0], 2)
    target = found.target_class_id
    loaded = resolve(models[0]).load()
    with warehouse.open(folder) as held:
        image = held.image(2)
        row = held.predictions([models[0]], [2])
    x = loaded.preprocess.batch(loaded.preprocess.pixels(read_image(image.file).image)[None])
    expected = explain(loaded.module, x, torch.tensor([target]))[0].numpy()
    np.testing.assert_allclose(found.attention(*expected.shape), expected, atol=1e-3)
    assert found.map.dtype == np.float32
    assert found.map.shape == (13, 13)
    assert (found.cached, found.flags) == (False, ())
    assert found.predicted_class_id == row["predicted_class_id"][0]
    assert found.confidence == pytest.approx(row["confidence"][0], abs=1e-4)
    assert found.roi_area == pytest.approx(np.mean(expected >= 0.5), abs=1e-3)
    assert found.measures == pytest.approx(measure(expected), abs=1e-3)


def test_the_view_is_what_the_model_saw(service, folder, models):
    loaded = resolve(models[1]).load()
    with warehouse.open(folder) as held:
        file = held.image(3).file
    expected = loaded.preprocess.pixels(read_image(file).image).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(service.view(models[1], 3), expected)
    assert service.forwards == 0
    with pytest.raises(UserError):
        service.view(models[1], 999)


def test_targets(service, folder, models):
    with warehouse.open(folder) as held:
        predicted = int(held.predictions([models[0]], [4])["predicted_class_id"][0])
        true = held.image(4).class_id
    asked = {"predicted": predicted, "true": true, 0: 0}
    for target, class_id in asked.items():
        assert service.request(Request(models[0], 4, target=target)).result(WAIT).target_class_id == class_id
    # Asked in other words it is the same map.
    before = service.forwards
    assert service.request(Request(models[0], 4, target=true)).result(WAIT).cached
    assert service.forwards == before


def test_identical_requests_cost_one_forward_pass(service, models):
    release = _block(service)
    futures = [service.request(Request(models[0], 1)) for _ in range(4)]
    release.set()
    digests = {future.result(WAIT).digest for future in futures}
    assert len(digests) == 1
    assert service.forwards == 1


def test_the_store_answers_the_second_time_and_after_a_restart(folder, models):
    with ExplanationService(folder, device="cpu") as service:
        first = service.request(Request(models[0], 1)).result(WAIT)
        again = service.request(Request(models[0], 1))
        assert again.done()  # at once, not from the worker
        assert service.forwards == 1
    with ExplanationService(folder, device="cpu") as service:
        stored = service.request(Request(models[0], 1)).result(WAIT)
        assert service.forwards == 0
    for other in (again.result(), stored):
        assert other.cached
        assert not first.cached
        np.testing.assert_array_equal(other.map, first.map)
        assert (other.measures, other.flags, other.seconds) == (first.measures, first.flags, first.seconds)


def test_what_matters_is_part_of_the_key(service, models):
    requests = [
        Request(models[0], 1, target=0),
        Request(models[0], 1, target=1),
        Request(models[0], 3, target=0),
        Request(models[1], 1, target=0),
    ]
    digests = {future.result(WAIT).digest for future in service.request_many(requests)}
    assert len(digests) == len(requests)
    assert service.forwards == len(requests)


def test_newest_first_and_the_order_within_a_batch(service, models):
    release, order = _block(service), []
    old = service.request_many([Request(models[0], i, target=0) for i in (0, 1)])
    new = service.request_many([Request(models[0], i, target=0) for i in (2, 3)])
    for i, future in enumerate(old + new):
        future.add_done_callback(lambda _future, i=i: order.append(i))
    release.set()
    wait(old + new, WAIT)
    assert order == [2, 3, 0, 1]


def test_cancelled_requests_are_not_computed(service, models):
    release = _block(service)
    cancelled = [service.request(Request(models[0], i, target=2)) for i in range(3)]
    shared = [service.request(Request(models[0], 5, target=2)) for _ in range(2)]
    for future in (*cancelled, shared[0]):
        assert future.cancel()
    release.set()
    assert shared[1].result(WAIT).target_class_id == 2
    with pytest.raises(CancelledError):
        cancelled[0].result(WAIT)
    assert service.request(Request(models[0], 4, target=2)).result(WAIT).image_id == 4
    assert service.forwards == 2


def test_a_failing_model_fails_alone(service, built, models, tmp_path, monkeypatch):
    checkpoint = built[0].parent / f"{NETWORKS[0]}.pth"
    aside = checkpoint.rename(tmp_path / "aside.pth")
    try:
        bad, good = service.request_many([Request(models[0], 1, target=0), Request(models[1], 1, target=0)])
        with pytest.raises(UserError, match=f"{NETWORKS[0]}.* cannot be explained"):
            bad.result(WAIT)
        assert good.result(WAIT).target_class_id == 0
    finally:
        aside.rename(checkpoint)
    assert service.request(Request(models[0], 1, target=0)).result(WAIT).model == models[0]


def test_a_model_that_crashes_fails_alone(service, models, monkeypatch):
    def crash(*_args, **_more):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("etl.explain.grad_cam.grad_cam_map", crash)
    with pytest.raises(UserError, match="ZeroDivisionError: on purpose"):
        service.request(Request(models[0], 1)).result(WAIT)
    monkeypatch.undo()
    assert service.request(Request(models[0], 1)).result(WAIT).image_id == 1


def test_other_weights_than_those_of_the_predictions_are_refused(service, built, models, tmp_path):
    checkpoint = built[0].parent / f"{NETWORKS[0]}.pth"
    original = checkpoint.read_bytes()
    try:
        torch.save({k: v + 1 for k, v in torch.load(checkpoint, weights_only=True).items()}, checkpoint)
        with pytest.raises(UserError, match="weights are not those of its predictions"):
            service.request(Request(models[0], 1)).result(WAIT)
    finally:
        checkpoint.write_bytes(original)


def test_a_changed_image_is_refused(service, folder, models):
    with warehouse.open(folder) as held:
        file = held.image(3).file
    original = file.read_bytes()
    try:
        Image.new("RGB", (80, 90)).save(file)
        with pytest.raises(UserError, match="has changed since"):
            service.request(Request(models[0], 3)).result(WAIT)
    finally:
        file.write_bytes(original)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "torchvision:resnet999"}, "resnet999"),
        ({"image_id": 999}, "no image 999"),
        ({"method": "grad-kam"}, "grad-kam"),
        ({"target": 3}, "no class 3"),
        ({"target": "cat"}, "'predicted', 'true' or a class id"),
        ({"parameters": {"samples": 2}}, "no parameter 'samples'"),
    ],
)
def test_wrong_requests_fail_at_once_with_a_sentence(service, models, change, words):
    values = {"model": models[0], "image_id": 1, "method": "grad-cam", "target": 0, **change}
    future = service.request(Request(**values))
    assert future.done()
    with pytest.raises(UserError, match=words):
        future.result()


def test_models_leave_when_the_memory_is_spent(folder, models):
    with ExplanationService(folder, device="cpu", memory=1) as service:
        for model in models:
            service.request(Request(model, 1, target=0)).result(WAIT)
        assert len(service._models) == 1
    with ExplanationService(folder, device="cpu") as service:
        for model in models:
            service.request(Request(model, 1, target=1)).result(WAIT)
        assert len(service._models) == 2


def test_maps_appear_in_the_warehouse_at_the_next_publish(service, folder, models):
    found = _speaking(service, models[1], 2)
    publish(folder)
    with warehouse.open(folder) as held:
        row = held.sql(
            "SELECT model, image_id, method, target_class_id, roi_area, entropy, total_variation FROM explanations"
            " WHERE target_class_id = ?",
            [found.target_class_id],
        ).fetchall()
    measures = [found.measures[name] for name in ("roi_area", "entropy", "total_variation")]
    assert row == [(models[1], 2, "grad-cam", found.target_class_id, *measures)]


def test_a_constant_map_is_flagged(service, models, monkeypatch):
    monkeypatch.setattr("etl.explain.grad_cam.grad_cam_map", lambda a, g: torch.zeros_like(a[:, 0]))
    found = service.request(Request(models[0], 1)).result(WAIT)
    assert found.flags == ("constant map",)
    assert not found.map.any()
    assert found.roi_area == 0
    stored = service.request(Request(models[0], 1)).result(WAIT)
    assert stored.cached
    assert stored.flags == found.flags


def test_long_methods_report_progress_and_can_be_stopped(service, models, monkeypatch):
    method = BBMP()
    monkeypatch.setattr("etl.explain.task.load_method", lambda name: method)
    seen, first = [], threading.Event()

    def progress(fraction, heatmap):
        seen.append((fraction, heatmap))
        first.set()

    request = Request(models[0], 1, "bbmp", target=0, parameters={"iterations": 100_000})
    future = service.request(request, progress)
    assert first.wait(WAIT)
    assert future.cancel()
    assert service.request(Request(models[0], 1, "bbmp", target=0, parameters={"iterations": 2})).result(WAIT)
    assert seen[0] == (0.0, None)
    assert all(0 <= fraction < 1 for fraction, _ in seen)


def test_closing_cancels_what_waits(folder, models):
    service = ExplanationService(folder, device="cpu")
    release = _block(service)
    future = service.request(Request(models[0], 1))
    release.set()
    service.close()
    assert future.done()


def test_two_services_share_the_store(folder, models):
    with ExplanationService(folder, device="cpu") as one, ExplanationService(folder, device="cpu") as other:
        one.request(Request(models[0], 1)).result(WAIT)
        assert other.request(Request(models[0], 1)).result(WAIT).cached
        assert other.forwards == 0
        with MapStore(folder / "explanations.sqlite") as store:
            assert len(store) == 1


def test_no_warehouse_is_said_so(tmp_path):
    with pytest.raises(UserError):
        ExplanationService(tmp_path / "nothing")
