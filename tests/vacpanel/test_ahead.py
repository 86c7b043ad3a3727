"""What the store has of the next task is looked up before anybody asks, and nothing is computed for it."""

from __future__ import annotations

import asyncio
import re

import pytest

from etl.explain.requests import Request
from tests.vacpanel.loops import in_a_loop
from vacpanel import ahead, layers, media, serving
from vacpanel.ahead import Ahead
from vacpanel.controller import Controller
from vacpanel.routes import ROUTES
from vacpanel.state import Selection
from vacpanel.views import Explanations

MODELS = ["demo:resnet18", "demo:squeezenet1_1"]
IMAGE, OTHER = 5, 6


@pytest.fixture
def stored(opened):
    """The maps of an image, by model, as the store has them."""
    service = serving.explanation_service(opened)
    return [future.result(60) for future in service.request_many([Request(model, IMAGE) for model in MODELS])]


def _told(opened, *choices):
    """Return what is told about tasks of these images that are chosen one right after the other."""
    told = []

    async def choose():
        looks = Ahead(opened, told.append)
        for images in choices:
            controller = Controller.of(opened, Selection(models=MODELS, images=images))
            looks.expect(controller.task(), *controller.how())
        for _ in range(100):
            await asyncio.sleep(0.05)
            if told:
                break
        await asyncio.sleep(2 * ahead.AFTER)

    in_a_loop(choose())
    return told


def test_maps_in_the_store_are_told_without_a_pass(opened, stored):
    before = serving.explanation_service(opened).forwards
    (found,) = _told(opened, [IMAGE])
    assert [map_.digest for map_ in found] == [map_.digest for map_ in stored]
    assert serving.explanation_service(opened).forwards == before


def test_what_their_rows_say_need_not_be_read_again(opened, stored, monkeypatch):
    media._areas.cache_clear()
    (found,) = _told(opened, [IMAGE])

    def again(*_args, **_how):
        raise AssertionError("read again")

    monkeypatch.setattr(opened, "_columns", again)
    monkeypatch.setattr(opened, "_row", again)
    monkeypatch.setattr(layers, "areas", again)
    controller = Controller.of(opened, Selection(models=MODELS, images=[IMAGE]))
    rows = controller.finish()
    assert [row.digest for row in rows] == [map_.digest for map_ in found]
    for row in rows:
        assert serving.media_of(opened).areas(IMAGE, row.facts["key"], row.attention)[0] == 96 * 96


def test_only_what_was_chosen_last_is_looked_up(opened, stored, monkeypatch):
    looked = []
    look = ahead._look
    monkeypatch.setattr(ahead, "_look", lambda opened, task, *how: looked.append(task) or look(opened, task, *how))
    (found,) = _told(opened, [OTHER], [IMAGE])
    assert {map_.image_id for map_ in found} == {IMAGE}
    assert [task.images for task in looked] == [(IMAGE,)]


def test_a_task_that_the_store_knows_nothing_of_is_not_told(opened, stored, monkeypatch):
    monkeypatch.setattr(serving.explanation_service(opened), "known", lambda asked: [None] * len(asked))
    monkeypatch.setattr(ahead, "AFTER", 0.01)
    looked = []
    look = ahead._look
    monkeypatch.setattr(ahead, "_look", lambda *given: looked.append(given) or look(*given))

    told = []

    async def choose():
        controller = Controller.of(opened, Selection(models=MODELS, images=[IMAGE]))
        Ahead(opened, told.append).expect(controller.task(), *controller.how())
        await asyncio.sleep(1)

    in_a_loop(choose())
    assert len(looked) == 1
    assert told == []


def test_a_link_that_names_images_is_no_reason_to_load_the_engine(opened, monkeypatch):
    monkeypatch.setattr(serving, "_services", {})
    monkeypatch.setattr(serving, "_coming", set())
    task = Controller.of(opened, Selection(models=MODELS, images=[IMAGE])).task()
    assert ahead._look(opened, task, {}, "predicted") == []
    assert serving._services == {}


@pytest.mark.parametrize("by_address", [True, False])
def test_the_page_is_told_where_pictures_have_addresses(opened, stored, monkeypatch, by_address):
    monkeypatch.setattr(media, "_served", by_address)
    state = Selection(models=MODELS)
    view = Explanations(opened, state)
    sent = []
    monkeypatch.setattr(view._table, "_send_msg", sent.append)

    async def pick():
        state.images = [IMAGE]
        for _ in range(100 if by_address else 10):
            await asyncio.sleep(0.05)
            if sent:
                break

    in_a_loop(pick())
    if not by_address:
        assert sent == []
        return
    ((message),) = sent
    expected = message["expected"]
    assert [source["layers"].split("/")[4] for source in expected] == [map_.digest for map_ in stored]
    for source in expected:
        for address in source.values():
            assert len(view._media.load(re.fullmatch(ROUTES[0][0], f"/{address}")[3])[1]) > 100
