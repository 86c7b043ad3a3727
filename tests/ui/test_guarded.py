"""Behind a login, below a path of its own and an index of one's own: pictures need a login as the page does."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.ui.conftest import serving


@pytest.fixture(scope="module")
def guarded(demo_warehouse, tmp_path_factory):
    """The address of a server below ``/lab`` that asks for a password and begins with a page of the user's."""
    folder = tmp_path_factory.mktemp("guarded")
    log, index = folder / "log.txt", folder / "ours.html"
    index.write_text("<h1>All that our lab has</h1><a href='app?model=demo:alexnet'>thirteen models</a>")
    command = [sys.executable, "-m", "vacpanel", "serve", str(demo_warehouse), "--prefix", "lab"]
    command += ["--basic-auth", "open sesame", "--cookie-secret", "no secret at all", "--index", str(index)]
    with serving(command, log) as address:
        yield f"{address}/lab"


def _status(address: str) -> int:
    try:
        return urllib.request.urlopen(address, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


def test_pictures_are_for_those_who_logged_in(page, guarded):
    page.goto(f"{guarded}/")
    page.get_by_label("User").fill("ali")
    page.get_by_label("Password").fill("open onion")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("Invalid")
    page.get_by_label("User").fill("ali")
    page.get_by_label("Password").fill("open sesame")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="thirteen models").click()
    expect(page.get_by_text("Leaf classes of alexnet, best first")).to_be_visible(timeout=120_000)
    page.goto(f"{guarded}/app?classes=3&images=12&models=demo:resnet18,demo:alexnet")
    thumb = page.locator(".vac-explanations .thumb img").first
    expect(thumb).to_be_visible(timeout=120_000)
    expect(thumb).to_have_js_property("complete", True)
    assert thumb.evaluate("image => image.naturalWidth") > 0
    page.get_by_role("button", name="Explain 2 models").click()
    expect(page.locator(".vac-explanations td vac-map[data-kind='heatmap'][data-ready]")).to_have_count(
        2, timeout=120_000
    )
    address = thumb.evaluate("image => image.src")
    assert address.startswith(f"{guarded}/vacpanel-media/")
    assert page.request.get(address).status == 200
    assert _status(address) == 403
    assert _status(address.replace("/lab/", "/")) == 404
