"""Explanations on screen while they are being made, and those that cannot be made."""

from __future__ import annotations

import re
import sys

import pytest
import torch
import torchvision
from playwright.sync_api import Page, expect

from etl import run
from tests.ui.conftest import serving

LONG = "method=bbmp&parameters=" + '{"bbmp":{"iterations":100000,"early_stop":false}}'
ROWS = ".vac-explanations tbody tr[data-key]"
DONE = f"{ROWS}[data-state='done']"


@pytest.fixture(scope="module")
def two_bad_models(tmp_path_factory):
    """A server whose warehouse has a model that says nothing about any image, and one whose checkpoint is gone."""
    folder = tmp_path_factory.mktemp("bad")
    bad = {name: folder / f"{name}.pth" for name in ("flat", "gone")}
    torch.manual_seed(0)
    for path in bad.values():
        module = torchvision.models.squeezenet1_1(weights=None, num_classes=64)
        with torch.no_grad():
            module.classifier[1].weight.zero_()
            module.classifier[1].bias.copy_(torch.arange(64) / (1 if path is bad["flat"] else 2))
        torch.save(module.state_dict(), path)
    models = ["demo:resnet18", *(f"torchvision:squeezenet1_1@{path}" for path in bad.values()), "demo:squeezenet1_1"]
    run(f"demo:{folder / 'images'}?images_per_class=1", models=models, warehouse=folder / "warehouse")
    bad["gone"].unlink()
    command = [sys.executable, "-m", "vacpanel", "serve", str(folder / "warehouse")]
    with serving(command, folder / "log.txt") as address:
        yield address, models


def _open(page: Page, server: str, query: str, button: str):
    page.goto(f"{server}/app?{query}")
    run = page.get_by_role("button", name=re.compile(button))
    expect(run).to_be_enabled(timeout=120_000)
    return run


def _heatmap(page: Page, row: int):
    return page.locator(ROWS).nth(row).locator("td[data-field='heatmap']")


def _layers(heatmap) -> str:
    """Return the address of the map that a cell shows."""
    return heatmap.locator("vac-map").evaluate("map => map.source?.layers ?? ''")


def test_a_long_method_shows_its_preview_evolving_until_it_is_stopped(page, server):
    _open(page, server, f"models=demo:resnet18,demo:alexnet&images=5&{LONG}", "Explain 2 models").click()
    expect(page.locator(ROWS)).to_have_count(2, timeout=120_000)
    expect(_heatmap(page, 1)).to_have_text("waiting")
    heatmap = _heatmap(page, 0)
    badge = heatmap.locator(".badge")
    expect(badge).to_have_text(re.compile(r"^preview, \d+\s%$"), timeout=120_000)
    expect(heatmap.locator("vac-map[data-ready]")).to_be_visible()
    first = _layers(heatmap)
    assert first.startswith("vacpanel-media/")
    page.wait_for_function("([map, first]) => map.source.layers !== first", arg=[_element(heatmap), first])
    # What was painted stays until the next one can be.
    expect(heatmap.locator("vac-map[data-ready]")).to_be_visible()
    expect(page.get_by_text(re.compile("0 of 2 maps"))).to_be_visible()

    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled after 0 maps")).to_be_visible()
    expect(page.locator(ROWS)).to_have_count(1)
    expect(badge).to_have_text(re.compile(r"^preview, stopped at \d+\s%$"))
    left = _layers(heatmap)
    page.wait_for_timeout(1000)
    assert _layers(heatmap) == left


def _element(heatmap):
    return heatmap.locator("vac-map").element_handle()


def test_maps_in_the_store_are_on_the_page_before_the_button_is_pressed(page, server):
    query = "models=demo:resnet18,demo:squeezenet1_1&classes=3"
    explain = _open(page, server, query, "Explain 2 models")
    thumb = page.locator(".vac-explanations button.thumb").nth(1)
    thumb.click()
    explain.click()
    expect(page.get_by_text(re.compile("2 maps in"))).to_be_visible(timeout=120_000)
    maps = {_layers(_heatmap(page, row)) for row in range(2)}

    asked: list[str] = []
    page.on("request", lambda request: asked.extend(address for address in maps if request.url.endswith(address)))
    page.goto("about:blank")
    _open(page, server, query, "Explain 2 models")
    assert asked == []
    thumb.click()
    for _ in range(100):
        if len(asked) == len(maps):
            break
        page.wait_for_timeout(100)
    assert set(asked) == maps
    page.wait_for_timeout(500)
    before = len(asked)
    explain.click()
    expect(page.locator(f"{DONE} vac-map[data-kind='heatmap'][data-ready]")).to_have_count(2)
    assert len(asked) == before


def test_a_changed_selection_stops_the_task_and_clears_the_table(page, server):
    _open(page, server, f"models=demo:resnet18&classes=1&images=5&{LONG}", "Explain 1 model").click()
    expect(_heatmap(page, 0).locator(".badge")).to_have_text(re.compile("preview"), timeout=120_000)
    page.locator(".vac-explanations button.thumb").nth(2).click()
    expect(page.locator(ROWS)).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.get_by_text("Pick an image, tick models on the left", exact=False)).to_be_visible()


def test_another_session_is_served_while_a_long_task_runs(browser, page, server):
    _open(page, server, f"models=demo:resnet18&images=6&{LONG}", "Explain 1 model").click()
    badge = _heatmap(page, 0).locator(".badge")
    expect(badge).to_have_text(re.compile("preview"), timeout=120_000)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    other = context.new_page()
    _open(other, server, "models=demo:alexnet,demo:squeezenet1_1&images=6", "Explain 2 models").click()
    expect(other.locator(f"{ROWS} vac-map[data-kind='heatmap'][data-ready]")).to_have_count(2, timeout=120_000)
    expect(other.get_by_text(re.compile("2 maps in"))).to_be_visible()
    context.close()
    first = _layers(_heatmap(page, 0))
    page.wait_for_function("([map, first]) => map.source.layers !== first", arg=[_element(_heatmap(page, 0)), first])
    page.get_by_role("button", name="Cancel").click()
    expect(badge).to_have_text(re.compile("stopped"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_model_that_cannot_be_explained_gives_one_red_row(page, two_bad_models, theme):
    server, models = two_bad_models
    explain = _open(page, server, f"models={','.join(models)}&images=3", "Explain 4 models")
    if theme == "dark":
        page.get_by_label("Toggle theme").click()
    explain.click()
    expect(page.get_by_text("3 maps in", exact=False)).to_be_visible(timeout=120_000)
    expect(page.get_by_text("1 failed", exact=False)).to_be_visible()
    rows = page.locator(ROWS)
    reason = _heatmap(page, 2).locator(".says")
    expect(reason).to_contain_text("gone.pth does not exist")
    expect(reason).to_be_visible()
    red, *others = (rows.nth(i).evaluate("row => getComputedStyle(row).backgroundColor") for i in (2, 0, 1, 3))
    channels = [float(value) for value in re.findall(r"[\d.]+", red)]
    assert channels[0] > 150 > max(channels[1:3])
    assert red not in others
    # Text and row as they are painted: dark on light, or light on dark.
    text = reason.evaluate("text => getComputedStyle(text).color")
    assert (sum(map(int, re.findall(r"\d+", text)[:3])) > 380) == (theme == "dark")
    for row, painted in ((0, 1), (2, 0), (3, 1)):
        rows.nth(row).scroll_into_view_if_needed()
        expect(_heatmap(page, row).locator("vac-map[data-ready]")).to_have_count(painted)


def test_a_map_that_shows_nothing_is_no_empty_heatmap(page, two_bad_models):
    server, models = two_bad_models
    _open(page, server, f"models={','.join(models[:2])}&images=4", "Explain 2 models").click()
    expect(_heatmap(page, 1)).to_have_text(re.compile("No heatmap: the map is the same everywhere"), timeout=120_000)
    expect(_heatmap(page, 1).locator("vac-map")).to_be_hidden()
    area = page.locator(f"{ROWS} td[data-field='roi_area']")
    expect(area.nth(0)).to_have_text(re.compile(r"^\d+\.\d\s%$"))
    expect(area.nth(1)).to_have_text("–")  # noqa: RUF001 - an en dash, as printed


def test_what_qualifies_a_map_is_said_beside_it(page, server):
    query = 'models=demo:alexnet,demo:resnet18&images=7&method=score-cam&parameters={"score-cam":{"channels":5}}'
    _open(page, server, query, "Explain 2 models").click()
    name = page.locator(ROWS).nth(0).locator("td[data-field='label']")
    expect(name).to_contain_text("approximation: 5 channels of largest variance", timeout=120_000)
    expect(page.get_by_text("What the models look at: Score-CAM, channels 5", exact=False)).to_be_visible()


FOUR = "models=demo:alexnet,demo:resnet18,demo:squeezenet1_1,demo:mobilenet_v2"


@pytest.mark.parametrize("width", [1280, 1440, 2560])
def test_the_table_fits_and_is_sorted_by_what_was_found(page, server, width):
    page.set_viewport_size({"width": width, "height": 900})
    _open(page, server, f"{FOUR}&images=8", "Explain 4 models").click()
    expect(page.locator(DONE)).to_have_count(4, timeout=120_000)
    inner, outer = page.locator(".vac-explanations .scroll").evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert inner == outer
    title = page.locator(".vac-explanations th[data-field='roi_area']")
    title.locator("button").click()
    expect(title).to_have_attribute("aria-sort", "descending")
    shown = _numbers(page, "roi_area")
    assert shown == sorted(shown, reverse=True)
    assert len(set(shown)) > 1
    title.locator("button").click()
    expect(title).to_have_attribute("aria-sort", "ascending")
    assert _numbers(page, "roi_area") == sorted(shown)
    title.locator("button").click()
    assert title.get_attribute("aria-sort") is None
    names = page.locator(f"{ROWS} td[data-field='label']").all_inner_texts()
    assert [name.strip() for name in names] == ["alexnet", "resnet18", "squeezenet1_1", "mobilenet_v2"]


def _numbers(page: Page, field: str) -> list[float]:
    texts = page.locator(f"{ROWS} td[data-field='{field}']").all_inner_texts()
    return [float(text.removesuffix("%")) for text in texts]


def test_rows_are_filtered_by_column_and_searched(page, server):
    _open(page, server, f"{FOUR}&images=8", "Explain 4 models").click()
    expect(page.locator(DONE)).to_have_count(4, timeout=120_000)
    rows = page.locator(ROWS)
    page.get_by_label("Model: contains").fill("SQUEEZE net1_1")
    expect(rows).to_have_count(1)
    expect(page.get_by_text("1 of 4 rows")).to_be_visible()
    page.get_by_label("Model: contains").fill("")
    top1 = sorted(_numbers(page, "top1"))
    bound = page.get_by_label("Top-1: at least, in percent")
    for text, left in ((f"{top1[2]}", 2), (f">= {top1[1]}", 3), (f"< {top1[2]} %", 2), (f"={top1[3]}", 1), ("soon", 4)):
        bound.fill(text)
        expect(rows).to_have_count(left)
    expect(bound).to_have_attribute("aria-invalid", "true")
    bound.fill("200")
    expect(page.get_by_text("No row fits what is asked for.")).to_be_visible()
    page.get_by_role("button", name="Show all rows").click()
    expect(rows).to_have_count(4)
    page.get_by_label("Search the rows").fill("mobile png")
    expect(rows).to_have_count(1)


def test_a_row_opens_large_and_is_left_by_keys_alone(page, server):
    _open(page, server, f"{FOUR}&images=8", "Explain 4 models").click()
    expect(page.locator(DONE)).to_have_count(4, timeout=120_000)
    opener = _heatmap(page, 0).locator("button")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.locator(".vac-explanations dialog[open]")
    expect(dialog.locator("h2")).to_contain_text("alexnet on ")
    expect(dialog.locator("vac-map[data-ready]")).to_have_count(3)
    expect(dialog.locator("img")).to_have_js_property("complete", True)
    for label in ("Top-1", "Confidence", "Area of the region of interest", "Explained class", "Method"):
        expect(dialog.locator("dt").get_by_text(label, exact=True)).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(dialog.locator("h2")).to_contain_text("resnet18 on ")
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator("h2")).to_contain_text("alexnet on ")
    page.keyboard.press("Escape")
    expect(page.locator(".vac-explanations dialog[open]")).to_have_count(0)
    page.keyboard.press("Enter")  # the row's first picture has the focus again
    expect(dialog).to_be_visible()


def test_several_images_are_chosen_and_explained_with_their_colours(page, server):
    _open(page, server, "model=demo:resnet18&classes=2", "Explain 1 model on 4 images")
    thumbs = page.locator(".vac-explanations button.thumb")
    expect(thumbs).to_have_count(4)
    thumbs.nth(0).click()
    thumbs.nth(2).click(modifiers=["Control"])
    expect(page.get_by_role("button", name="Explain 1 model on 2 images")).to_be_enabled()
    thumbs.nth(3).click(modifiers=["Shift"])
    expect(page.get_by_role("button", name="Explain 1 model on 2 images")).to_be_enabled()
    pressed = [thumb.get_attribute("aria-pressed") for thumb in thumbs.all()]
    assert pressed == ["false", "false", "true", "true"]
    for thumb in thumbs.all():
        expect(thumb.locator(".mark")).to_have_text(re.compile("^[✓✗]$"))
    page.get_by_role("button", name="Explain 1 model on 2 images").click()
    expect(page.locator(f"{ROWS} vac-map[data-kind='colours'][data-ready]")).to_have_count(2, timeout=120_000)


def test_the_models_of_a_comparison_are_compared_by_every_measure(page, server):
    _open(page, server, f"{FOUR}&images=8", "Explain 4 models").click()
    expect(page.get_by_text("Comparison of the models")).to_be_visible(timeout=120_000)
    cells = page.locator(".vac-supplement .cell")
    expect(cells).to_have_count(16)
    values = {}
    for measure, equal in (("l1", 0), ("mse", 0), ("ssim", 1), ("hash", 0)):
        page.get_by_label("Measure of similarity").select_option(measure)
        expect(cells.nth(0)).to_have_attribute("data-value", str(equal))
        page.wait_for_url(re.compile(f"measure={measure}"))
        values[measure] = [float(cell.get_attribute("data-value")) for cell in cells.all()]
    assert len({tuple(found) for found in values.values()}) == 4
    cells.nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.locator(".vac-supplement dialog[open]")
    expect(dialog.locator("h2")).to_have_text("alexnet and resnet18")
    expect(dialog.locator("vac-map[data-ready]")).to_have_count(2)
    expect(dialog.locator(".value")).to_contain_text(f"Hash: {values['hash'][1]:.3f}")
    page.keyboard.press("Escape")
    expect(page.locator(".vac-supplement dialog[open]")).to_have_count(0)


def test_options_are_made_from_the_method_and_end_up_in_the_link(page, server):
    page.goto(f"{server}/app?model=demo:resnet18&images=9&method=bbmp")
    page.get_by_role("button", name="Options").click(timeout=120_000)
    iterations = page.get_by_label("iterations", exact=True)
    expect(iterations).to_have_value("300", timeout=120_000)
    iterations.fill("none at all")
    iterations.press("Enter")
    expect(page.get_by_text("iterations must be a whole number", exact=False)).to_be_visible()
    iterations.fill("40")
    iterations.press("Enter")
    expect(page.get_by_text("Options (1 changed)", exact=False)).to_be_visible()
    page.wait_for_url(re.compile("parameters=.*iterations.*40"))
    page.get_by_role("button", name="Published values").click()
    expect(iterations).to_have_value("300")
    page.wait_for_url(lambda url: "iterations" not in url)


def test_a_link_sets_options_and_names_those_that_do_not_exist(page, server):
    page.goto(
        f'{server}/app?model=demo:resnet18&method=bbmp&parameters={{"bbmp":{{"iterations":40,"passes":3,"seed":-1}}}}'
    )
    expect(page.get_by_text("has no parameter 'passes'", exact=False).first).to_be_visible(timeout=120_000)
    expect(page.get_by_text("seed must be a whole number", exact=False).first).to_be_visible()
    page.get_by_role("button", name="Options (1 changed)").click()
    expect(page.get_by_label("iterations", exact=True)).to_have_value("40")
    page.wait_for_url(lambda url: "passes" not in url and "seed" not in url and "iterations" in url)
