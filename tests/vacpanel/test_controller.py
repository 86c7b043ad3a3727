"""A task from the selection to the published relation, without a browser."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import numpy as np
import pytest

import warehouse
from etl.explain import postprocess
from etl.explain.requests import Request
from tests.vacpanel.loops import in_a_loop
from vacpanel import controller as controlling
from vacpanel import serving
from vacpanel.controller import UPDATE_EVERY, Controller
from vacpanel.state import Selection
from vacpanel.words import flag_words
from warehouse.predicate import Predicate
from warehouse.publish import publish

MODELS = ["demo:resnet18", "demo:squeezenet1_1"]


def _run(controller):
    in_a_loop(controller.run())


def _published(folder, image_id):
    with warehouse.open(folder) as fresh:
        query = "SELECT DISTINCT model FROM explanations WHERE image_id = ? AND method = 'grad-cam' ORDER BY model"
        return [model for (model,) in fresh.sql(query, [image_id]).fetchall()]


@pytest.mark.parametrize(
    ("selection", "label", "maps"),
    [
        ({"models": MODELS, "images": [7]}, "Explain 2 models on 1 image", 2),
        ({"model": MODELS[0], "classes": [1]}, "Explain 1 model on 4 images", 4),
        ({"models": MODELS[:1], "classes": [1, 2]}, "Explain 1 model on 8 images", 8),
        ({"models": MODELS, "classes": [1]}, "Explain 2 models on 1 image", 2),
        ({"models": MODELS, "images": [7], "methods": ["grad-cam", "bbmp"]}, "Explain 2 models on 1 image", 4),
    ],
)
def test_the_three_tasks_follow_from_the_selection(opened, selection, label, maps):
    task = Controller.of(opened, Selection(**selection)).task()
    assert (task.label.removesuffix(" with 2 methods"), task.problem) == (label, "")
    assert len(task.maps) == len(set(task.maps)) == maps


def test_a_task_takes_only_images_that_the_filter_leaves(opened):
    ids = list(map(int, opened.images_of(1)["image_id"]))
    selection = Selection(model=MODELS[0], classes=[1], filter=Predicate(images=(*ids[1:3], 10**6)))
    task = Controller.of(opened, selection).task()
    assert (task.images, task.label) == (tuple(ids[1:3]), "Explain 1 model on 2 images")
    selection.filter = Predicate(images=(10**6,))
    assert "filter" in Controller.of(opened, selection).task().problem


@pytest.mark.parametrize("selection", [{}, {"model": MODELS[0]}, {"models": MODELS}])
def test_an_incomplete_selection_says_what_is_missing(opened, selection):
    assert "first" in Controller.of(opened, Selection(**selection)).task().problem


def test_maps_of_a_task_are_published_when_the_dashboard_is_idle(opened, demo_warehouse, monkeypatch):
    monkeypatch.setattr(serving, "PUBLISH_AFTER", 0.5)
    image_id = 11
    assert _published(demo_warehouse, image_id) == []
    controller = Controller.of(opened, Selection(models=MODELS, images=[image_id]))
    _run(controller)
    assert [row.error for row in controller.rows] == ["", ""]
    assert sorted(row.model for row in controller.rows) == MODELS
    assert not any(row.facts["cached"] for row in controller.rows)
    assert (controller.busy, controller.done, controller.total) == (False, 2, 2)
    for _ in range(100):
        if _published(demo_warehouse, image_id) == MODELS:
            break
        time.sleep(0.1)
    assert _published(demo_warehouse, image_id) == MODELS

    _run(controller)
    assert all(row.facts["cached"] for row in controller.rows)


def test_a_request_that_fails_gives_a_row_with_the_reason(opened):
    controller = Controller.of(opened, Selection(models=MODELS, images=[12], methods=["no-such-method"]))
    _run(controller)
    assert len(controller.rows) == 2
    assert all("no-such-method" in row.error for row in controller.rows)
    assert not controller.busy


def _history(controller):
    """Collect every state of the rows that a view gets to see."""
    seen = []
    controller.param.watch(lambda event: seen.append(event.new), "rows")
    return seen


def _run_until(controller, condition, then):
    """Run the task and call `then` between two updates, once `condition` holds."""

    async def both():
        task = asyncio.create_task(controller.run())
        while not condition() and not task.done():
            await asyncio.sleep(0.02)
        assert condition(), "the task ended before"
        then()
        await asyncio.wait_for(task, 20)

    in_a_loop(both())


def _forwards_end(service):
    """Wait until the engine computes no more."""
    before = -1
    for _ in range(100):
        if service.forwards == before:
            return
        before = service.forwards
        time.sleep(0.3)
    raise AssertionError("the engine went on for 30 s")


def _has_preview(controller):
    return any(row.status == "working" and row.visible for row in controller.rows)


def _published_methods(opened, image_id):
    publish(opened.root)
    with warehouse.open(opened.root) as fresh:
        return fresh.sql("SELECT method FROM explanations WHERE image_id = ?", [image_id]).fetchall()


LONG = {"methods": ["bbmp"], "parameters": {"bbmp": {"iterations": 100_000, "early_stop": False}}}


def test_rows_are_there_before_their_maps_with_all_that_is_known(opened):
    controller = Controller.of(opened, Selection(models=MODELS, images=[20]))
    seen = _history(controller)
    _run(controller)
    assert [row.status for row in seen[0]] == ["waiting", "waiting"]
    assert [row.model for row in seen[0]] == MODELS
    said = opened.predictions(MODELS, [20])
    for row in seen[0]:
        at = list(said["model"]).index(row.model)
        assert row.facts["label"] == said["label"][at]
        assert row.facts["confidence"] == pytest.approx(said["confidence"][at])
        assert row.facts["correct"] == said["correct"][at]
        assert row.facts["class_name"] == opened.image(20).class_name
        assert row.facts["top1"] == pytest.approx(opened.model_row(row.model).top1)
    assert [row.status for row in seen[-1]] == ["done", "done"]
    assert all(row.visible for row in seen[-1])


def test_maps_from_the_store_are_in_the_first_rows(opened, monkeypatch):
    monkeypatch.setattr(controlling, "ANSWERED_AT_ONCE", 20)
    controller = Controller.of(opened, Selection(models=MODELS, images=[20]))
    _run(controller)
    controller.clear()
    seen, busy = _history(controller), []
    controller.param.watch(lambda event: busy.append(event.new), "busy")
    _run(controller)
    assert [row.status for row in seen[0]] == ["done", "done"]
    assert (controller.done, controller.total) == (2, 2)
    assert busy == []  # nobody sees a bar that comes and goes


def test_a_long_method_shows_previews_that_get_better_but_no_flood(opened):
    short = {"bbmp": {"iterations": 200, "early_stop": False}}
    selection = Selection(models=MODELS[:1], images=[21], methods=["bbmp"], parameters=short)
    controller = Controller.of(opened, selection)
    seen = _history(controller)
    started = time.monotonic()
    _run(controller)
    elapsed = time.monotonic() - started
    previews = [rows[0] for rows in seen if rows[0].status == "working" and rows[0].visible]
    assert previews
    fractions = [row.fraction for row in previews]
    assert fractions == sorted(set(fractions))
    assert not any(row.digest for row in previews)
    assert seen[-1][0].digest
    assert len(seen) <= elapsed / UPDATE_EVERY + 4  # waiting, first look, done, end


def test_cancel_keeps_the_preview_and_stops_the_work(opened):
    service = serving.explanation_service(opened)
    controller = Controller.of(
        opened, Selection(models=["demo:resnet18", "demo:squeezenet1_1", "demo:alexnet"], images=[22], **LONG)
    )
    _run_until(controller, lambda: _has_preview(controller), controller.cancel)
    [row] = controller.rows
    assert (row.model, row.status, row.digest) == ("demo:resnet18", "stopped", "")
    assert row.visible
    assert 0 <= row.fraction < 1
    assert not controller.busy
    assert controller.message == "Cancelled after 0 maps"
    _forwards_end(service)
    assert _published_methods(opened, 22) == []


@pytest.mark.parametrize(
    "change",
    [
        {"images": [1]},
        {"methods": ["grad-cam"]},
        {"parameters": {"bbmp": {"seed": 1}}},
        {"target": "true"},
        {"models": MODELS},
    ],
)
def test_a_changed_selection_drops_the_rows_and_stops_the_work(opened, change):
    controller = Controller.of(opened, Selection(models=MODELS[:1], images=[23], **LONG))
    seen = _history(controller)
    _run_until(controller, lambda: _has_preview(controller), lambda: controller.state.param.update(**change))
    assert controller.rows == []
    assert not controller.busy
    assert seen[-1] == []  # nothing of the old question was painted afterwards
    _forwards_end(serving.explanation_service(opened))


@pytest.mark.parametrize("change", [{"threshold": 0.9}, {"measure": "ssim"}, {"root": "tool"}, {"model": MODELS[1]}])
def test_what_does_not_change_the_question_keeps_the_answer(opened, change):
    controller = Controller.of(opened, Selection(model=MODELS[0], models=MODELS, images=[24]))
    _run(controller)
    rows = controller.rows
    assert len(rows) == 2
    controller.state.param.update(**change)
    assert controller.rows is rows


def test_several_methods_give_a_row_each_and_one_class_of_choice_is_explained_by_all(opened):
    methods = ["grad-cam", "grad-cam++"]
    selection = Selection(models=MODELS, images=[27], methods=methods, target="5")
    controller = Controller.of(opened, selection)
    _run(controller)
    assert [(row.method, row.model) for row in controller.rows] == [(m, name) for m in methods for name in MODELS]
    assert {row.facts["target_class_id"] for row in controller.rows} == {5}


def test_two_sessions_do_not_wait_for_each_other(opened):
    service = serving.explanation_service(opened)
    cached = Request("demo:alexnet", 25)
    service.request(cached).result(60)
    long = Controller.of(opened, Selection(models=["demo:resnet50"], images=[25], **LONG))
    short = Controller.of(opened, Selection(models=["demo:alexnet", *MODELS], images=[25]))

    async def both():
        running = asyncio.create_task(long.run())
        while not _has_preview(long):
            await asyncio.sleep(0.05)
        await asyncio.wait_for(short.run(), 60)
        assert [row.status for row in short.rows] == ["done"] * 3
        assert [row.facts["cached"] for row in short.rows] == [True, False, False]
        assert long.busy
        before = long.rows[0].fraction
        while long.rows[0].fraction == before:
            await asyncio.sleep(0.05)
        long.cancel()
        await running

    in_a_loop(asyncio.wait_for(both(), 120))


def test_a_map_that_shows_nothing_says_so_instead(opened):
    controller = Controller.of(opened, Selection(models=MODELS[:1], images=[26]))
    _run(controller)
    [row] = controller.rows
    flat = dataclasses.replace(row, attention=np.zeros_like(row.attention))
    assert row.visible
    assert not flat.visible


def test_flags_of_the_engine_are_said_in_words():
    assert flag_words(postprocess.CONSTANT) != postprocess.CONSTANT
    assert flag_words(postprocess.NOT_FINITE) != postprocess.NOT_FINITE
    assert flag_words("stopped early") == "stopped early"
