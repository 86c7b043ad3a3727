"""Every registered view keeps the contract of `vacpanel.views.base.View`."""

from __future__ import annotations

import gc
import weakref
from xml.etree import ElementTree as ET

import duckdb
import holoviews as hv
import panel as pn
import pytest
from bokeh.document import Document

from etl.plugins import load, plugins
from vacpanel import serving
from vacpanel.state import Selection
from vacpanel.views.base import View
from warehouse.predicate import Predicate

VIEWS = sorted(plugins("vacpanel.views"))
pytestmark = pytest.mark.parametrize("name", VIEWS)


def _render(view: View) -> Document:
    document = Document()
    document.add_root(view.__panel__().get_root(document))
    return document


def test_it_is_a_view_with_words(name):
    view = load("vacpanel.views", name)
    assert issubclass(view, View)
    assert view.title
    assert view.help_text
    assert view.slot
    assert all(view.param[parameter].doc for parameter in set(view.param) - {"name"})


def test_it_renders_on_an_empty_warehouse(name, empty_warehouse):
    view = load("vacpanel.views", name)(serving.open_warehouse(empty_warehouse))
    assert _render(view).roots
    assert view.heading


def test_it_renders_and_follows_every_part_of_the_state(name, demo_warehouse):
    warehouse = serving.open_warehouse(demo_warehouse)
    models = list(map(str, warehouse.models()["model"]))
    view = load("vacpanel.views", name)(warehouse, Selection(generation=warehouse.generation))
    _render(view)
    state = view.state
    image = int(warehouse.images_of(0)["image_id"][0])
    for changes in (
        {"model": models[0]},
        {"root": warehouse.roots()[0]},
        {"models": models[:3]},
        {"classes": [0]},
        {"images": [image]},
        {"model": models[-1], "root": warehouse.roots()[-1], "classes": [5, 9], "images": []},
        {"threshold": 0.9, "measure": "ssim", "target": "true"},
        {"model": "", "root": "", "models": [], "classes": []},
    ):
        expected = {**{p: getattr(state, p) for p in state.param if p != "name"}, **changes}
        state.param.update(**changes)
        # A view shows the state; it does not change what the user did not touch.
        assert {p: getattr(state, p) for p in expected} == expected
    state.generation += 1
    assert view.heading


def test_it_gives_its_data_and_the_query_for_them(name, demo_warehouse, empty_warehouse):
    opened = serving.open_warehouse(demo_warehouse)
    models = list(map(str, opened.models()["model"]))
    view = load("vacpanel.views", name)(opened, Selection(generation=opened.generation))
    for changes in (
        {},
        {"model": models[0], "root": opened.roots()[0], "classes": [3, 9]},
        {"filter": Predicate(roots=("animal", "it's"), models=tuple(models[:2]), min_confidence=0.5)},
        {"filter": Predicate(correct=False), "second": models[1]},
        {"filter": Predicate(images=(1, 2)), "graph": "all-images"},
    ):
        view.state.param.update(**changes)
        with duckdb.connect(str(demo_warehouse / "warehouse.duckdb"), read_only=True) as anybody:
            assert view.data().equals(anybody.sql(view.sql()).pl())
    empty = load("vacpanel.views", name)(serving.open_warehouse(empty_warehouse))
    assert empty.data().is_empty()
    assert empty.data().columns


def test_it_is_drawn_by_the_page_or_as_svg(name, demo_warehouse, empty_warehouse):
    for folder, changes in ((empty_warehouse, {}), (demo_warehouse, {}), (demo_warehouse, {"classes": [3, 9]})):
        opened = serving.open_warehouse(folder)
        view = load("vacpanel.views", name)(opened, Selection(generation=opened.generation, **changes))
        drawing = view.svg()
        assert drawing == "" or ET.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"


def test_it_is_freed_with_its_session(name, demo_warehouse):
    warehouse = serving.open_warehouse(demo_warehouse)
    state = Selection(generation=warehouse.generation, model=str(warehouse.models()["model"][0]))
    view = load("vacpanel.views", name)(warehouse, state)
    document = _render(view)
    watched = weakref.ref(view)
    root = view.__panel__()
    for model in list(document.roots):
        root._cleanup(model)
        pn.state._views.pop(model.ref["id"], None)  # as Panel does when the server destroys a session
    document.clear()
    del view, root, model, document, state
    hv.Curve([]).opts(width=100)  # HoloViews keeps the options that it looked up last
    gc.collect()
    gc.collect()
    assert watched() is None
