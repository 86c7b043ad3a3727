"""Names are text: whatever stands in a class, a file or a model's name, no page runs it or is turned by it."""

from __future__ import annotations

import csv
import re
import sys
from urllib.parse import quote

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from playwright.sync_api import expect

from etl import run
from tests.ui import plots
from tests.ui.conftest import serving
from tests.ui.plots import GRAPH, MODEL_BARS, ON_CLASSES, RADAR_DOTS, ROOT_BARS, SCATTER, SPREAD
from tests.ui.steps import open_dashboard, until
from vacpanel.controller import Controller
from vacpanel.serving import close_all, open_warehouse
from vacpanel.state import Selection
from warehouse.publish import publish

HTML = "<img src=x onerror=globalThis.ran=1>"
ROOTS = ["<b onmouseover=globalThis.ran=1>root</b>", "שורש"]
CLASSES = [HTML, "\"quoted' & `ticked`", "👩‍🔬 émoji", "עברית \u202eturned"]
MODELS = [HTML, "עברית 👩‍🔬"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A server whose classes, files and models have names that are markup, quotes, emoji and right-to-left text."""
    folder = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / "images" / name).mkdir(parents=True)
        for file in (f"{HTML}.png", f"'{number}\".png"):
            noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "images" / name / file)
    with (folder / "classes.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["class_id", "wnid", "class_name", "root_class"])
        table.writerows([i, f"n0000000{i}", name, ROOTS[i % 2]] for i, name in enumerate(CLASSES))
    models = []
    for seed, name in enumerate(MODELS):
        torch.manual_seed(seed)
        module = torchvision.models.squeezenet1_1(weights=None, num_classes=len(CLASSES))
        with torch.no_grad():  # right about one class at least, so that there is a bar to hover over
            module.classifier[1].bias[seed] += 1
        torch.save(module.state_dict(), folder / f"{name}.pth")
        models.append(f"torchvision:squeezenet1_1@{folder / name}.pth")
    run(folder / "images", models=models, warehouse=folder / "warehouse", classes=folder / "classes.csv")
    # One map is published: a page begins with examples of explanations.
    opened = open_warehouse(folder / "warehouse")
    [explained] = [str(model) for model in opened.models()["model"] if HTML in str(model)]
    state = Selection(generation=opened.generation, models=[explained], images=[0], methods=["grad-cam"])
    Controller(opened, state).finish(lambda *_: None)
    close_all()
    publish(folder / "warehouse")
    with serving([sys.executable, "-m", "vacpanel", "serve", str(folder / "warehouse")], folder / "log.txt") as address:
        yield address


_WATCHED = """
Object.defineProperty(globalThis, "ran", {
  get: () => globalThis.where,
  set: () => globalThis.where = event.composedPath().map((node) => node.outerHTML?.slice(0, 300) ?? String(node)),
})
"""


@pytest.fixture
def page(page):
    """A page that remembers where in it a name was run."""
    page.add_init_script(_WATCHED)
    return page


def _nothing_ran(page):
    assert page.evaluate("globalThis.ran") is None
    expect(page.locator("img[src='x']")).to_have_count(0)


def test_odd_names_are_text_everywhere(page, odd):
    page.goto(f"{odd}/app")
    says = page.locator(".vac-explanations").get_by_text("How each method explains")
    expect(says).to_contain_text(f"{HTML} on one image:", timeout=120_000)
    page.goto(f"{odd}/app?classes=0,1,2,3&images=0")
    thumbs = page.locator(".vac-explanations .thumb")
    expect(thumbs).to_have_count(8, timeout=120_000)
    labels = [thumb.get_attribute("aria-label") for thumb in thumbs.all()]
    assert any(HTML in label for label in labels)
    for name in CLASSES:
        assert sum(label.startswith(f"{name}: ") for label in labels) == 2
        expect(page.locator(f".vac-supplement .chips button:has-text({_quoted(name)})")).to_be_visible()
    _nothing_ran(page)

    page.get_by_role("button", name="Explain 1 model on 1 image").click()
    rows = page.locator(".vac-explanations tbody tr[data-key]")
    expect(rows).to_have_count(1)
    expect(page.locator(".vac-explanations tr[data-state='done']")).to_have_count(1, timeout=120_000)
    rows.locator("td[data-field='picture'] button").click()
    dialog = page.locator(".vac-explanations dialog[open]")
    expect(dialog.locator("h2")).to_contain_text(".png")
    page.keyboard.press("Escape")
    _nothing_ran(page)


def test_odd_names_are_text_in_a_comparison(page, odd):
    page.goto(f"{odd}/app?images=0&method=grad-cam")
    expect(page.locator(".vac-radar button[data-name]").first).to_be_visible(timeout=120_000)
    for button in page.locator(".vac-radar button[data-name]").all():
        button.click()
    page.get_by_role("button", name="Explain 2 models on 1 image").click()
    expect(page.locator(".vac-explanations tr[data-state='done']")).to_have_count(2, timeout=120_000)
    models = page.locator(".vac-explanations td[data-field='label'] .pin")
    assert any(HTML in text for text in models.all_inner_texts())
    cell = page.locator(".vac-supplement .cell").nth(1)
    cell.hover()
    expect(page.locator(".vac-supplement .status")).to_contain_text(HTML)
    cell.click()
    expect(page.locator(".vac-supplement dialog[open] h2")).to_contain_text(HTML)
    page.keyboard.press("Escape")
    _nothing_ran(page)


_TEXT = """
const text = (node) => node.nodeType === 3 ? node.data : node.localName === "style" ? "" :
  [...(node.shadowRoot?.childNodes ?? []), ...node.childNodes].map(text).join("")
"""


def _hover(page, columns, name, value):
    """Move the pointer onto a mark; return what the page says about it."""
    tip = page.locator(".bk-Tooltip:visible").first

    def moved_there():
        x, y = plots.steady(page, columns, name, value)
        page.mouse.move(x - 40, y - 40)
        page.mouse.move(x, y, steps=6)
        page.wait_for_timeout(300)
        return tip.count()

    until(page, moved_there)
    page.wait_for_timeout(200)
    return " ".join(page.locator(".bk-Tooltip:visible").evaluate_all(f"(tips) => {{ {_TEXT}; return tips.map(text) }}"))


def test_what_hover_says_is_text(page, odd):
    """Bokeh's own tooltips, and those that a script of ours fills: names found by number, nearest classes."""
    open_dashboard(page, odd, "?classes=0")
    [pinned] = [label for label in plots.column(page, SCATTER, "label") if HTML in label]
    assert HTML in _hover(page, SCATTER, "label", pinned)
    plots.tap(page, SCATTER, "label", pinned)
    expect(page.get_by_role("heading", name=f"How {pinned} groups the classes", exact=True)).to_be_visible()
    # Classes and roots.
    for columns in (MODEL_BARS, GRAPH):
        said = _hover(page, columns, "class_id", 0)
        assert HTML in said
        assert ROOTS[0] in said
    nearest = _hover(page, GRAPH, "class_id", 1)
    assert HTML in nearest
    assert CLASSES[1] in nearest
    for columns in (ROOT_BARS, SPREAD):
        page.locator(".vac-supplement").get_by_role("radio", name="Classes").or_(
            page.locator(".vac-supplement").get_by_role("button", name="Classes", exact=True)
        ).click()
        assert HTML in _hover(page, columns, "class_id", 0)
    assert ROOTS[0] in _hover(page, RADAR_DOTS, "root", ROOTS[0])
    page.locator(".vac-supplement").get_by_role("button", name="Models", exact=True).click()
    said = _hover(page, ON_CLASSES, "label", pinned)
    assert pinned in said
    assert HTML in said
    _nothing_ran(page)


def test_pickers_filter_and_notices_show_text(page, odd):
    open_dashboard(page, odd, f"?model={quote(HTML)}&classes=3&threshold={quote(HTML)}&root={quote(ROOTS[0])}")
    # What the link asks for in vain is said, not run.
    said = page.locator(".notyf__message")
    expect(said.filter(has_text=f"This warehouse has no model '{HTML}'.")).to_be_visible()
    expect(said.filter(has_text=f"threshold='{HTML}'")).to_be_visible()
    _nothing_ran(page)
    # Classes by WordNet id and by name.
    field = page.get_by_role("combobox", name="Classes")
    options = page.get_by_role("listbox", name="Classes").get_by_role("option")
    for typed, name in (("n00000000", CLASSES[0]), ("img onerror", CLASSES[0]), ("n00000002", CLASSES[2])):
        field.fill(typed)
        expect(options.first.locator("span")).to_have_text(name)
    field.fill("n00000000")
    expect(options.first.locator("span")).to_have_text(HTML)
    field.press("Enter")
    field.press("Escape")
    expect(page.locator(".vac-task").get_by_role("button", name=f"Take out {HTML}", exact=True)).to_be_visible()
    # The menus, the chips and the SQL of the filter bar.
    page.locator("summary", has_text="root classes").click()
    page.get_by_role("checkbox", name=ROOTS[0], exact=True).check()
    page.keyboard.press("Escape")
    page.locator("summary", has_text=re.compile("^models$")).click()
    page.locator(".bar").get_by_role("checkbox", name=re.compile(re.escape(HTML))).check()
    page.keyboard.press("Escape")
    chips = page.locator(".bar .chips button")
    expect(chips).to_have_count(2)
    assert HTML in chips.first.inner_text()
    expect(chips.last).to_have_text(ROOTS[0])
    page.locator(".bar details.sql summary").click()
    expect(page.locator(".bar details.sql code")).to_contain_text(ROOTS[0])
    # The headings and legends.
    expect(page.locator(".vac-rootbars h2")).to_contain_text(f"Leaf classes of “{ROOTS[0]}”")
    expect(page.locator(".vac-distribution").get_by_role("button", name=ROOTS[0], exact=True)).to_be_visible()
    _nothing_ran(page)


def _quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
