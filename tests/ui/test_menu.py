"""The menu of every view: enlarged, saved as a picture and as data, its SQL copied; with a mouse and with keys."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree as ET

import duckdb
import polars as pl
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.steps import watch_clipboard

SVG = "{http://www.w3.org/2000/svg}"
VIEWS = ("scatter", "radar", "modelbars", "rootbars", "distribution", "explanations", "supplement")


@pytest.fixture
def dashboard(page: Page, server: str) -> Page:
    page.goto(f"{server}/app?model=demo:alexnet&classes=3")
    expect(page.get_by_text("How alexnet groups the classes")).to_be_visible(timeout=120_000)
    page.wait_for_load_state("networkidle")
    return page


def _button(page: Page, view: str):
    return page.locator(f".vac-{view}").get_by_role("button", name=re.compile("^Enlarge or save: "))


def _choose(page: Page, view: str, item: str) -> None:
    _button(page, view).click()
    page.locator(f".vac-{view}").get_by_role("menuitem", name=item).click()


def _saved(page: Page, view: str, item: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        _choose(page, view, item)
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_every_view_has_the_menu_and_nothing_is_made_before_it_is_opened(dashboard):
    for view in VIEWS:
        expect(_button(dashboard, view)).to_have_attribute("aria-expanded", "false")
    expect(dashboard.get_by_role("menuitem", include_hidden=True)).to_have_count(0)


def test_keys_open_the_menu_walk_through_it_and_leave_it(dashboard):
    button = _button(dashboard, "scatter")
    button.focus()
    dashboard.keyboard.press("Enter")
    items = dashboard.locator(".vac-scatter").get_by_role("menuitem")
    expect(items).to_have_text(
        ["Enlarge", "Save as PNG", "Save as SVG", "Save data as CSV", "Save data as Parquet", "Copy SQL"]
    )
    expect(items.first).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "true")
    dashboard.keyboard.press("ArrowUp")
    expect(items.last).to_be_focused()
    dashboard.keyboard.press("ArrowDown")
    dashboard.keyboard.press("ArrowDown")
    expect(items.nth(1)).to_be_focused()
    dashboard.keyboard.press("Escape")
    expect(items.first).to_be_hidden()
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "false")


def test_a_view_is_enlarged_to_the_page_and_goes_back(dashboard):
    card, plot = dashboard.locator(".vac-radar"), dashboard.locator(".vac-radar .bk-Figure").first
    before = plot.bounding_box()
    _choose(dashboard, "radar", "Enlarge")
    dashboard.wait_for_function(
        "(card) => card.getBoundingClientRect().width > 1400 && card.getBoundingClientRect().height > 850",
        arg=card.element_handle(),
    )
    dashboard.wait_for_function("(plot) => plot.getBoundingClientRect().height > 700", arg=plot.element_handle())
    # Above everything else: where the header of the page was is now that of the view.
    assert card.evaluate("(card) => card.getRootNode().elementFromPoint(700, 20) === card")
    dashboard.keyboard.press("Escape")
    dashboard.wait_for_function(
        "([plot, height]) => Math.abs(plot.getBoundingClientRect().height - height) < 2",
        arg=[plot.element_handle(), before["height"]],
    )


def test_plots_are_saved_as_they_are_on_the_page(dashboard):
    for view in ("scatter", "radar", "modelbars", "rootbars", "distribution", "supplement"):
        plot = dashboard.locator(f".vac-{view} .bk-Figure:visible").first.bounding_box()
        name, content = _saved(dashboard, view, "Save as PNG")
        assert name == f"vacpanel-{view}.png"
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        assert picture.size == pytest.approx((plot["width"], plot["height"]), abs=2)
        assert picture.getpixel((0, 0)) == (255, 255, 255)
        assert len(picture.getcolors(1 << 24)) > 20
        name, content = _saved(dashboard, view, "Save as SVG")
        assert name == f"vacpanel-{view}.svg"
        drawing = content.decode()
        assert drawing.startswith("<svg")
        assert drawing.count("<path") > 20
        assert "<image" not in drawing


def test_what_is_no_plot_is_drawn_for_the_file(dashboard):
    """Pictures to choose from; after a comparison its table, in the order of the page, and the similarity matrix."""
    name, content = _saved(dashboard, "explanations", "Save as SVG")
    assert name == "vacpanel-explanations.svg"
    strip = dashboard.locator(".vac-explanations .thumb").count()
    assert len(ET.fromstring(content).findall(f".//{SVG}image")) >= strip > 0

    dashboard.goto(dashboard.url.split("?")[0] + "?models=demo:alexnet,demo:resnet18,demo:squeezenet1_1&images=13")
    dashboard.get_by_role("button", name="Explain 3 models on 1 image").click()
    rows = dashboard.locator(".vac-explanations tr[data-state='done']")
    expect(rows).to_have_count(3, timeout=120_000)
    dashboard.locator(".vac-explanations thead th[data-field='confidence'] button").click()
    models = rows.locator("td[data-field='label'] .pin").all_inner_texts()
    _, content = _saved(dashboard, "explanations", "Save as SVG")
    drawing = ET.fromstring(content)
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    assert [text for text in texts if text in models] == models
    assert len(drawing.findall(f".//{SVG}image")) == 9
    name, content = _saved(dashboard, "explanations", "Save as PNG")
    assert name == "vacpanel-explanations.png"
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    assert picture.size == pytest.approx((float(drawing.get("width")), float(drawing.get("height"))), abs=2)
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert len(picture.getcolors(1 << 24)) > 10_000

    shown = dashboard.locator(".vac-supplement .cell").all_inner_texts()
    name, content = _saved(dashboard, "supplement", "Save as SVG")
    assert name == "vacpanel-supplement.svg"
    texts = [text.text for text in ET.fromstring(content).iter(f"{SVG}text")]
    assert [float(cell) for cell in shown] == pytest.approx(
        [float(text) for text in texts if re.fullmatch(r"\d\.\d{3}", text)], abs=0.006
    )
    _, content = _saved(dashboard, "supplement", "Save as PNG")
    assert len(Image.open(io.BytesIO(content)).convert("RGB").getcolors(1 << 24)) > 100


def test_a_drawing_has_the_colours_of_the_page(dashboard):
    dashboard.get_by_role("button", name="Toggle theme").click()
    dashboard.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    _, content = _saved(dashboard, "explanations", "Save as PNG")
    assert max(Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0))) < 60


def test_data_and_sql_say_the_same(dashboard, demo_warehouse):
    name, content = _saved(dashboard, "modelbars", "Save data as CSV")
    assert name == "vacpanel-model-bars.csv"
    table = pl.read_csv(io.BytesIO(content))
    name, content = _saved(dashboard, "modelbars", "Save data as Parquet")
    assert name == "vacpanel-model-bars.parquet"
    assert pl.read_parquet(io.BytesIO(content)).rows() == table.rows()
    watch_clipboard(dashboard)
    _choose(dashboard, "modelbars", "Copy SQL")
    dashboard.wait_for_function("globalThis.copied")
    query = dashboard.evaluate("copied")
    with duckdb.connect(str(demo_warehouse / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.sql(query).pl().rows() == table.rows()
    assert len(table) == 64
