"""What D tells the page: images to choose from, and rows of the table, without a browser."""

from __future__ import annotations

import dataclasses

import duckdb
import numpy as np
import pytest

from tests.vacpanel.rows import MODELS, a_row, finished
from vacpanel import layers
from vacpanel.state import Selection
from vacpanel.views.explanations import IMAGES_AT_ONCE, Explanations
from vacpanel.views.shown import is_shown
from vacpanel.views.threshold import ThresholdSlider
from warehouse.predicate import Predicate


@pytest.fixture
def view(opened):
    return Explanations(opened, Selection(generation=opened.generation, model=MODELS[0]))


def test_the_strip_shows_the_images_of_the_selected_classes_that_the_filter_leaves(view, demo_warehouse):
    view.state.classes = [3, 5]
    with duckdb.connect(str(demo_warehouse / "warehouse.duckdb"), read_only=True) as connection:

        def ids(condition):
            query = f"SELECT DISTINCT image_id FROM predictions WHERE class_id IN (3, 5) AND {condition} ORDER BY 1"
            return [image_id for (image_id,) in connection.execute(query).fetchall()]

        right = dict(
            connection.execute(
                "SELECT image_id, correct FROM predictions WHERE model = ? AND class_id IN (3, 5)", [MODELS[0]]
            ).fetchall()
        )
        assert [item["id"] for item in view._strip.items] == ids("true")
        assert view._strip.marks == {str(image_id): correct for image_id, correct in right.items()}
        assert view.heading == "Images of 2 classes: 8 images"

        view.state.filter = Predicate(models=("demo:squeezenet1_1",), correct=False)
        assert [item["id"] for item in view._strip.items] == ids("model = 'demo:squeezenet1_1' AND NOT correct")
    view.state.filter = Predicate(min_confidence=2.0)
    assert view._strip.items == []
    assert "no images that the filter leaves" in view._hint.object


def test_more_images_come_when_they_are_asked_for(view):
    view.state.classes = list(range(20))  # four images each
    assert len(view._strip.items) == IMAGES_AT_ONCE
    assert view._strip.more
    first = view._strip.items
    view._more()
    assert len(view._strip.items) == 80
    assert [item for item in view._strip.items if item in first] == first
    assert not view._strip.more


def test_pinning_another_model_only_changes_the_marks(view, monkeypatch):
    view.state.classes = [3]
    items = view._strip.items
    monkeypatch.setattr(view, "_fill_strip", lambda: pytest.fail("the strip was filled again"))
    view.state.model = "demo:squeezenet1_1"
    assert view._strip.items is items
    assert set(view._strip.marks) == {str(item["id"]) for item in items}


def test_examples_of_all_methods_are_shown_until_there_are_rows(view, opened):
    captions = [item["caption"] for item in view._examples.items]
    assert captions[:4] == ["the image", "Grad-CAM", "Grad-CAM++", "Smooth Grad-CAM++"]
    assert len(captions) == 9
    assert all("layers" in item for item in view._examples.items[1:])
    assert (is_shown(view._examples), is_shown(view._table)) == (True, False)
    view.controller.rows = [a_row(opened)]
    assert (is_shown(view._examples), is_shown(view._table)) == (False, True)
    view.controller.rows = []
    assert (is_shown(view._examples), is_shown(view._table)) == (True, False)


def _names(view):
    return [column["name"] for column in view._table.columns]


def test_columns_fit_what_is_compared(view, opened):
    view.controller.rows = [a_row(opened, model) for model in MODELS]
    assert not {"colours", "method"} & set(_names(view))
    view.controller.rows = [a_row(opened, image_id=image_id) for image_id in (7, 8)]
    assert "colours" in _names(view)
    view.controller.rows = [a_row(opened, method=method) for method in ("grad-cam", "layer-cam")]
    assert {"colours", "method"} <= set(_names(view))
    assert sum(column["weight"] for column in view._table.columns) == pytest.approx(100, abs=0.1)


def test_a_finished_row_has_its_numbers_and_its_area_at_every_threshold(view, opened):
    waiting = [a_row(opened, model) for model in MODELS]
    view.controller.rows = waiting
    keys = list(view._table.rows)
    before = view._table.rows[keys[0]]
    assert before["state"] == "waiting"
    assert "layers" not in before
    sent = []
    view._table._send_msg = sent.append
    done = finished(waiting[0])
    view.controller.rows = [done, waiting[1]]
    (message,) = sent
    assert list(message["rows"]) == keys[:1]
    assert "order" not in message
    row = view._table.rows[keys[0]]
    assert row["areas"] == layers.areas(layers.at_size(done.attention, (96, 96)))
    assert row["values"] == {
        "label": "resnet18",
        "method": "Grad-CAM",
        "top1": pytest.approx(100 * opened.model_row(MODELS[0]).top1),
        "class_top1": 75,
        "class_name": opened.image(7).class_name,
        "predicted": "moon",
        "confidence": 50,
    }
    assert row["right"] is False
    assert row["picture"] == before["picture"]
    assert ["Explained class", view._names[9]] in row["details"]


def test_a_preview_has_layers_and_says_how_far_it_is(view, opened):
    attention = np.random.default_rng(0).random((5, 5)).astype(np.float32)
    view.controller.rows = [a_row(opened, status="working", fraction=0.4, attention=attention)]
    (row,) = view._table.rows.values()
    assert row["says"] == "preview, 40\N{NO-BREAK SPACE}%"
    assert row["layers"]


def test_an_empty_map_and_a_failure_have_words_in_place_of_pictures(view, opened):
    empty = finished(a_row(opened, MODELS[0]), flags=["the same everywhere"], roi_area=None)
    empty = dataclasses.replace(empty, attention=np.zeros((6, 6), np.float32))
    failed = a_row(opened, MODELS[1], status="failed", error="The checkpoint is gone.")
    view.controller.rows = [empty, failed]
    first, second = view._table.rows.values()
    assert first["says"] == "No heatmap: the same everywhere."
    assert second["says"] == "⚠ No explanation. The checkpoint is gone."
    assert not {"layers", "areas"} & {*first, *second}


def test_the_heading_says_how_and_what_is_explained(view, opened):
    view.state.param.update(methods=["bbmp"], parameters={"bbmp": {"iterations": 40}}, target="3")
    view.controller.rows = [a_row(opened, method="bbmp")]
    assert view.heading == f"What the models look at: BBMP, iterations 40, explaining “{view._names[3]}”"


def test_a_row_pins_its_model(view, opened):
    view.controller.rows = [a_row(opened, model) for model in MODELS]
    view._pin(list(view._table.rows)[1])
    assert view.state.model == MODELS[1]


def test_slider_and_state_follow_each_other():
    state = Selection()
    slider = ThresholdSlider.of(state)
    slider.value = 0.3
    assert state.threshold == 0.3
    state.threshold = 0.8
    assert slider.value == 0.8
    assert ThresholdSlider.of(Selection()).group != slider.group
