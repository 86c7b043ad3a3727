"""The files that ``vacpanel explain`` writes; :func:`vacpanel.explain_command.explain_image` lists them."""

from __future__ import annotations

import csv
import itertools
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vacpanel import render
from vacpanel.contact_sheet import Cell, SheetRow, contact_sheet
from vacpanel.histogram_chart import histogram_chart, write_histogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from PIL import Image

DETAILS = "details"


@dataclass(frozen=True)
class Look:
    """How maps are shown and compared.

    Parameters
    ----------
    threshold
        Attention from which a pixel belongs to the region of interest.
    levels
        Attention at which contour lines run.
    similarity
        Measure of Algorithm 2 by which the models' maps are compared.
    """

    threshold: float = 0.5
    levels: Sequence[float] = render.LEVELS
    similarity: str = "l1"


@dataclass(frozen=True, eq=False)
class Explained:
    """One map and its numbers; an error in their place if the model failed.

    Parameters
    ----------
    model, method
        Names.
    target, predicted
        Names of classes.
    confidence
        Of the prediction.
    measures
        By name, as :func:`etl.explain.measures.measure` gives them.
    seconds
        How long the computation took, when it was made.
    flags
        What qualifies the map, such as ``"stopped early"``.
    blank
        Why the map shows nothing; empty if it does.
    attention
        (H, W) float32 in [0, 1] at the model's input size; None after an error.
    picture
        What the model saw, of the same size; None after an error.
    error
        One sentence; empty if all went well.
    """

    model: str
    method: str
    target: str = ""
    predicted: str = ""
    confidence: float = math.nan
    measures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    flags: Sequence[str] = ()
    blank: str = ""
    attention: np.ndarray | None = None
    picture: Image.Image | None = None
    error: str = ""

    def area(self, threshold: float) -> float:
        """Return the share of the image in the region of interest; NaN if there is no map."""
        from etl.explain.measures import roi_area

        return math.nan if self.attention is None else roi_area(self.attention, threshold)


def write_one(out: Path, image: Path, result: Explained, look: Look) -> None:
    """Write the files of one map, unless there is none.

    Parameters
    ----------
    out
        The folder; made if need be.
    image
        The explained image; only its name matters.
    result
        The map.
    look
        How to show it.
    """
    from etl.explain.histogram import colour_histogram

    details = out / DETAILS
    details.mkdir(parents=True, exist_ok=True)
    if result.attention is None or result.picture is None:
        return
    stem = "-".join(map(_slug, (image.stem, result.model, result.method)))
    np.save(out / f"{stem}.npy", result.attention)
    _heatmap(result.picture, result.attention, result.blank, look).save(out / f"{stem}.png")
    if result.blank:
        return
    render.masked(result.picture, result.attention, look.threshold).save(details / f"{stem}-masked.png")
    histogram = colour_histogram(np.asarray(result.picture), result.attention, look.threshold)
    write_histogram(histogram, details / f"{stem}-histogram.csv")
    title = f"{result.model}, {result.method}: colours of {result.area(look.threshold):.1%} of the picture"
    histogram_chart(histogram, title).save(details / f"{stem}-histogram.png")


def write_all(out: Path, image: Path, results: Sequence[Explained], titles: Mapping[str, str], look: Look) -> None:
    """Write the files about all maps of an image: summary, contact sheet, similarity matrices.

    Parameters
    ----------
    out
        The folder, as :func:`write_one` has made it.
    image
        The explained image; only its name matters.
    results
        All methods of the first model, then all of the next.
    titles
        Of the methods by name.
    look
        How to show and compare the maps.
    """
    details, name = out / DETAILS, _slug(image.stem)
    _write_summary(details / f"{name}-summary.csv", image.name, results, look.threshold)
    columns = ["original", *titles.values()]
    sheet = contact_sheet(image.name, columns, _sheet_rows(results, look), look.threshold, look.levels)
    sheet.save(details / f"{name}-contact-sheet.png")
    for method in titles:
        file = details / f"{name}-{_slug(method)}-similarity-{look.similarity}.csv"
        _write_similarity(file, [result for result in results if result.method == method], look.similarity)


def _heatmap(picture: Image.Image, attention: np.ndarray, blank: str, look: Look) -> Image.Image:
    if blank:
        return render.unexplained(picture, blank)
    return render.overlay(picture, attention, look.threshold, look.levels)


def _write_summary(file: Path, image: str, results: Sequence[Explained], threshold: float) -> None:
    from etl.explain.measures import MEASURES

    others = [name for name in MEASURES if name != "roi_area"]  # which is measured at 0.5
    header = ["image", "model", "method", "target", "predicted", "confidence", "threshold", "roi_area"]
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow([*header, *others, "seconds", "flags", "error"])
        for result in results:
            names = [image, result.model, result.method, result.target, result.predicted]
            numbers = [result.confidence, threshold, result.area(threshold)]
            numbers += [result.measures.get(name, math.nan) for name in others] + [result.seconds]
            shown = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
            table.writerow([*names, *shown, "; ".join(result.flags), result.error])


def _write_similarity(file: Path, results: Sequence[Explained], measure: str) -> None:
    """Compare the models that have a map; write nothing if fewer than two have."""
    from skimage.transform import resize

    from etl.explain import similarity

    models = [result.model for result in results if result.attention is not None and not result.blank]
    maps = [result.attention for result in results if result.attention is not None and not result.blank]
    if len(maps) < 2:
        return
    # Models differ in input size: the smaller maps are enlarged.
    size = tuple(np.max([attention.shape for attention in maps], axis=0))
    matrix = similarity([resize(attention, size, order=1) for attention in maps], measure)
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(["model", *models])
        table.writerows([model, *(f"{value:.6g}" for value in row)] for model, row in zip(models, matrix, strict=True))


def _sheet_rows(results: Sequence[Explained], look: Look) -> list[SheetRow]:
    rows = []
    for model, of_model in itertools.groupby(results, lambda result: result.model):
        maps = list(of_model)
        good = next((result for result in maps if not result.error), None)
        about, original = "", Cell("")
        if good is not None:
            about = f"predicts {good.predicted}, {good.confidence:.1%}"
            about += "" if good.target == good.predicted else f"; explained: {good.target}"
            original = Cell("", good.picture)
        rows.append(SheetRow(model, about, [original, *(_sheet_cell(result, look) for result in maps)]))
    return rows


def _sheet_cell(result: Explained, look: Look) -> Cell:
    if result.attention is None or result.picture is None:
        return Cell(result.error)
    heatmap = _heatmap(result.picture, result.attention, result.blank, look)
    return Cell("" if result.blank else f"region: {result.area(look.threshold):.1%}", heatmap)


def _slug(text: str) -> str:
    """Return the text as a part of a file name."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "x"
