"""Names are text: whatever stands in a class, a file or a model's name, no page runs it or is turned by it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from playwright.sync_api import expect

from etl import run
from tests.ui.conftest import serving

HTML = "<img src=x onerror=globalThis.ran=1>"
CLASSES = [HTML, "\"quoted' & `ticked`", "👩‍🔬 émoji", "עברית \u202eturned"]


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
    models = []
    for seed, name in enumerate((HTML, "עברית 👩‍🔬")):
        torch.manual_seed(seed)
        module = torchvision.models.squeezenet1_1(weights=None, num_classes=len(CLASSES))
        torch.save(module.state_dict(), folder / f"{name}.pth")
        models.append(f"torchvision:squeezenet1_1@{folder / name}.pth")
    run(folder / "images", models=models, warehouse=folder / "warehouse")
    with serving([sys.executable, "-m", "vacpanel", "serve", str(folder / "warehouse")], folder / "log.txt") as address:
        yield address


def _nothing_ran(page):
    assert page.evaluate("globalThis.ran") is None
    expect(page.locator("img[src='x']")).to_have_count(0)


def test_odd_names_are_text_everywhere(page, odd):
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


def _quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
