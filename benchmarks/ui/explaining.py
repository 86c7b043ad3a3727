"""Maps on the screen: how soon those appear that were computed before, and how they follow the threshold.

Needs a warehouse with 13 models that can be explained, drawn with networks or the embedded demo. The page repaints maps
by itself while the threshold is dragged and notes what that takes in ``vacpanelFrames`` (`vacpanel/browser/maps.js`).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import warehouse
from benchmarks.ui.chromium import LIMIT, QUIET, Visit
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from playwright.sync_api import Browser

METHOD = "grad-cam"
EXPLAINED = 13
"""Models that are explained at once, which the bars are for."""

SLIDER = "Threshold of attention"
THUMB = ".vac-explanations button.thumb"
RUN = re.compile("^Explain ")
IN_THE_STRIP = 24  # pictures that are clicked on in one visit
MOVES = 300  # of the pointer, while the threshold is dragged
SIZE = (1440, 1200)


@dataclass(frozen=True)
class Shown:
    """What it took to show explanations from the store.

    Attributes
    ----------
    times
        Milliseconds from the pointer's release on the button to the last heatmap near the screen.
    maps
        Heatmaps that were near the screen.
    failed
        Clicks after which they did not come.
    """

    times: list[float]
    maps: int
    failed: int


@dataclass(frozen=True)
class Drag:
    """What dragging the threshold took.

    Attributes
    ----------
    paints
        Milliseconds of script for every repaint of all maps.
    frames
        Milliseconds between two frames of the page while it was dragged.
    pictures
        Pictures that followed, heatmaps and regions.
    socket
        Bytes over the web socket until it was let go.
    """

    paints: list[float]
    frames: list[float]
    pictures: int
    socket: int


def models_and_images(path: str | Path, count: int) -> tuple[list[str], list[tuple[int, list[int]]]]:
    """Choose what is explained.

    Parameters
    ----------
    path
        Of the warehouse.
    count
        So many images, unless there are fewer.

    Returns
    -------
    list of str
        The first models that can be explained.
    list of (int, list of int)
        Classes with images of each that have files, so many altogether at least.

    Raises
    ------
    UserError
        If there is no warehouse, or there are too few such models, or no such images.
    """
    classes: list[tuple[int, list[int]]] = []
    with warehouse.open(path) as opened:
        models = list(islice(_explainable(map(str, opened.models()["model"])), EXPLAINED))
        table = opened.classes()
        for class_id in table["class_id"][table["images"] > 0].tolist():
            if sum(len(images) for _, images in classes) >= count:
                break
            strip = opened.images_of(class_id, IN_THE_STRIP)
            rows = zip(strip["image_id"].tolist(), strip["root"], strip["path"], strict=True)
            if images := [image_id for image_id, root, file in rows if Path(root, file).is_file()]:
                classes.append((class_id, images))
    if len(models) < EXPLAINED:
        raise UserError(f"{path} has {len(models)} models that can be explained, {EXPLAINED} are needed.")
    if not classes:
        raise UserError(f"No image of {path} has a file.")
    return models, classes


def _explainable(models: Iterable[str]) -> Iterator[str]:
    """Yield the models that somebody provides, and whose checkpoints are there."""
    from etl.models import resolve

    for model in models:
        with suppress(UserError):
            resolve(model).fingerprint()
            yield model


def compute(path: str | Path, models: list[str], images: list[int]) -> None:
    """Compute all maps that are not in the store yet."""
    from etl.explain.requests import Request
    from etl.explain.service import ExplanationService

    with ExplanationService(path) as service:
        for future in service.request_many([Request(model, image, METHOD) for image in images for model in models]):
            future.result()


def show_cached(browser: Browser, address: str, path: str | Path, count: int) -> Shown:
    """Press the button again and again, for another image each time, whose maps were computed before.

    The browser has seen none of the pictures until the image is picked. From then until the button is pressed half a
    second passes, as it does where a hand moves the pointer, and the page uses it.
    """
    models, classes = models_and_images(path, count)
    compute(path, models, [image for _, images in classes for image in images])
    times: list[float] = []
    maps = failed = 0
    for class_id, images in classes:
        with _task(browser, address, models, class_id) as visit:
            for image in images[: count - len(times) - failed]:
                visit.page.locator(f"{THUMB}[data-id='{image}']").click()
                visit.rest(300)
                button = visit.page.get_by_role("button", name=RUN)
                button.hover()
                visit.page.wait_for_timeout(150)
                visit.page.mouse.down()
                visit.page.mouse.up()
                shown = visit.instrument("explained", len(models), QUIET, LIMIT)
                if shown is None:
                    failed += 1
                else:
                    times.append(shown["total"])
                    maps = shown["maps"]
    return Shown(times, maps, failed)


def drag_threshold(browser: Browser, address: str, path: str | Path) -> Drag:
    """Show the maps of the models on one image and drag the threshold to and fro."""
    models, [(class_id, [image, *_]), *_] = models_and_images(path, 1)
    compute(path, models, [image])
    with _task(browser, address, models, class_id, image) as visit:
        visit.page.get_by_role("button", name=RUN).click()
        if visit.instrument("explained", len(models), QUIET, LIMIT) is None:
            raise RuntimeError(f"The maps did not come: {visit.errors or 'no error'}.")
        slider = visit.page.get_by_role("slider", name=SLIDER)
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        assert box is not None
        y = box["y"] + box["height"] / 2
        visit.page.mouse.move(box["x"] + 0.5 * box["width"], y)
        visit.page.mouse.down()
        visit.page.evaluate("vacpanelFrames.durations.splice(0)")
        visit.wire.clear()
        visit.instrument("record", True)
        for move in range(MOVES):
            share = 0.5 + 0.4 * (abs((4 * move / MOVES + 1) % 4 - 2) - 1)
            visit.page.mouse.move(box["x"] + share * box["width"], y)
        seen = visit.instrument("record", False)
        socket = visit.wire.socket
        frames = visit.page.evaluate("({ ...vacpanelFrames })")
        visit.page.mouse.up()
    if not frames["durations"]:
        raise RuntimeError("The maps did not follow the threshold while it was dragged.")
    return Drag(frames["durations"], [b - a for a, b in pairwise(seen)], frames["pictures"], socket)


def _task(browser: Browser, address: str, models: list[str], class_id: int, image: int | None = None) -> Visit:
    """Open the dashboard with models and a class chosen, and perhaps an image."""
    query = f"models={quote(','.join(models), safe=':,')}&classes={class_id}&method={METHOD}"
    visit = Visit(browser, f"{address}?{query}" + (f"&images={image}" if image is not None else ""), SIZE)
    visit.page.get_by_role("button", name=RUN).wait_for(timeout=60_000)
    visit.rest()
    return visit
