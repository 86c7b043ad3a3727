"""A server of several processes: they share the one that explains."""

from __future__ import annotations

import json
import os
import re
import sys

import pytest
from playwright.sync_api import expect

from tests.ui.conftest import outside, serving

ROWS = ".vac-explanations tbody tr[data-key]"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def four_processes(demo_warehouse, tmp_path_factory):
    """The address of a server of four processes."""
    log = tmp_path_factory.mktemp("processes") / "log.txt"
    command = [sys.executable, "-m", "vacpanel", "serve", str(demo_warehouse), "--num-procs", "4"]
    with serving(command, log) as address:
        yield address


def test_sessions_of_all_processes_are_explained_by_one(browser, four_processes, demo_warehouse):
    notes, elsewhere, missing = set(), [], []
    for image in range(4):  # each may meet another process of the server
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.on("request", lambda request: elsewhere.append(request.url) if outside(request.url) else None)
        page.on("response", lambda answer: missing.append(answer.url) if answer.status == 404 else None)
        page.goto(f"{four_processes}/app?models=demo:resnet18,demo:alexnet&images={image}&method=grad-cam%2B%2B")
        run = page.get_by_role("button", name=re.compile("Explain 2 models"))
        expect(run).to_be_enabled(timeout=120_000)
        run.click()
        expect(page.locator(f"{ROWS} vac-map[data-kind='heatmap'][data-ready]")).to_have_count(2, timeout=120_000)
        expect(page.get_by_text(re.compile("2 maps in"))).to_be_visible()
        (note,) = (demo_warehouse / ".gen").glob("explain-*.json")
        notes.add(json.loads(note.read_text())["pid"])
        context.close()
    (pid,) = notes
    os.kill(pid, 0)  # it is there
    assert elsewhere == []
    assert missing == []
