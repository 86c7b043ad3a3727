"""The third notebook in a real JupyterLab below a URL prefix: all cells run, a point tapped, the state read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui import plots
from tests.ui.conftest import free_port
from tests.ui.plots import SCATTER

ROOT = Path(__file__).parents[2]
NOTEBOOK = "03_dashboard_in_a_notebook.ipynb"
PREFIX, TOKEN = "/lab/of/ours/", "secret"
QUIET = {"@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}


@pytest.fixture(scope="module")
def lab(demo_warehouse, tmp_path_factory):
    """The address of the notebook in a JupyterLab of its own, which knows nobody's settings."""
    pytest.importorskip("jupyterlab", reason="this test needs JupyterLab (extra 'test')")
    folder = tmp_path_factory.mktemp("lab")
    text = (ROOT / "notebooks" / NOTEBOOK).read_text(encoding="utf-8")
    text = text.replace("images_per_class=25", "images_per_class=4")
    asked = json.dumps('Path("demo-warehouse")')[1:-1]
    assert asked in text
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / NOTEBOOK).write_text(
        text.replace(asked, f"Path({str(demo_warehouse)!r})"), encoding="utf-8"
    )
    for plugin, settings in QUIET.items():
        file = folder / "settings" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    environment = {
        **os.environ,
        **{f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")},
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [f"--ServerApp.base_url={PREFIX}", f"--IdentityProvider.token={TOKEN}"]
    command += [f"--ServerApp.root_dir={folder / 'notebooks'}"]
    log = folder / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}{PREFIX}"
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}api", timeout=1).close()
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.25)
        else:
            pytest.fail(f"JupyterLab did not answer: {log.read_text()}")
        yield f"{address}lab/tree/{NOTEBOOK}?token={TOKEN}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        shutil.rmtree(folder / "runtime", ignore_errors=True)


def _cell(page: Page, text: str):
    return page.locator(".jp-CodeCell").filter(has_text=text).first


def _run(page: Page, text: str) -> None:
    _cell(page, text).locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")


@pytest.fixture
def page(browser):
    """A page of its own: offline, Panel asks a CDN for style sheets that only decorate, and the browser logs that."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.mark.slow
@pytest.mark.timeout(600)  # a whole notebook, and the demo before it
def test_the_dashboard_is_linked_to_the_cells(page, lab):
    page.goto(lab)
    page.locator(".jp-Notebook").wait_for(timeout=120_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    last = _cell(page, "common = answer.maps").locator(".jp-InputPrompt")
    expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=270_000)
    expect(page.get_by_text("Traceback")).to_have_count(0)

    # Cells have set the state before the page had drawn anything, and the views followed; each displays by itself.
    shown = _cell(page, "dashboard = Dashboard(WAREHOUSE)")
    shown.scroll_into_view_if_needed()
    expect(shown.locator(".vac-scatter .bk-Figure")).to_be_visible()
    expect(shown.get_by_text("Leaf classes of alexnet, best first")).to_be_visible()
    for alone, view in (("Radar(dashboard.warehouse", "radar"), ("RootBars(dashboard.warehouse", "rootbars")):
        cell = _cell(page, alone)
        cell.scroll_into_view_if_needed()
        expect(cell.locator(f".vac-{view} .bk-Figure")).to_be_visible()
    expect(cell.get_by_text("Leaf classes of “vehicle”", exact=False)).to_be_visible()

    # Explanations were computed with a bar, and are pictures.
    explained = _cell(page, "answer = dashboard.explain(")
    explained.scroll_into_view_if_needed()
    expect(explained.locator("figure img")).to_have_count(4)
    expect(explained).to_contain_text("4.0/4")

    # A point is tapped, the other views follow, and the next cell knows, while the kernel still answers the page.
    shown.scroll_into_view_if_needed()
    plots.tap(page, SCATTER, "label", "mobilenet_v2")
    expect(shown.get_by_text("Leaf classes of mobilenet_v2, best first")).to_be_visible()
    _run(page, 'print("pinned:"')
    expect(_cell(page, 'print("pinned:"')).to_contain_text("pinned: demo:mobilenet_v2")

    # The task of the dashboard itself is composed and run there, too, while the kernel has nothing else to do.
    shown.locator(".vac-explanations").scroll_into_view_if_needed()
    classes = shown.locator(".vac-task").get_by_role("combobox", name="Classes", exact=True)
    classes.fill("fish")
    page.keyboard.press("Enter")
    shown.locator(".vac-explanations img").first.click()
    expect(shown.get_by_text("is picked.")).to_be_visible()
    shown.get_by_role("button", name=re.compile("Explain")).first.click()
    done = shown.locator(".vac-explanations tr[data-state='done'] vac-map[data-kind='heatmap'][data-ready]")
    expect(done.first).to_be_visible(timeout=60_000)
