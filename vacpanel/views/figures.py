"""What is shown of explanations, drawn for a file: the table, the pictures to choose from, the similarity matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.palettes import Cividis256

from vacpanel import render
from vacpanel.explained import ExplainedMaps
from vacpanel.grid import Cell, Column, grid
from vacpanel.histogram_chart import histogram_chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image

    from vacpanel.controller import Row
    from warehouse import Warehouse

NOTHING = "\N{EN DASH}"
PICTURE, CHART, WORDS, NUMBER = 150, 210, 130, 84  # px; widths of columns
ACROSS, SMALL = 6, 130  # pictures in a row of a gallery, and their width in px
ORIGINAL = 144  # px
_WIDTHS = {
    "picture": PICTURE,
    "heatmap": PICTURE,
    "region": PICTURE,
    "colours": CHART,
    "percent": NUMBER,
    "area": NUMBER,
}
_NUMBERS = {"percent", "area"}


def table(
    warehouse: Warehouse,
    title: str,
    columns: Sequence[Mapping[str, Any]],
    rows: Sequence[tuple[Row, Mapping[str, Any]]],
    threshold: float,
) -> str:
    """Draw a table of explanations.

    Parameters
    ----------
    warehouse
        Of the models and images.
    title
        Written above.
    columns
        As the table on the page has them: dictionaries with name, title and kind.
    rows
        The maps from top to bottom, each with what the page says of it: values, right, note, says.
    threshold
        From which attention on a pixel belongs to the region of interest.

    Returns
    -------
    str
        An SVG document.
    """
    explained = ExplainedMaps(warehouse, [row for row, _ in rows], threshold)
    plain = [
        Column(
            column["title"].replace("\N{SOFT HYPHEN}", ""),
            _WIDTHS.get(column["kind"], WORDS),
            numbers=column["kind"] in _NUMBERS,
        )
        for column in columns
    ]
    cells = [[_cell(explained, at, said, column, threshold) for column in columns] for at, (_, said) in enumerate(rows)]
    levels = ", ".join(f"{level:.0%}" for level in render.LEVELS)
    note = (
        f"Bright is high attention; contour lines at {levels} of the highest, dimmed below the threshold of"
        f" {threshold:.0%}."
    )
    return grid(title, plain, cells, note)


def _cell(
    explained: ExplainedMaps, at: int, said: Mapping[str, Any], column: Mapping[str, Any], threshold: float
) -> Cell:
    kind, values = column["kind"], said.get("values", {})
    if kind == "picture":
        return Cell(picture=render.enlarged(explained.picture(at)))
    if kind in {"heatmap", "region", "colours"}:
        return _map(explained, at, said, kind, threshold)
    if kind == "percent":
        value = values.get(column["name"])
        return Cell(NOTHING if value is None else f"{value:.1f} %")
    if kind == "area":
        attention = explained.maps[at]
        if attention is None or "layers" not in said:
            return Cell(NOTHING)
        return Cell(f"{100 * np.mean(attention >= threshold):.1f} %")
    text = str(values.get(column["name"]) or "")
    if kind == "answer" and said.get("right") is not None:
        text = f"{'✓' if said['right'] else '✗'} {text}"
    if kind == "model" and said.get("note"):
        text = f"{text} ({said['note']})"
    return Cell(text)


def _map(explained: ExplainedMaps, at: int, said: Mapping[str, Any], kind: str, threshold: float) -> Cell:
    attention = explained.maps[at]
    if attention is None or "layers" not in said:
        return Cell(said.get("says", "") if kind == "heatmap" else "")
    if kind == "heatmap":
        return Cell(said.get("says", ""), explained.heatmap(at))
    picture = explained.picture(at)
    if kind == "region":
        return Cell(picture=render.masked(picture, attention, threshold))
    from etl.explain.histogram import colour_histogram

    histogram = colour_histogram(np.asarray(picture.convert("RGB")), attention, threshold)
    return Cell(picture=histogram_chart(histogram, ""))


def gallery(title: str, pictures: Sequence[tuple[str, Image.Image]], note: str = "") -> str:
    """Draw pictures with a caption each, some in a row.

    Parameters
    ----------
    title
        Written above.
    pictures
        Caption and picture.
    note
        Written below.

    Returns
    -------
    str
        An SVG document.
    """
    cells = [Cell(caption, picture) for caption, picture in pictures]
    across = max(3, min(ACROSS, len(cells)))  # room for a title and a note at least
    lines = [cells[start : start + across] for start in range(0, len(cells), across)]
    return grid(title, [Column("", SMALL)] * across, lines, note)


def matrix(
    title: str, labels: Sequence[str], values: np.ndarray, measure: Mapping[str, Any], original: Image.Image
) -> str:
    """Draw a similarity matrix below the image whose maps it compares.

    Parameters
    ----------
    title
        Written above.
    labels
        What is compared.
    values
        (L, L) similarities.
    measure
        Its title, the value of two equal maps (best) and what it is (says), see `vacpanel.views.similarity.KNOWN`.
    original
        The compared image.

    Returns
    -------
    str
        An SVG document.
    """
    original = original.copy()
    original.thumbnail((ORIGINAL, ORIGINAL))
    columns = [Column("", WORDS + 40), *(Column(label, NUMBER) for label in labels)]
    shades = shaded(values, measure["best"])
    rows = [
        [
            Cell(label),
            *(Cell(f"{value:.3f}", ground=ground, ink=ink) for value, (ground, ink) in zip(*line, strict=True)),
        ]
        for label, *line in zip(labels, values.tolist(), shades, strict=True)
    ]
    rows.append([Cell("the compared image", original)])
    return grid(title, columns, rows, f"{measure['title']}: {measure['says']}.")


def shaded(values: np.ndarray, best: float) -> list[list[tuple[str, str]]]:
    """Return the colours of the cells of a similarity matrix and of the text in them, row by row.

    Parameters
    ----------
    values
        (L, L) similarities, L of at least 2.
    best
        The value of two equal maps; it and the least alike pair span the colours.
    """
    others = values[~np.eye(len(values), dtype=bool)]
    far = others.min() if best else others.max()
    span = (best - far) or 1.0
    at = np.clip(np.round(255 * (values - far) / span), 0, 255).astype(int)
    return [[(Cividis256[i], "black" if i > 127 else "white") for i in line] for line in at.tolist()]
