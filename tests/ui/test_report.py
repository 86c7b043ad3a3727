"""A comparison as one file: it opens offline, shows its maps, runs nothing, and its link selects the same again."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from playwright.sync_api import Page, expect

from etl import run

HTML = "<img src=x onerror=globalThis.ran=1>"


def _report(warehouse: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vacpanel", "report", str(warehouse), "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _open_offline(page: Page, file: Path) -> None:
    """Open a file with the network blocked; nothing but the file may be asked for, and all pictures are there."""
    asked = []
    page.context.set_offline(True)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert [address for address in asked if not address.startswith("data:")] == [file.as_uri()]
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_it_opens_offline_and_its_link_selects_the_same(page, server, demo_warehouse, tmp_path):
    out = tmp_path / "new" / "report.html"
    query = "models=demo:alexnet,demo:squeezenet1_1&images=7&method=grad-cam,layer-cam&threshold=0.7&measure=ssim"
    done = _report(demo_warehouse, out, "--link", f"http://elsewhere/app?{query}", "--address", f"{server}/app")
    assert done.returncode == 0, done.stderr
    assert str(out) in done.stdout
    _open_offline(page, out)
    expect(page.locator("article")).to_have_count(4)
    expect(page.locator("img.heatmap")).to_have_count(4)
    expect(page.locator("img.heatmap").last).to_be_visible()
    expect(page.get_by_text("SSIM: structural similarity, 1 is equal")).to_be_visible()
    expect(page.locator(".matrix tbody td")).to_have_count(16)
    heatmaps = {picture.get_attribute("src") for picture in page.locator("img.heatmap").all()}
    assert len(heatmaps) == 4
    page.context.set_offline(False)
    page.get_by_role("link", name="Open this selection in the dashboard").click()
    expect(page.get_by_role("button", name="Explain 2 models on 1 image with 2 methods")).to_be_enabled(timeout=120_000)
    assert page.get_by_role("slider").first.input_value() == "70"


def test_the_page_exports_what_its_table_shows(page, server, tmp_path):
    page.goto(f"{server}/app?models=demo:alexnet,demo:resnet18&images=3")
    run_task = page.get_by_role("button", name="Explain 2 models on 1 image")
    expect(run_task).to_be_enabled(timeout=120_000)
    export = page.get_by_role("button", name="Export", exact=True)
    expect(export).to_be_hidden()
    run_task.click()
    expect(page.locator(".vac-explanations tbody tr[data-state='done']")).to_have_count(2, timeout=120_000)
    with page.expect_download() as download:
        export.click()
    assert download.value.suggested_filename == "vacpanel-report.html"
    file = tmp_path / "report.html"
    download.value.save_as(file)
    link = re.search(r'href="([^"]*)"', file.read_text())[1]
    assert html.unescape(link).startswith(f"{server}/app?")
    _open_offline(page, file)
    expect(page.get_by_role("heading", name="2 models on 1 image")).to_be_visible()
    expect(page.locator("img.heatmap")).to_have_count(2)


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Path:
    """A warehouse whose class, files and model have markup for names."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "images" / HTML).mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "images" / HTML / f"{HTML}.png")
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(num_classes=1).state_dict(), folder / f"{HTML}.pth")
    model = f"torchvision:squeezenet1_1@{folder / HTML}.pth"
    run(folder / "images", models=[model], warehouse=folder / "warehouse")
    return folder / "warehouse"


def test_names_are_text(page, odd, tmp_path):
    done = _report(odd, tmp_path / "report.html", "--address", "javascript:alert(1)")
    assert done.returncode in {0, 1}, done.stderr  # of one class no map says anything
    text = (tmp_path / "report.html").read_text()
    assert HTML not in text
    assert text.count(html.escape(HTML)) >= 3
    assert "href" not in text
    # Without the page's own ban on scripts, too.
    (tmp_path / "report.html").write_text(re.sub("<meta http-equiv[^>]*>", "", text))
    _open_offline(page, tmp_path / "report.html")
    assert page.evaluate("globalThis.ran") is None
    expect(page.locator("img[src='x']")).to_have_count(0)


def test_bad_input_is_one_sentence(demo_warehouse, empty_warehouse, tmp_path):
    for warehouse, out, said in (
        (empty_warehouse, tmp_path / "report.html", "Choose one or more models first"),
        (tmp_path / "none", tmp_path / "report.html", "warehouse"),
        (demo_warehouse, Path("/proc/none/report.html"), "cannot be written"),
    ):
        done = _report(warehouse, out)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    done = _report(
        demo_warehouse, tmp_path / "report.html", "--link", "?models=demo:nothing&model=demo:alexnet&images=1"
    )
    assert done.returncode == 0, done.stderr
    assert "no model 'demo:nothing'" in done.stderr
