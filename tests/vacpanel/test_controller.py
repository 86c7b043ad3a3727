"""A task from the selection to the published relation, without a browser."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import warehouse
from vacpanel import serving
from vacpanel.controller import Controller
from vacpanel.state import Selection

MODELS = ["demo:resnet18", "demo:squeezenet1_1"]


@pytest.fixture
def opened(demo_warehouse):
    return serving.open_warehouse(demo_warehouse)


def _run(controller):
    """Run the task on a loop of its own; the browser tests leave one running in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(controller.run())).result()


def _published(folder, image_id):
    with warehouse.open(folder) as fresh:
        query = "SELECT DISTINCT model FROM explanations WHERE image_id = ? AND method = 'grad-cam' ORDER BY model"
        return [model for (model,) in fresh.sql(query, [image_id]).fetchall()]


@pytest.mark.parametrize(
    ("selection", "label", "pairs"),
    [
        ({"models": MODELS, "images": [7]}, "Explain 2 models on 1 image", 2),
        ({"model": MODELS[0], "classes": [1]}, "Explain 1 model on 4 images", 4),
        ({"models": MODELS[:1], "classes": [1, 2]}, "Explain 1 model on 8 images", 8),
        ({"models": MODELS, "classes": [1]}, "Explain 2 models on 1 image", 2),
    ],
)
def test_the_three_tasks_follow_from_the_selection(opened, selection, label, pairs):
    task = Controller.of(opened, Selection(**selection)).task()
    assert (task.label, task.problem) == (label, "")
    assert len(task.models) * len(task.images) == pairs


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
    controller = Controller.of(opened, Selection(models=MODELS, images=[12], method="no-such-method"))
    _run(controller)
    assert len(controller.rows) == 2
    assert all("no-such-method" in row.error for row in controller.rows)
    assert not controller.busy
