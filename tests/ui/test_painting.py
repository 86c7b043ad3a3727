"""Maps as the browser paints them: the pixels, regions and colours of Python, and at once while a slider is dragged."""

from __future__ import annotations

import base64
import io
import re
import statistics
import sys

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from etl.explain.histogram import colour_histogram
from tests.ui.conftest import serving
from vacpanel import layers, render
from vacpanel.media import Media
from warehouse import open as open_warehouse

ROWS = ".vac-explanations tbody tr[data-key]"
THRESHOLD = "Threshold of attention"


def _explain(page: Page, server: str, query: str, count: int) -> None:
    page.goto(f"{server}/app?{query}")
    run = page.get_by_role("button", name=re.compile("^Explain"))
    expect(run).to_be_enabled(timeout=120_000)
    run.click()
    expect(page.locator(f"{ROWS}[data-state='done']")).to_have_count(count, timeout=180_000)


def _canvas(found) -> np.ndarray:
    data = found.evaluate("map => map.canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGB"))


def test_the_browser_paints_what_python_paints(page, server, demo_warehouse):
    _explain(page, server, "models=demo:resnet18&images=30", 1)
    page.locator(f"{ROWS} td[data-field='heatmap'] button").click()
    dialog = page.locator(".vac-explanations dialog[open]")
    expect(dialog.locator("vac-map[data-ready]")).to_have_count(3)
    heatmap, region, colours = (dialog.locator(f"vac-map[data-kind='{k}']") for k in ("heatmap", "region", "colours"))
    source = heatmap.evaluate("map => map.source")
    with open_warehouse(demo_warehouse) as opened:
        stored = Media(opened).maps.get(source["layers"].split("/")[-2])
    # From the picture as it travels: losses of JPEG are not the question here.
    picture = Image.open(io.BytesIO(page.request.get(f"{server}/{source['picture']}").body()))
    attention = layers.at_size(stored.map, picture.size)
    seen = np.asarray(picture)
    slider = dialog.get_by_label("Threshold")
    for percent in (50, 13, 77, 100, 0):
        slider.fill(str(percent))
        page.wait_for_function("([map, step]) => map.shown === step", arg=[heatmap.element_handle(), 2 * percent])
        inside = attention >= percent / 100
        wanted = np.where(inside[..., None], seen, 128)
        # Both decode the JPEG by themselves, which may differ by a rounding.
        assert np.abs(_canvas(region).astype(int) - wanted).max() <= 3
        theirs = np.asarray(render.overlay(picture, attention, percent / 100)).astype(int)
        apart = np.abs(_canvas(heatmap).astype(int) - theirs)
        assert apart.max() <= 12
        assert apart.mean() < 1.5
        counted = colour_histogram(seen, attention, percent / 100)
        counts = np.array(colours.evaluate("map => Array.from(map.counts)")).reshape(3, 32)
        np.testing.assert_array_equal(counts.sum(axis=1), counted.pixels)
        assert np.abs(counts - counted.counts).sum() <= 0.01 * counted.counts.sum()
        assert dialog.locator("dd[data-field='roi_area']").inner_text().endswith("%")


def test_the_area_is_that_of_python_at_every_threshold(page, server, demo_warehouse):
    _explain(page, server, "models=demo:resnet18,demo:alexnet&images=31", 2)
    maps = page.locator(f"{ROWS} td[data-field='heatmap'] vac-map")
    digests = [found.evaluate("map => map.source.layers").split("/")[-2] for found in maps.all()]
    with open_warehouse(demo_warehouse) as opened:
        stored = [Media(opened).maps.get(digest) for digest in digests]
    attentions = [layers.at_size(found.map, (96, 96)) for found in stored]
    shown = page.locator(f"{ROWS} td[data-field='roi_area']")
    at_half = [found.measures["roi_area"] for found in stored]
    assert [text.strip() for text in shown.all_inner_texts()] == [
        f"{100 * area:.1f}\N{NO-BREAK SPACE}%" for area in at_half
    ]
    page.locator(f"{ROWS} td[data-field='heatmap'] button").first.click()
    slider = page.locator(".vac-explanations dialog[open]").get_by_label("Threshold")
    for percent in (20, 63):
        slider.fill(str(percent))
        for cell, attention in zip(shown.all(), attentions, strict=True):
            area = (attention >= percent / 100).mean()
            expect(cell).to_have_text(f"{100 * area:.1f}\N{NO-BREAK SPACE}%")


def test_a_dragged_threshold_needs_no_server_and_little_time(page, server):
    models = "resnet18,resnet34,resnet50,resnet101,resnet152,alexnet,densenet121,densenet169,mobilenet_v2,squeezenet1_0"
    models += ",squeezenet1_1,shufflenet_v2_x0_5,shufflenet_v2_x1_0"
    page.set_viewport_size({"width": 1440, "height": 2200})
    _explain(page, server, f"models={','.join(f'demo:{name}' for name in models.split(','))}&images=32", 13)
    # All thirteen rows in sight at once.
    page.locator(".vac-explanations .frame").evaluate(
        "e => Object.assign(e.style, {position: 'fixed', inset: 0, zIndex: 99999, background: 'white'})"
    )
    expect(page.locator(f"{ROWS} vac-map[data-ready]")).to_have_count(26)
    page.locator(f"{ROWS} td[data-field='heatmap'] button").first.click()
    slider = page.locator(".vac-explanations dialog[open]").get_by_label("Threshold")
    expect(page.locator(".vac-explanations dialog[open] vac-map[data-ready]")).to_have_count(3)
    page.wait_for_timeout(1000)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    before = page.evaluate("vacpanelFrames.count")
    area = page.locator(f"{ROWS} td[data-field='roi_area']").first
    first = area.inner_text()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    for step in range(40):
        page.mouse.move(box["x"] + (0.5 + step / 100) * box["width"], box["y"] + box["height"] / 2)
        page.wait_for_timeout(20)
    count, pictures, durations = page.evaluate(
        "[vacpanelFrames.count, vacpanelFrames.pictures, vacpanelFrames.durations]"
    )
    durations = durations[before - count :]
    assert len(durations) >= 10
    assert pictures >= 26
    assert statistics.median(durations) < 33, durations
    assert area.inner_text() != first
    assert "threshold=0.5&" in page.url
    assert [url for url in asked if "vacpanel-media" in url] == []
    page.mouse.up()
    page.wait_for_url(re.compile(r"threshold=0\.(8|9)"))
    assert [url for url in asked if "vacpanel-media" in url] == []


def test_the_sidebar_moves_maps_and_link(page, server):
    _explain(page, server, "models=demo:resnet18&images=33", 1)
    heatmap = page.locator(f"{ROWS} td[data-field='heatmap'] vac-map[data-ready]")
    heatmap.scroll_into_view_if_needed()
    expect(heatmap).to_have_js_property("shown", 100)
    page.get_by_role("slider", name=THRESHOLD).press("ArrowRight")
    page.wait_for_url(re.compile(r"threshold=0\.5\d"))
    page.wait_for_function("map => map.shown > 100", arg=heatmap.element_handle())
    page.get_by_role("button", name="Reset").click()
    page.wait_for_url(re.compile(r"threshold=0\.5(&|$)"))


TWO = """
import panel as pn
from vacpanel import serving
from vacpanel.state import Selection
from vacpanel.views.explanations import Explanations
from vacpanel.views.threshold import ThresholdSlider

pn.extension()
opened = serving.open_warehouse(WAREHOUSE)
both = pn.Column(width=1200)
for name in ("one", "two"):
    state = Selection(generation=opened.generation)
    slider = ThresholdSlider.of(state, width=300, label=f"Threshold {name}")
    both += [slider, pn.Column(Explanations(opened, state), height=300, css_classes=[name])]
both.servable()
"""


@pytest.fixture(scope="module")
def two(demo_warehouse, tmp_path_factory):
    """A page with two dashboards' worth of views, each with a state of its own."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.py").write_text(TWO.replace("WAREHOUSE", repr(str(demo_warehouse))))
    command = [sys.executable, "-m", "panel", "serve", str(folder / "two.py"), "--plugins", "vacpanel.routes"]
    with serving(command, folder / "log.txt") as address:
        yield f"{address}/two"


def test_two_dashboards_on_a_page_do_not_disturb_each_other(page, two):
    page.goto(two)
    one, other = (page.locator(f".{name} vac-map[data-ready]").first for name in ("one", "two"))
    expect(one).to_be_visible(timeout=120_000)
    expect(other).to_be_visible()
    page.get_by_role("slider", name="Threshold one").fill("80")
    expect(one).to_have_js_property("shown", 160)
    expect(other).to_have_js_property("shown", 100)
    expect(page.get_by_role("slider", name="Threshold two")).to_have_value("50")
