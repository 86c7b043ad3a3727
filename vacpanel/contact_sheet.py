"""One picture of many explanations: a row a model, a column a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from vacpanel import render
from vacpanel.lettering import font, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDE = 224  # px; of a cell's picture
GAP = 8
LABELS = 176  # px; width of the column with the models' names
CAPTION = 20
INK, FAINT, FAILED = (30, 30, 30), (110, 110, 110), (190, 30, 30)


@dataclass(frozen=True)
class Cell:
    """A picture and what is written below it; without a picture the words stand in its place, in red."""

    words: str
    picture: Image.Image | None = None


@dataclass(frozen=True)
class SheetRow:
    """The cells of one model, with its name and a line about it."""

    name: str
    about: str
    cells: Sequence[Cell]


def contact_sheet(
    title: str, columns: Sequence[str], rows: Sequence[SheetRow], threshold: float, levels: Sequence[float]
) -> Image.Image:
    """Draw the sheet.

    Parameters
    ----------
    title
        Written above.
    columns
        One a cell of each row.
    rows
        From top to bottom.
    threshold, levels
        Of the heatmaps in it; the key below shows them.

    Returns
    -------
    PIL.Image.Image
        RGB, on white.
    """
    head, below = 64, 56
    size = (
        2 * GAP + LABELS + len(columns) * (SIDE + GAP),
        head + len(rows) * (SIDE + CAPTION + GAP) + below,
    )
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((2 * GAP, GAP + 4), title, fill=INK, font=font(18))
    lefts = [GAP + LABELS + i * (SIDE + GAP) for i in range(len(columns))]
    for left, column in zip(lefts, columns, strict=True):
        draw.text((left + SIDE / 2, head - GAP - 4), column, fill=INK, font=font(15), anchor="ms")
    for i, row in enumerate(rows):
        top = head + i * (SIDE + CAPTION + GAP)
        _write(draw, (2 * GAP, top + SIDE / 2), row)
        for left, cell in zip(lefts, row.cells, strict=True):
            _place(sheet, (left, top), cell)
    _key(sheet, (GAP + LABELS, size[1] - below + 10), threshold, levels)
    return sheet


def _write(draw: ImageDraw.ImageDraw, middle: tuple[float, float], row: SheetRow) -> None:
    name = wrapped(row.name.replace(":", ": "), font(15), LABELS - 2 * GAP)
    about = wrapped(row.about, font(13), LABELS - 2 * GAP)
    draw.multiline_text(middle, name, fill=INK, font=font(15), anchor="ld")
    draw.multiline_text((middle[0], middle[1] + 6), about, fill=FAINT, font=font(13), anchor="la")


def _place(sheet: Image.Image, corner: tuple[int, int], cell: Cell) -> None:
    left, top = corner
    draw = ImageDraw.Draw(sheet)
    if cell.picture is None and not cell.words:
        return
    if cell.picture is None:
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), fill=(250, 240, 240), outline=FAILED)
        text = wrapped(cell.words, font(13), SIDE - 4 * GAP)
        middle = (left + SIDE / 2, top + SIDE / 2)
        draw.multiline_text(middle, text, fill=FAILED, font=font(13), anchor="mm", align="center")
        return
    picture = cell.picture.copy()
    factor = SIDE / max(picture.size)
    resized = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    picture = picture.resize(resized, Image.Resampling.LANCZOS)
    sheet.paste(picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
    draw.text((left + SIDE / 2, top + SIDE + 4), cell.words, fill=FAINT, font=font(13), anchor="mt")


def _key(sheet: Image.Image, corner: tuple[int, int], threshold: float, levels: Sequence[float]) -> None:
    """Draw the colours of attention as a heatmap of their own, its contour lines with their levels."""
    height = 14
    ramp = np.tile(np.linspace(0, 1, SIDE, dtype=np.float32), (SIDE, 1))
    painted = render.overlay(Image.new("RGB", (SIDE, SIDE), (150, 150, 150)), ramp, threshold, levels)
    left, top = corner
    sheet.paste(painted.crop((0, 0, SIDE, height)), corner)
    draw = ImageDraw.Draw(sheet)
    for level in (0.0, *levels, 1.0):
        draw.text((left + level * SIDE, top + height + 4), f"{level:g}", fill=FAINT, font=font(12), anchor="mt")
    said = f"attention; lines at {', '.join(f'{level:g}' for level in levels)}" if levels else "attention"
    draw.text((left + SIDE + 2 * GAP, top), f"{said}; dimmed below {threshold:g}", fill=FAINT, font=font(13))
