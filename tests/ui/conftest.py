"""A real server process and a real headless Chromium."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (extra 'test')")

playwright.expect.set_options(timeout=60_000)  # shared machines are slow at times

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.ui)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(command: list[str], log: Path):
    """Run a serving command (its port is appended) and yield the address once it answers."""
    port = free_port()
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(240):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{address}/favicon.ico", timeout=1).close()
                    break
                if process.poll() is not None:
                    break
                time.sleep(0.25)
            else:
                pytest.fail(f"the server did not answer: {log.read_text()}")
            assert process.poll() is None, log.read_text()
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


@pytest.fixture(scope="session")
def server(demo_warehouse, tmp_path_factory):
    """The address of ``vacpanel serve`` on the demo; fails the session if the log shows an error."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with serving([sys.executable, "-m", "vacpanel", "serve", str(demo_warehouse)], log) as address:
        yield address
    said = without_partings(log.read_text())
    assert not re.findall(r"^(?:ERROR|Traceback).*", said, re.MULTILINE), said


def without_partings(log: str) -> str:
    """Leave out what Tornado and Bokeh log when a browser leaves while the server talks to it: no error of ours."""
    for gone in (
        r"Task exception was never retrieved\n.*?tornado\.websocket\.WebSocketClosedError\n",
        r"Traceback \(most recent call last\):\n(?:(?!Traceback).)*?assert self\._session is not None\n[ ^]*\n"
        r"AssertionError\n",
    ):
        log = re.sub(gone, "", log, flags=re.DOTALL)
    return log


@pytest.fixture(scope="session")
def browser():
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.fail("The browser tests need Chromium; `make test` installs it, or: apt-get install chromium.")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A fresh page of 1440 x 900; the test fails if the page reports an error, or asks another host for anything."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    elsewhere: list[str] = []
    context.on("request", lambda request: elsewhere.append(request.url) if outside(request.url) else None)
    yield page
    context.close()
    assert errors == []
    assert elsewhere == []


def outside(url: str) -> bool:
    """Tell whether an address is on another machine."""
    return url.startswith(("http", "ws")) and urlsplit(url).hostname not in {"127.0.0.1", "localhost"}
