"""Take pictures of the dashboard in every state, light and dark, to be looked at and for docs/images.

``python docs/screenshots.py FOLDER [--warehouse DIR] [--width 1440] [NAME ...]`` needs the extra ``test`` and Chromium;
without a warehouse it builds the demo.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torchvision
from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from etl import run
from tests.ui import plots
from tests.ui.conftest import FLAGS, serving
from tests.ui.plots import GRAPH, MODEL_BARS, SCATTER
from tests.ui.steps import CELLS, DONE, LONG, ROWS, open_dashboard, until
from vacpanel import demo

if TYPE_CHECKING:
    from collections.abc import Callable

SEVEN = ["resnet50", "resnet101", "resnet152", "alexnet", "shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v2"]
COMPARED = "?models=" + ",".join(f"demo:{name}" for name in SEVEN) + "&classes=4"
STATES: dict[str, tuple[str, Callable[[Page, str], None]]] = {}


def state(warehouse: str = "demo") -> Callable[[Callable[[Page, str], None]], Callable[[Page, str], None]]:
    def add(take: Callable[[Page, str], None]) -> Callable[[Page, str], None]:
        STATES[take.__name__.replace("_", "-")] = (warehouse, take)
        return take

    return add


def _explained(page: Page, count: int, *, pick: bool = False) -> None:
    if pick:
        page.locator(".vac-explanations button.thumb").nth(1).click()
        expect(page.get_by_role("button", name=re.compile("on 1 image$"))).to_be_enabled()
    button = page.get_by_role("button", name=re.compile("^Explain "))
    expect(button).to_be_enabled()
    button.click()
    expect(page.locator(f"{ROWS}:is([data-state='done'], [data-state='failed'])")).to_have_count(count, timeout=300_000)
    expect(page.locator(f"{DONE} vac-map[data-kind='heatmap'][data-ready]").first).to_be_visible()


@state()
def start(page: Page, server: str) -> None:
    open_dashboard(page, server)


@state()
def model_hovered(page: Page, server: str) -> None:
    open_dashboard(page, server)
    page.mouse.move(*plots.steady(page, SCATTER, "label", "densenet121"), steps=4)


@state()
def model_pinned(page: Page, server: str) -> None:
    open_dashboard(page, server)
    plots.tap(page, SCATTER, "label", "resnet152")


@state()
def root_pinned(page: Page, server: str) -> None:
    open_dashboard(page, server, "?models=demo:resnet152,demo:squeezenet1_1")
    page.locator(".vac-distribution button[data-name='vehicle']").click()


@state()
def class_selected(page: Page, server: str) -> None:
    open_dashboard(page, server)
    plots.tap(page, MODEL_BARS, "class_id", plots.column(page, MODEL_BARS, "class_id")[-3])


@state()
def class_hovered(page: Page, server: str) -> None:
    open_dashboard(page, server, "?classes=4")
    page.mouse.move(*plots.steady(page, GRAPH, "class_id", 5), steps=4)


@state()
def several_classes(page: Page, server: str) -> None:
    open_dashboard(page, server, "?classes=4,23,17,51,57")


@state()
def filtered(page: Page, server: str) -> None:
    where = '{"models":["demo:alexnet","demo:resnet18"],"roots":["animal","tool"],"correct":false,"max_confidence":0.9}'
    open_dashboard(page, server, f"?where={where}&classes=51")
    page.locator(".bar details.sql summary").click()


@state()
def filter_menu(page: Page, server: str) -> None:
    open_dashboard(page, server)
    page.locator("summary", has_text="root classes").click()


@state()
def filter_leaves_nothing(page: Page, server: str) -> None:
    open_dashboard(page, server, '?where={"min_confidence":1.0,"max_confidence":1.0}&classes=4')


@state()
def image_graph(page: Page, server: str) -> None:
    open_dashboard(page, server, "?graph=images&model=demo:resnet18")
    until(page, lambda: plots.pixels(page) > 500, seconds=60)
    page.mouse.move(*plots.place(page, ["image", "dw", "dh"], 0.3, 0.2), steps=4)
    with contextlib.suppress(AssertionError):
        expect(page.locator(".vac-distribution img")).to_be_visible(timeout=3000)


@state()
def side_by_side(page: Page, server: str) -> None:
    open_dashboard(page, server, "?second=demo:squeezenet1_1")


@state()
def movement(page: Page, server: str) -> None:
    open_dashboard(page, server, "?second=demo:squeezenet1_1&comparison=movement")


@state()
def task_running(page: Page, server: str) -> None:
    open_dashboard(page, server, f"?models=demo:resnet18,demo:alexnet&classes=4&{LONG}")
    page.get_by_role("button", name="Explain 2 models on 1 image").click()
    expect(page.locator(f"{ROWS} .badge").first).to_have_text(re.compile("preview"), timeout=120_000)


@state()
def table(page: Page, server: str) -> None:
    open_dashboard(page, server, COMPARED)
    _explained(page, 7, pick=True)


@state()
def table_enlarged(page: Page, server: str) -> None:
    open_dashboard(page, server, COMPARED)
    _explained(page, 7, pick=True)
    page.locator(".vac-explanations").get_by_role("button", name=re.compile("^Enlarge or save: ")).click()
    page.locator(".vac-explanations").get_by_role("menuitem", name="Enlarge").click()


@state()
def colours_of_one_model(page: Page, server: str) -> None:
    open_dashboard(page, server, "?model=demo:resnet152&classes=51&method=smooth-grad-cam%2B%2B")
    button = page.get_by_role("button", name=re.compile("^Explain "))
    _explained(page, int(button.inner_text().split(" on ")[1].split()[0]))


@state()
def row_large(page: Page, server: str) -> None:
    open_dashboard(page, server, "?model=demo:resnet152&classes=51")
    _explained(page, 1, pick=True)
    page.locator(f"{ROWS} td[data-field='heatmap'] button").first.click()
    expect(page.locator(".vac-explanations dialog[open] vac-map[data-ready]")).to_have_count(3)


@state()
def similarity_pair(page: Page, server: str) -> None:
    open_dashboard(page, server, COMPARED)
    _explained(page, 7, pick=True)
    page.locator(CELLS).nth(5).click()
    expect(page.locator(".vac-supplement dialog[open] vac-map[data-ready]")).to_have_count(2)


@state()
def saved_menu(page: Page, server: str) -> None:
    open_dashboard(page, server)
    menu = page.locator(".saved")
    menu.locator("summary").click()
    for name in ("crayfish, seven models", "what resnet152 gets wrong"):
        menu.get_by_label("Name of this view").fill(name)
        menu.get_by_label("Name of this view").press("Enter")
        expect(menu.get_by_role("button", name=name, exact=True)).to_be_visible()


@state()
def picker_open(page: Page, server: str) -> None:
    open_dashboard(page, server)
    page.get_by_role("combobox", name="Classes").fill("sho")


@state()
def options_unfolded(page: Page, server: str) -> None:
    open_dashboard(page, server, "?method=bbmp&classes=4")
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_label("iterations", exact=True)).to_be_visible(timeout=60_000)


@state()
def view_menu(page: Page, server: str) -> None:
    open_dashboard(page, server)
    page.locator(".vac-scatter").get_by_role("button", name=re.compile("^Enlarge or save: ")).click()


@state()
def notice(page: Page, server: str) -> None:
    open_dashboard(page, server, "?model=demo:vgg16&threshold=much")


@state()
def sidebar_folded(page: Page, server: str) -> None:
    open_dashboard(page, server)
    page.get_by_role("button", name="Show or hide the task sidebar").click()


@state("gone")
def red_row(page: Page, server: str) -> None:
    open_dashboard(page, server, "?classes=4")
    for button in page.locator(".vac-radar button[data-name]").all():
        button.click()
    page.locator(".vac-explanations button.thumb").first.click()
    expect(page.get_by_role("button", name="Explain 3 models on 1 image")).to_be_enabled()
    _explained(page, 3)


@state("empty")
def empty_warehouse(page: Page, server: str) -> None:
    open_dashboard(page, server)


def _warehouse(kind: str, folder: Path) -> Path:
    """Build a warehouse to take pictures of."""
    if kind == "demo":
        demo.build(folder / "demo", 25)
    elif kind == "empty":
        demo.prepare(folder / "empty")
    else:
        module = torchvision.models.squeezenet1_1(weights=None, num_classes=64)
        torch.save(module.state_dict(), folder / "gone.pth")
        models = ["demo:resnet18", f"torchvision:squeezenet1_1@{folder / 'gone.pth'}", "demo:alexnet"]
        run(f"demo:{folder / 'images'}?images_per_class=1", models=models, warehouse=folder / "gone")
        (folder / "gone.pth").unlink()
    return folder / kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--warehouse", type=Path, help="of the demo, if there is one already")
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("names", nargs="*", help=f"all by default: {', '.join(STATES)}")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    chosen = {name: STATES[name] for name in asked.names or STATES}
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        for kind in dict.fromkeys(kind for kind, _ in chosen.values()):
            built = asked.warehouse if kind == "demo" and asked.warehouse else _warehouse(kind, Path(scratch))
            command = [sys.executable, "-m", "vacpanel", "serve", str(built)]
            with serving(command, Path(scratch) / f"{kind}.log") as server:
                for name, (of, take) in chosen.items():
                    if of != kind:
                        continue
                    context = browser.new_context(viewport={"width": asked.width, "height": 900})
                    page = context.new_page()
                    take(page, server)
                    page.wait_for_timeout(700)
                    for theme in ("light", "dark"):
                        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
                        page.evaluate(
                            "() => { for (const opened of Bokeh.documents) for (const model of"
                            " opened._all_models.values()) if (model.type === 'Figure') vacpanelInk(model) }"
                        )
                        page.wait_for_timeout(300)
                        page.screenshot(path=asked.folder / f"{name}-{theme}.png")
                    print(name, flush=True)
                    context.close()
        browser.close()


if __name__ == "__main__":
    main()
