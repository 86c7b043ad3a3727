"""What the store has of the next task is painted before anybody asks, and nothing is computed for it."""

from __future__ import annotations

import time

import pytest

from etl.explain.requests import Request
from vacpanel import ahead, layers, media, serving
from vacpanel.controller import Controller
from vacpanel.state import Selection

MODELS = ["demo:resnet18", "demo:squeezenet1_1"]
IMAGE, OTHER = 5, 6


@pytest.fixture
def pictures(opened, monkeypatch):
    """The pictures of the demo as a server has them, none painted."""
    monkeypatch.setattr(media, "_served", True)
    kept = serving.media_of(opened)
    for painted in (kept._painted, kept._looked_at, media._areas):
        painted.cache_clear()
    return kept


def _until(there):
    for _ in range(200):
        if there():
            return
        time.sleep(0.05)
    pytest.fail("it did not come")


def test_maps_in_the_store_are_painted_once_an_image_is_picked(opened, pictures, monkeypatch):
    service = serving.explanation_service(opened)
    found = [future.result(60) for future in service.request_many([Request(model, IMAGE) for model in MODELS])]
    state = Selection(models=MODELS)
    Controller.of(opened, state)
    state.images = [IMAGE]
    _until(lambda: pictures._painted.cache_info().currsize == media._areas.cache_info().currsize == len(MODELS))

    def paint(*_args):
        raise AssertionError("painted again")

    monkeypatch.setattr(layers, "layers", paint)
    monkeypatch.setattr(layers, "shown", paint)
    for map_ in found:
        assert pictures.load(f"layers/{map_.digest}/0")[0] == "image/png"
        key = opened.model_row(map_.model).key
        pictures.load(f"seen/{pictures._card(key).same}/{IMAGE}")


def test_nothing_is_computed_ahead(opened, pictures, monkeypatch):
    service = serving.explanation_service(opened)
    looked = []
    monkeypatch.setattr(service, "known", lambda asked: looked.append(asked) or [None] * len(asked))
    before = service.forwards
    state = Selection(models=MODELS, methods=["score-cam"])
    Controller.of(opened, state)
    state.images = [IMAGE]
    _until(lambda: looked)
    assert [(one.model, one.image_id, one.method) for one in looked[0]] == [(m, IMAGE, "score-cam") for m in MODELS]
    assert service.forwards == before
    assert pictures._painted.cache_info().currsize == 0


def test_only_what_was_chosen_last_is_painted(opened, pictures, monkeypatch):
    asked = []
    monkeypatch.setattr(ahead, "_paint", lambda _warehouse, maps, *_how: asked.append(maps))
    state = Selection(models=MODELS[:1])
    Controller.of(opened, state)
    state.images = [IMAGE]
    state.images = [OTHER]
    _until(lambda: asked)
    state.images = []
    time.sleep(3 * ahead.AFTER)
    assert asked == [[(MODELS[0], OTHER, "grad-cam")]]


def test_without_addresses_nothing_is_painted(opened, pictures, monkeypatch):
    monkeypatch.setattr(media, "_served", False)
    asked = []
    monkeypatch.setattr(ahead, "_paint", lambda *given: asked.append(given))
    state = Selection(models=MODELS)
    Controller.of(opened, state)
    state.images = [IMAGE]
    time.sleep(3 * ahead.AFTER)
    assert asked == []
