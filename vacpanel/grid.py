"""Pictures and texts in rows and columns, as SVG: what is saved of a view that is no plot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from vacpanel.explained import data_uri
from vacpanel.lettering import font, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

GAP = 8  # px; between cells
LETTERS, FINE, TITLE = 13, 12, 16  # px
LEADING = 1.3
FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
WHITE, INK = "#ffffff", "#1d2026"
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Cell:
    """One place of the grid: a picture with a text below it, or a text alone.

    Attributes
    ----------
    text
        Plain text; it is wrapped to the column's width.
    picture
        Shown as large as the column is wide.
    ground, ink
        CSS colours behind the text and of it.
    """

    text: str = ""
    picture: Image.Image | None = None
    ground: str = ""
    ink: str = "currentColor"


@dataclass(frozen=True)
class Column:
    """A column's heading, its width in px, and whether it holds numbers, which stand on the right."""

    title: str
    width: int
    numbers: bool = False


def grid(title: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], note: str = "") -> str:
    """Draw a grid.

    Texts come from folders and checkpoints: they are written as text. The drawing holds its pictures, so that it opens
    anywhere. Its ground has the class ``ground`` and its ink is the root's ``color``: whoever shows it may change both.

    Parameters
    ----------
    title
        Written above.
    columns
        From left to right.
    rows
        From top to bottom, each with a cell a column.
    note
        Written below, small.

    Returns
    -------
    str
        An SVG document.
    """
    lefts = [2 * GAP]
    for column in columns:
        # A text on the left would follow closely upon numbers, which stand on the right.
        lefts.append(lefts[-1] + column.width + GAP * (2 if column.numbers else 1))
    width = lefts[-1] + GAP
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "font-family": FAMILY, "color": INK})
    ET.SubElement(root, "rect", {"class": "ground", "width": "100%", "height": "100%", "fill": WHITE})
    top = _write(root, title, 2 * GAP, 1.5 * GAP, width - 4 * GAP, size=TITLE, bold=True) + GAP
    if any(column.title for column in columns):
        top = GAP + max(
            _write(root, column.title, left, top, column.width, right=column.numbers, bold=True)
            for column, left in zip(columns, lefts, strict=False)
        )
    for row in rows:
        grounds = []
        bottom = top
        for cell, column, left in zip(row, columns, lefts, strict=False):
            if cell.ground:
                place = {"x": _px(left - GAP / 2), "y": _px(top - GAP / 2), "width": _px(column.width + GAP)}
                grounds.append(ET.SubElement(root, "rect", place | {"fill": cell.ground}))
            bottom = max(bottom, _place(root, cell, column, left, top))
        for ground in grounds:  # as high as the highest cell of the row, which is known now
            ground.set("height", _px(bottom - top + GAP))
        top = bottom + GAP
    if note:
        top = _write(root, note, 2 * GAP, top + GAP / 2, width - 4 * GAP, size=FINE)
    height = top + 1.5 * GAP
    root.set("width", _px(width))
    root.set("height", _px(height))
    root.set("viewBox", f"0 0 {_px(width)} {_px(height)}")
    return ET.tostring(root, encoding="unicode")


def _place(root: ET.Element, cell: Cell, column: Column, left: float, top: float) -> float:
    """Draw a cell; return where it ends."""
    if cell.picture is not None:
        height = column.width * cell.picture.height / cell.picture.width
        place = {"x": _px(left), "y": _px(top), "width": _px(column.width), "height": _px(height)}
        ET.SubElement(root, "image", place | {"href": data_uri(cell.picture)})
        top += height + (GAP / 2 if cell.text else 0)
    return _write(root, cell.text, left, top, column.width, ink=cell.ink, right=column.numbers)


def _write(
    root: ET.Element,
    text: str,
    left: float,
    top: float,
    width: float,
    *,
    size: int = LETTERS,
    bold: bool = False,
    right: bool = False,
    ink: str = "currentColor",
) -> float:
    """Write a text in lines; return where it ends."""
    for line in _lines(text, size, int(width)):
        place = {"x": _px(left + width if right else left), "y": _px(top + size), "font-size": str(size), "fill": ink}
        if bold:
            place["font-weight"] = "600"
        if right:
            place["text-anchor"] = "end"
        # A name that is written from right to left must not turn what stands beside it.
        place["style"] = "unicode-bidi: isolate"
        ET.SubElement(root, "text", place).text = line
        top += size * LEADING
    return top


def _lines(text: str, size: int, width: int) -> list[str]:
    """Break a text into lines; a word that is too long is broken, too."""
    letters = font(size + 1)  # somewhat wider than most: the viewer's font is not known
    lines = []
    for line in wrapped(_NO_XML.sub("\ufffd", text), letters, width).split("\n"):
        while len(line) > 1 and letters.getlength(line) > width:
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or letters.getlength(line[:n]) <= width)
            lines.append(line[:fits])
            line = line[fits:]
        if line:
            lines.append(line)
    return lines


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
