"""The main path of the dashboard, as a person walks it."""

from __future__ import annotations

import re
from urllib.parse import unquote

import duckdb
import pytest
from playwright.sync_api import Page, expect

from tests.ui import plots
from tests.ui.plots import GRAPH, MODEL_BARS, RADAR_DOTS, RADAR_LINES, ROOT_BARS, SCATTER
from tests.ui.steps import open_dashboard


@pytest.fixture
def dashboard(page: Page, server: str) -> Page:
    return open_dashboard(page, server)


def _rows(warehouse, query, *parameters):
    with duckdb.connect(str(warehouse / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(query, parameters).fetchall()


def _until(page: Page, what):
    for _ in range(400):
        if what():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not happen within twenty seconds")


def test_all_views_are_filled_at_the_start(dashboard, demo_warehouse):
    assert len(plots.column(dashboard, SCATTER, "model")) == 13
    assert len(plots.column(dashboard, RADAR_LINES, "model")) == 13
    assert len(plots.column(dashboard, RADAR_DOTS, "root")) == 8
    assert len(plots.column(dashboard, MODEL_BARS, "class_id")) == 64
    assert len(plots.column(dashboard, ROOT_BARS, "class_id")) == 8
    assert len(plots.column(dashboard, GRAPH, "class_id")) == 64
    expect(dashboard.get_by_text("Classes worth a look")).to_be_visible()
    [(best,)] = _rows(demo_warehouse, "SELECT max(top1) FROM model_accuracy")
    assert max(plots.column(dashboard, SCATTER, "top1")) == pytest.approx(best)


def test_tapping_a_model_changes_bars_radar_and_graph(dashboard, demo_warehouse):
    before = {
        "bars": plots.column(dashboard, MODEL_BARS, "top1"),
        "graph": plots.column(dashboard, GRAPH, "x"),
    }
    plots.tap(dashboard, SCATTER, "label", "squeezenet1_1")
    expect(dashboard.get_by_text("Leaf classes of squeezenet1_1, best first")).to_be_visible()
    expect(dashboard.get_by_text("How squeezenet1_1 groups the classes")).to_be_visible()
    _until(dashboard, lambda: plots.column(dashboard, MODEL_BARS, "top1") != before["bars"])
    _until(dashboard, lambda: plots.column(dashboard, GRAPH, "x") != before["graph"])
    _until(dashboard, lambda: plots.thickest_line(dashboard) == "squeezenet1_1")
    expected = _rows(
        demo_warehouse,
        "SELECT class_id, top1 FROM class_accuracy WHERE model = 'demo:squeezenet1_1' ORDER BY top1 DESC, class_id",
    )
    shown = zip(
        plots.column(dashboard, MODEL_BARS, "class_id"), plots.column(dashboard, MODEL_BARS, "top1"), strict=True
    )
    assert sorted(shown) == sorted(expected)
    layout = dict(_rows(demo_warehouse, "SELECT class_id, x FROM class_layout WHERE model = 'demo:squeezenet1_1'"))
    drawn = dict(zip(plots.column(dashboard, GRAPH, "class_id"), plots.column(dashboard, GRAPH, "x"), strict=True))
    [(radius,)] = _rows(
        demo_warehouse, "SELECT sqrt(avg(x * x + y * y)) FROM class_layout WHERE model = 'demo:squeezenet1_1'"
    )
    assert drawn == pytest.approx({i: x / radius for i, x in layout.items()}, rel=1e-4)
    _until(dashboard, lambda: "model=demo:squeezenet1_1" in unquote(dashboard.url))


def test_tapping_a_root_pins_it_everywhere(dashboard, demo_warehouse):
    plots.tap(dashboard, RADAR_DOTS, "root", "vehicle")
    expect(dashboard.get_by_text("Leaf classes of “vehicle”", exact=False)).to_be_visible()
    ids = {i for (i,) in _rows(demo_warehouse, "SELECT class_id FROM classes WHERE root_class = 'vehicle'")}
    roots = [root for (root,) in _rows(demo_warehouse, "SELECT DISTINCT root_class FROM classes ORDER BY ALL")]
    _until(dashboard, lambda: set(plots.column(dashboard, ROOT_BARS, "class_id")) == ids)
    means = dict(_rows(demo_warehouse, "SELECT class_id, mean_top1 FROM class_spread WHERE root_class = 'vehicle'"))
    drawn = zip(plots.column(dashboard, ROOT_BARS, "class_id"), plots.column(dashboard, ROOT_BARS, "top1"), strict=True)
    assert dict(drawn) == pytest.approx(means)
    _until(
        dashboard,
        lambda: (
            {
                roots[root]
                for root, alpha in zip(
                    plots.column(dashboard, GRAPH, "root"), plots.column(dashboard, GRAPH, "alpha"), strict=True
                )
                if alpha > 0.9
            }
            == {"vehicle"}
        ),
    )


def test_tapping_the_same_mark_again_is_an_event_again(dashboard):
    plots.tap(dashboard, SCATTER, "label", "mobilenet_v2")
    expect(dashboard.get_by_text("Leaf classes of mobilenet_v2, best first")).to_be_visible()
    plots.tap(dashboard, SCATTER, "label", "squeezenet1_1")
    expect(dashboard.get_by_text("Leaf classes of squeezenet1_1, best first")).to_be_visible()
    plots.tap(dashboard, SCATTER, "label", "mobilenet_v2")
    expect(dashboard.get_by_text("Leaf classes of mobilenet_v2, best first")).to_be_visible()


def test_a_class_and_grad_cam_for_three_models(dashboard):
    for name in ("resnet18", "alexnet", "mobilenet_v2"):
        dashboard.locator(f".vac-radar button[data-name='{name}']").click()
    class_id = plots.column(dashboard, MODEL_BARS, "class_id")[5]
    plots.tap(dashboard, MODEL_BARS, "class_id", class_id)
    expect(dashboard.get_by_text(re.compile(r"Models on “.+”, \d+ images"))).to_be_visible()
    thumbs = dashboard.locator(".vac-explanations button.thumb")
    expect(thumbs.first).to_be_visible()
    thumbs.nth(1).click()
    run = dashboard.get_by_role("button", name="Explain 3 models on 1 image")
    expect(run).to_be_enabled()
    run.click()
    rows = dashboard.locator(".vac-explanations tbody tr[data-key]")
    expect(rows).to_have_count(3, timeout=120_000)
    expect(dashboard.get_by_text("Comparison of the models")).to_be_visible(timeout=120_000)
    heatmaps = dashboard.locator(".vac-explanations td[data-field='heatmap'] vac-map[data-ready]")
    expect(heatmaps).to_have_count(3)
    sources = {heatmaps.nth(i).evaluate("map => map.source.layers") for i in range(3)}
    assert len(sources) == 3
    assert all(source.startswith("vacpanel-media/") for source in sources)


def test_cancel_stops_a_long_task(page, server):
    page.goto(f"{server}/app?model=demo:resnet18&classes=2&method=bbmp")
    run = page.get_by_role("button", name=re.compile("Explain 1 model on . images"))
    run.click(timeout=120_000)
    page.get_by_role("button", name="Cancel").click(timeout=120_000)
    expect(page.get_by_text(re.compile(r"Cancelled after \d maps?"))).to_be_visible()
    expect(run).to_be_enabled()


def test_media_links_are_of_no_use_when_changed(dashboard, server):
    answer = dashboard.request.get(f"{server}/vacpanel-media/0123456789ab/000000000000000000000000/image/1/96")
    assert answer.status == 404


def test_a_link_restores_the_selection_and_names_what_it_cannot(page, server):
    page.goto(f"{server}/app?model=demo:squeezenet1_1&root=tool&models=demo:nothing")
    expect(page.get_by_text("Leaf classes of squeezenet1_1, best first")).to_be_visible(timeout=120_000)
    expect(page.get_by_text("Leaf classes of “tool”", exact=False)).to_be_visible()
    expect(page.get_by_text("no model 'demo:nothing'", exact=False)).to_be_visible()
