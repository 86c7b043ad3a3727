"""Steps that several browser tests take: open the dashboard, wait for something, ask the warehouse what is true."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import duckdb
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator, Page

ROWS = ".vac-explanations tbody tr[data-key]"
DONE = f"{ROWS}[data-state='done']"
THUMBS = ".vac-explanations button.thumb"
CELLS = ".vac-supplement .cell"
LONG = "method=bbmp&parameters=" + '{"bbmp":{"iterations":100000,"early_stop":false}}'


def open_dashboard(page: Page, server: str, query: str = "") -> Page:
    """Open the page and wait until all of it is there."""
    page.goto(f"{server}/app{query}")
    page.wait_for_function("window.Bokeh && Bokeh.documents.some((opened) => opened.is_idle)", timeout=120_000)
    expect(page.locator("#poster")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("^Explain"))).to_be_visible(timeout=120_000)
    page.wait_for_load_state("networkidle")
    return page


def rows(warehouse: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask the published warehouse."""
    with duckdb.connect(str(warehouse / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(query, values).fetchall()


def until(page: Page, what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something is true; return it."""
    for _ in range(int(20 * seconds)):
        if found := what():
            return found
        page.wait_for_timeout(50)
    raise AssertionError(f"it did not happen within {seconds} s")


def watch_clipboard(page: Page) -> None:
    """Have the page note in ``copied`` what it copies: the clipboard itself is everybody's, other tests' included."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """() => {
          const write = navigator.clipboard.writeText.bind(navigator.clipboard)
          navigator.clipboard.writeText = (text) => write(text).then(() => { globalThis.copied = text })
        }"""
    )


def explain(page: Page, what: str) -> None:
    """Press the button that says what it will explain."""
    run = page.get_by_role("button", name=what, exact=True)
    expect(run).to_be_enabled()
    run.click()


def percents(page: Page, field: str) -> list[float]:
    """Return a column of the table of explanations, from top to bottom."""
    texts = page.locator(f"{ROWS} td[data-field='{field}']").all_inner_texts()
    return [float(text.removesuffix("%")) for text in texts]


def texts(page: Page, field: str) -> list[str]:
    """Return a column of the table of explanations, from top to bottom."""
    return [text.strip() for text in page.locator(f"{ROWS} td[data-field='{field}']").all_inner_texts()]


def sort_by(page: Page, field: str) -> Locator:
    """Click on a title of the table."""
    title = page.locator(f".vac-explanations th[data-field='{field}']")
    title.locator("button").click()
    return title


def painted(page: Page, scope: str, kind: str, count: int) -> None:
    """Scroll through all maps of a kind: every one of them gets painted, and none of them is empty."""
    maps = page.locator(f"{scope} vac-map[data-kind='{kind}']")
    expect(maps).to_have_count(count)
    for place in range(count):
        maps.nth(place).scroll_into_view_if_needed()
        expect(page.locator(f"{scope} vac-map[data-kind='{kind}']").nth(place)).to_have_attribute("data-ready", "")
