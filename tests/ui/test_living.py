"""What happens under an open page: new models are published, its browser is gone in the middle of a task."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from etl import run
from tests.ui import plots
from tests.ui.conftest import serving
from tests.ui.plots import MODEL_BARS, SCATTER
from tests.ui.steps import LONG, ROWS, THUMBS, open_dashboard, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """The address of a server whose warehouse has two models, and what lets another one come."""
    folder = tmp_path_factory.mktemp("growing")

    def add(*models):
        report = run(
            f"demo:{folder / 'images'}?images_per_class=1",
            models=[f"demo:{name}" for name in models],
            warehouse=folder / "warehouse",
        )
        assert not report.failed

    add("resnet18", "squeezenet1_1")
    command = [sys.executable, "-m", "vacpanel", "serve", str(folder / "warehouse")]
    with serving(command, folder / "log.txt") as address:
        yield address, add
    assert "Traceback" not in (folder / "log.txt").read_text()


def test_a_new_model_appears_within_five_seconds_and_what_was_selected_stays(page, growing):
    server, add = growing
    where = "%7B%22max_confidence%22%3A0.99%7D"
    open_dashboard(
        page, server, f"?model=demo:squeezenet1_1&classes=3,7&models=demo:resnet18&where={where}&threshold=0.4"
    )
    assert sorted(plots.column(page, SCATTER, "label")) == ["resnet18", "squeezenet1_1"]
    expect(page.locator(THUMBS).first).to_be_visible()
    strip = [thumb.get_attribute("data-id") for thumb in page.locator(THUMBS).all()]
    bars = plots.column(page, MODEL_BARS, "class_id")
    address = page.url
    page.locator(".bar details.sql summary").click()

    add("alexnet")
    published = time.monotonic()
    until(page, lambda: "alexnet" in plots.column(page, SCATTER, "label"), seconds=5)
    expect(page.get_by_text("3 models", exact=False).first).to_be_visible(timeout=5000)
    assert time.monotonic() - published < 5
    expect(page.locator(".vac-radar button[data-name='alexnet']")).to_be_visible()
    assert page.url == address
    expect(page.get_by_text("Leaf classes of squeezenet1_1, best first")).to_be_visible()
    expect(page.locator(".bar .chips button")).to_have_text(["confidence 0% to 99%"])
    assert [thumb.get_attribute("data-id") for thumb in page.locator(THUMBS).all()] == strip
    assert plots.column(page, MODEL_BARS, "class_id") == bars
    expect(page.locator(".bar details.sql")).to_have_attribute("open", "")  # what was open is open
    # The new one can be used, once the last of what the ETL published is drawn.
    page.wait_for_timeout(2500)
    plots.tap(page, SCATTER, "label", "alexnet")
    expect(page.get_by_text("Leaf classes of alexnet, best first")).to_be_visible()
    page.get_by_role("combobox", name="Models to compare").fill("alex")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=re.compile("^Explain 2 models on 1 image"))).to_be_enabled()


def _busy(pid: int, seconds: float = 1.5) -> float:
    """Return how much of a processor a process uses."""

    def used() -> int:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))

    before = used()
    time.sleep(seconds)
    return (used() - before) / os.sysconf("SC_CLK_TCK") / seconds


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc how busy a process is")
def test_a_browser_that_vanishes_in_the_middle_of_a_task_frees_its_work(browser, server, demo_warehouse):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{server}/app?models=demo:resnet18,demo:alexnet&images=40&{LONG}")
    start = page.get_by_role("button", name="Explain 2 models on 1 image")
    expect(start).to_be_enabled(timeout=120_000)
    start.click()
    expect(page.locator(f"{ROWS} .badge").first).to_have_text(re.compile("preview"), timeout=120_000)
    (note,) = (demo_warehouse / ".gen").glob("explain-*.json")
    pid = json.loads(note.read_text())["pid"]
    assert _busy(pid) > 0.3
    context.close()
    deadline = time.monotonic() + 60
    while _busy(pid) > 0.1:
        assert time.monotonic() < deadline, "it still works for somebody who is gone"
    # And the next one is served.
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{server}/app?models=demo:resnet18&images=41")
    start = page.get_by_role("button", name="Explain 1 model on 1 image")
    expect(start).to_be_enabled(timeout=120_000)
    start.click()
    expect(page.locator(f"{ROWS}[data-state='done']")).to_have_count(1, timeout=60_000)
    context.close()
