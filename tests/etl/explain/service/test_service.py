"""Explanations on demand, over a real warehouse of two small networks with random weights."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
import torch
from PIL import Image

import warehouse
from etl.explain import explain
from etl.explain.grad_cam import GradCAM
from etl.explain.measures import measure
from etl.explain.requests import Request
from etl.explain.service import ExplanationService
from etl.images import read_image
from etl.models import resolve
from warehouse.errors import UserError
from warehouse.maps import MapStore
from warehouse.publish import publish

WAIT = 60.0
CLASSES = 3


@pytest.fixture
def service(folder):
    with ExplanationService(folder, device="cpu") as made:
        yield made


BLOCKER = 2
"""Forward passes of `_block`: its own, and that of the Grad-CAM that follows."""


def _block(service, models, gated, **how):
    """Have the device in a pass, so that requests queue up until ``gated.release()``."""
    future = service.request(Request(models[0], 0, "gated", target=0), **how)
    gated.reached()
    return future


def _speaking(service, model, image_id):
    """An explanation that is not constant: of the first class that has one."""
    requests = [Request(model, image_id, target=class_id) for class_id in range(CLASSES)]
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


def test_what_the_warehouse_knows_is_not_asked_of_the_model_again(service, folder, models):
    smooth = {"method": "smooth-grad-cam++", "parameters": {"samples": 3}}
    with warehouse.open(folder) as held:
        said = held.predictions([models[0]], [4])
        file = held.image(4).file
    service.request(Request(models[0], 5, **smooth)).result(WAIT)  # once a model, a pass more measures what passes cost
    other = (int(said["predicted_class_id"][0]) + 1) % 3
    for target in ("predicted", other):
        before = service.forwards
        found = service.request(Request(models[0], 4, target=target, **smooth)).result(WAIT)
        assert service.forwards == before + 3
        assert found.predicted_class_id == said["predicted_class_id"][0]
        assert found.confidence == said["confidence"][0]
    # Of a file that it does not know, the model has to tell.
    before = service.forwards
    [asked] = service.request_file(file, models[:1], target=other, **smooth)
    told = asked.result(WAIT)
    assert service.forwards == before + 3 + 1
    np.testing.assert_allclose(told.map, found.map, rtol=1e-4, atol=1e-6)
    assert told.predicted_class_id == found.predicted_class_id
    assert told.confidence == pytest.approx(found.confidence, abs=1e-4)


def test_identical_requests_cost_one_forward_pass(service, models, gated):
    blocker = _block(service, models, gated)
    futures = [service.request(Request(models[0], 1), client=client) for client in "abcd"]
    gated.release()
    digests = {future.result(WAIT).digest for future in futures}
    assert len(digests) == 1
    blocker.result(WAIT)
    assert service.forwards == 1 + BLOCKER


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


def test_newest_first_and_the_order_within_a_batch(service, models, gated):
    order = []
    _block(service, models, gated)
    old = service.request_many([Request(models[0], i, target=0) for i in (0, 1)])
    new = service.request_many([Request(models[0], i, target=0) for i in (2, 3)])
    for i, future in enumerate(old + new):
        future.add_done_callback(lambda _future, i=i: order.append(i))
    service.promote([old[1]])
    gated.release()
    wait(old + new, WAIT)
    assert order == [1, 2, 3, 0]


def test_cancelled_requests_are_not_computed(service, models, gated):
    blocker = _block(service, models, gated)
    cancelled = [service.request(Request(models[0], i, target=2)) for i in range(3)]
    shared = [service.request(Request(models[0], 5, target=2)) for _ in range(2)]
    for future in (*cancelled, shared[0]):
        assert future.cancel()
    gated.release()
    assert shared[1].result(WAIT).target_class_id == 2
    with pytest.raises(CancelledError):
        cancelled[0].result(WAIT)
    assert service.request(Request(models[0], 4, target=2)).result(WAIT).image_id == 4
    blocker.result(WAIT)
    assert service.forwards == 2 + BLOCKER


def test_a_failing_model_fails_alone_and_is_tried_again(service, models, checkpoint):
    content = checkpoint.file.read_bytes()
    checkpoint.file.unlink()
    *bad, good = service.request_many(
        [*(Request(checkpoint.model, i, target=0) for i in (1, 2)), Request(models[1], 1, target=0)]
    )
    for future in bad:
        with pytest.raises(UserError, match=r"shufflenet.* cannot be explained"):
            future.result(WAIT)
    assert good.result(WAIT).target_class_id == 0
    checkpoint.file.write_bytes(content)
    assert service.request(Request(checkpoint.model, 1, target=0)).result(WAIT).model == checkpoint.model


def test_a_model_that_crashes_fails_alone(service, models, monkeypatch):
    def crash(*_args, **_more):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("etl.explain.grad_cam.grad_cam_map", crash)
    with pytest.raises(UserError, match="ZeroDivisionError: on purpose"):
        service.request(Request(models[0], 1)).result(WAIT)
    monkeypatch.undo()
    assert service.request(Request(models[0], 1)).result(WAIT).image_id == 1


def test_other_weights_than_those_of_the_predictions_are_refused(service, checkpoint):
    weights = torch.load(checkpoint.file, weights_only=True)
    torch.save({k: v + 1 for k, v in weights.items()}, checkpoint.file)
    with pytest.raises(UserError, match="weights are not those of its predictions"):
        service.request(Request(checkpoint.model, 1)).result(WAIT)


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
        assert len(service._engine.computer.models) == 1
    with ExplanationService(folder, device="cpu") as service:
        for model in models:
            service.request(Request(model, 1, target=1)).result(WAIT)
        assert len(service._engine.computer.models) == 2


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


def test_long_methods_report_progress_and_can_be_stopped(service, models):
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


def test_closing_stops_what_runs_and_cancels_what_waits(folder, models, gated):
    gated.endless = True
    service = ExplanationService(folder, device="cpu")
    running = _block(service, models, gated)
    waiting = service.request(Request(models[0], 1))
    gated.release(1)
    gated.reached()
    closing = threading.Thread(target=service.close)
    closing.start()
    assert not wait([running, waiting], WAIT).not_done
    gated.release(1)  # the pass that was under way
    closing.join(WAIT)
    assert running.cancelled()
    assert waiting.cancelled()
    assert gated.passes <= 3


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


def test_a_user_with_a_long_task_does_not_hold_up_another(service, models, gated):
    for model in models:
        service.request(Request(model, 0, target=0)).result(WAIT)  # loaded
    service._engine._clock = lambda: float(service.forwards)  # time is counted in forward passes
    gated.endless = True
    long = _block(service, models, gated, client="one")
    gated.release(10)
    gated.reached()
    before = gated.passes
    short = service.request_many([Request(model, 1, target=0) for model in models], client="other")
    gated.release(1000)
    wait(short, WAIT)
    # Two passes alone; the pass under way and turns with the long task double that at most.
    assert gated.passes - before <= 3
    assert long.cancel()


def test_two_long_tasks_take_turns(service, models, gated, until):
    for model in models:
        service.request(Request(model, 0, target=0)).result(WAIT)
    service._engine._clock = lambda: float(service.forwards)
    gated.endless = True
    one = _block(service, models, gated, client="one")
    other = service.request(Request(models[1], 0, "gated", target=0), client="other")
    gated.release(41)
    until(lambda: gated.passes == 41)
    for future in (one, other):
        assert future.cancel()
    first = gated.networks[0]
    for end in range(2, 42):
        assert abs(gated.networks[:end].count(first) * 2 - end) <= 3


def test_models_are_loaded_while_another_computes(service, models, checkpoint, gated):
    # Folding traces a model, during which torch changes how every module of the process is called.
    gated.endless = True
    long = _block(service, models, gated, client="one")
    gated.release(100_000)
    before = gated.passes
    others = [service.request(Request(m, 0, target=0), client=m) for m in (models[1], checkpoint.model)]
    assert [future.result(WAIT).model for future in others] == [models[1], checkpoint.model]
    assert gated.passes > before
    assert not long.done()
    assert long.cancel()


def test_progress_says_which_request(service, models):
    service.request(Request(models[0], 1, target=0)).result(WAIT)
    seen = []
    requests = [Request(models[0], 1, target=0), Request(models[0], 1, "bbmp", target=0, parameters={"iterations": 5})]
    for future in service.request_many(requests, lambda *what: seen.append(what)):
        future.result(WAIT)
    assert {position for position, _, _ in seen} == {1}  # the first was in the store
    assert [fraction for _, fraction, _ in seen] == sorted(fraction for _, fraction, _ in seen)
    maps = [heatmap for _, _, heatmap in seen if heatmap is not None]
    assert maps
    assert all(m.dtype == np.float32 and m.ndim == 2 and 0 <= m.min() <= m.max() <= 1 for m in maps)


def test_random_numbers_of_other_threads_are_not_rewound(service, models, gated):
    service.request(Request(models[0], 0, target=0)).result(WAIT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = [torch.rand(()).item() for _ in range(2)]
        torch.manual_seed(3)
        blocker = _block(service, models, gated)
        drawn = [torch.rand(()).item()]
        gated.release()
        blocker.result(WAIT)
        drawn.append(torch.rand(()).item())
    assert drawn == expected


@pytest.fixture
def batches(monkeypatch):
    """Sizes of the batches that Grad-CAM gets."""
    sizes, plain = [], GradCAM.attribute

    def attribute(self, model, images, *rest):
        sizes.append(len(images))
        return plain(self, model, images, *rest)

    monkeypatch.setattr(GradCAM, "attribute", attribute)
    return sizes


def test_batches_equal_singles(folder, models, gated, batches):
    requests = [Request(models[0], i, target=2) for i in range(6)]
    with ExplanationService(folder, device="cpu", batch=4) as service:
        _block(service, models, gated)
        futures = service.request_many([*requests, Request(models[0], 0, target=1), Request(models[1], 0, target=2)])
        gated.release()
        together = [future.result(WAIT) for future in futures[:6]]
        assert [future.result(WAIT).image_id for future in futures] == [0, 1, 2, 3, 4, 5, 0, 0]
    assert sorted(batches) == [1, 1, 3, 4]  # the blocker and the other model alone; other targets may share a batch
    for file in folder.glob("explanations.sqlite*"):
        file.unlink()
    with ExplanationService(folder, device="cpu") as service:
        for found, request in zip(together, requests, strict=True):
            alone = service.request(request).result(WAIT)
            np.testing.assert_allclose(found.map, alone.map, atol=1e-4)
            assert found.measures == pytest.approx(alone.measures, abs=1e-3, nan_ok=True)
            assert (found.digest, found.flags, found.target_class_id) == (alone.digest, alone.flags, 2)
            assert found.confidence == pytest.approx(alone.confidence, abs=1e-5)
            assert not found.cached
            assert not alone.cached


def test_in_a_batch_an_image_fails_alone_and_is_cancelled_alone(folder, models, gated, batches):
    with warehouse.open(folder) as held:
        file = held.image(2).file
    content = file.read_bytes()
    with ExplanationService(folder, device="cpu", batch=4) as service:
        _block(service, models, gated)
        try:
            file.unlink()
            futures = service.request_many([Request(models[0], i, target=2) for i in range(4)])
            assert futures[1].cancel()
            gated.release()
            assert [futures[i].result(WAIT).image_id for i in (0, 3)] == [0, 3]
            with pytest.raises(UserError, match=f"The image .*{file.name} cannot be explained: cannot be read"):
                futures[2].result(WAIT)
        finally:
            file.write_bytes(content)
        assert futures[1].cancelled()
        assert service.request(Request(models[0], 2, target=2)).result(WAIT).image_id == 2


def test_a_file_is_explained_and_not_stored(service, models, folder):
    with warehouse.open(folder) as held:
        file = held.image(1).file
    inside = service.request(Request(models[0], 1, target=0)).result(WAIT)
    (future,) = service.request_file(file, [models[0]], target=0)
    outside = future.result(WAIT)
    assert outside.image_id == -1
    assert not outside.cached
    np.testing.assert_array_equal(outside.map, inside.map)
    with pytest.raises(UserError, match="true class"):
        service.request_file(file, [models[0]], target="true")


def test_what_the_warehouse_says_is_asked_once_a_generation(service, models, folder, monkeypatch):
    request = Request(models[0], 1)
    service.request(request).result(WAIT)
    asked, plain = [], warehouse.Warehouse._cursor
    monkeypatch.setattr(warehouse.Warehouse, "_cursor", lambda self: asked.append(1) or plain(self))
    assert service.request(request).done()
    assert not asked
    publish(folder, force=True)
    assert service.request(request).done()
    assert asked


def test_what_is_known_is_found_without_a_pass(service, models):
    asked = [Request(models[0], 0, target=1), Request(models[0], 1, target=1), Request(models[0], 10**6)]
    assert service.known(asked) == [None, None, None]
    made = service.request(asked[1]).result(WAIT)
    before = service.forwards
    nothing, found, unanswerable = service.known(asked)
    assert (nothing, unanswerable, found.digest, found.cached) == (None, None, made.digest, True)
    assert service.forwards == before
