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

LONG = "method=bbmp&parameters=" + '{"iterations":100000,"early_stop":false}'
CELLS = ".vac-explanations .tabulator-row"


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
    return page.locator(CELLS).nth(row).locator("[tabulator-field='heatmap']")


def test_a_long_method_shows_its_preview_evolving_until_it_is_stopped(page, server):
    _open(page, server, f"models=demo:resnet18,demo:alexnet&images=5&{LONG}", "Explain 2 models").click()
    expect(page.locator(CELLS)).to_have_count(2, timeout=120_000)
    expect(_heatmap(page, 1)).to_have_text("waiting")
    badge = _heatmap(page, 0).locator(".badge")
    expect(badge).to_have_text(re.compile(r"^preview, \d+\s%$"), timeout=120_000)
    picture = _heatmap(page, 0).locator("img")
    expect(picture).to_have_js_property("complete", True)
    first = picture.get_attribute("src")
    assert first.startswith("vacpanel-media/")
    expect(picture).not_to_have_attribute("src", first)
    expect(_heatmap(page, 0).locator("img")).to_have_count(1)
    assert picture.evaluate("image => image.naturalWidth") >= 96
    expect(page.get_by_text(re.compile("0 of 2 maps"))).to_be_visible()

    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled after 0 maps")).to_be_visible()
    expect(page.locator(CELLS)).to_have_count(1)
    expect(badge).to_have_text(re.compile(r"^preview, stopped at \d+\s%$"))
    left = picture.get_attribute("src")
    page.wait_for_timeout(1000)
    assert picture.get_attribute("src") == left
    page.get_by_role("slider", name="Threshold of attention").press("ArrowRight")
    expect(picture).to_have_attribute("src", re.compile("/55$"))


def test_a_changed_selection_stops_the_task_and_clears_the_table(page, server):
    _open(page, server, f"models=demo:resnet18&classes=1&images=5&{LONG}", "Explain 1 model").click()
    expect(_heatmap(page, 0).locator(".badge")).to_have_text(re.compile("preview"), timeout=120_000)
    page.locator(".vac-explanations button.thumb").nth(1).click()
    expect(page.locator(CELLS)).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.get_by_text("Pick an image, tick models on the left", exact=False)).to_be_visible()


def test_another_session_is_served_while_a_long_task_runs(browser, page, server):
    _open(page, server, f"models=demo:resnet18&images=6&{LONG}", "Explain 1 model").click()
    badge = _heatmap(page, 0).locator(".badge")
    expect(badge).to_have_text(re.compile("preview"), timeout=120_000)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    other = context.new_page()
    _open(other, server, "models=demo:alexnet,demo:squeezenet1_1&images=6", "Explain 2 models").click()
    expect(other.locator(f"{CELLS} [tabulator-field='heatmap'] img")).to_have_count(2, timeout=120_000)
    expect(other.get_by_text(re.compile("2 maps in"))).to_be_visible()
    context.close()
    picture = _heatmap(page, 0).locator("img")
    expect(picture).not_to_have_attribute("src", picture.get_attribute("src"))
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
    rows = page.locator(CELLS)
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
    expect(_heatmap(page, 0).locator("img")).to_have_count(1)
    expect(_heatmap(page, 3).locator("img")).to_have_count(1)
    expect(_heatmap(page, 2).locator("img")).to_have_count(0)


def test_a_map_that_shows_nothing_is_no_empty_heatmap(page, two_bad_models):
    server, models = two_bad_models
    _open(page, server, f"models={','.join(models[:2])}&images=4", "Explain 2 models").click()
    expect(_heatmap(page, 1)).to_have_text(re.compile("No heatmap: the map is the same everywhere"), timeout=120_000)
    expect(_heatmap(page, 1).locator("img")).to_have_count(0)
    area = page.locator(CELLS).locator("[tabulator-field='roi_area']")
    expect(area.nth(0)).to_have_text(re.compile(r"^\d+\.\d %$"))
    expect(area.nth(1)).to_have_text("–")  # noqa: RUF001 - an en dash, as printed


def test_what_qualifies_a_map_is_said_beside_it(page, server):
    query = 'models=demo:alexnet,demo:resnet18&images=7&method=score-cam&parameters={"channels":5}'
    _open(page, server, query, "Explain 2 models").click()
    name = page.locator(CELLS).nth(0).locator("[tabulator-field='label']")
    expect(name).to_contain_text("approximation: 5 channels of largest variance", timeout=120_000)
    expect(page.get_by_text("What the models look at: Score-CAM, channels 5", exact=False)).to_be_visible()


def test_the_table_fits_and_is_sorted_by_what_was_found(page, server):
    models = "demo:alexnet,demo:resnet18,demo:squeezenet1_1,demo:mobilenet_v2"
    _open(page, server, f"models={models}&images=8", "Explain 4 models").click()
    expect(page.get_by_text("4 maps in", exact=False)).to_be_visible(timeout=120_000)
    width = page.locator(".vac-explanations .tabulator-tableholder").evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert width[0] == width[1]
    area = page.locator(f"{CELLS} [tabulator-field='roi_area']")
    expect(area).to_have_count(4)
    page.locator(".vac-explanations .tabulator-col[tabulator-field='roi_area']").click()
    shown = [float(text.removesuffix(" %")) for text in area.all_inner_texts()]
    assert shown == sorted(shown)
    assert len(set(shown)) > 1


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
    page.wait_for_url(lambda url: "parameters" not in url)


def test_a_link_sets_options_and_names_those_that_do_not_exist(page, server):
    page.goto(f'{server}/app?model=demo:resnet18&method=bbmp&parameters={{"iterations":40,"passes":3,"seed":-1}}')
    expect(page.get_by_text("has no parameter 'passes'", exact=False)).to_be_visible(timeout=120_000)
    expect(page.get_by_text("seed must be a whole number", exact=False)).to_be_visible()
    expect(page.get_by_label("iterations", exact=True)).to_have_value("40")
    page.wait_for_url(lambda url: "passes" not in url and "seed" not in url and "iterations" in url)
