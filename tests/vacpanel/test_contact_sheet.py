from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vacpanel.contact_sheet import SIDE, Cell, SheetRow, contact_sheet
from vacpanel.lettering import font, wrapped

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]


def _boxes(sheet, colour):
    """Left, top, right and bottom of the pixels of a colour."""
    found = np.argwhere((np.asarray(sheet) == colour).all(axis=2))
    (top, left), (bottom, right) = found.min(axis=0), found.max(axis=0) + 1
    return left, top, right, bottom


def test_rows_are_models_and_columns_methods():
    cells = [Cell("region: 10.0%", Image.new("RGB", (240, 240), colour)) for colour in COLOURS]
    rows = [SheetRow("demo:one", "predicts cat, 90.0%", cells[:2]), SheetRow("demo:two", "", cells[2:])]
    sheet = contact_sheet("cat.png", ["Grad-CAM", "BBMP"], rows, 0.5, [0.25, 0.5])
    boxes = [_boxes(sheet, colour) for colour in COLOURS]
    assert {(right - left, bottom - top) for left, top, right, bottom in boxes} == {(SIDE, SIDE)}
    assert boxes[0][0] == boxes[2][0] < boxes[1][0] == boxes[3][0]
    assert boxes[0][1] == boxes[1][1] < boxes[2][1] == boxes[3][1]
    # Nothing else touches the pictures, and there is something to read beside each row.
    names = np.asarray(sheet.convert("L"))[:, : boxes[0][0] - 8]
    for _, top, _, bottom in (boxes[0], boxes[2]):
        assert (names[top:bottom] < 128).any()


def test_pictures_of_any_shape_fit():
    wide = Cell("", Image.new("RGB", (448, 112), COLOURS[0]))
    small = Cell("", Image.new("RGB", (20, 40), COLOURS[1]))
    sheet = contact_sheet("x", ["a", "b"], [SheetRow("m", "", [wide, small])], 0.5, [])
    left, top, right, bottom = _boxes(sheet, COLOURS[0])
    assert (right - left, bottom - top) == (SIDE, SIDE // 4)
    left, top, right, bottom = _boxes(sheet, COLOURS[1])
    assert (right - left, bottom - top) == (SIDE // 2, SIDE)


def test_a_failure_is_red_words_in_its_cell():
    good = Cell("", Image.new("RGB", (50, 50), COLOURS[2]))
    rows = [SheetRow("m", "", [good, Cell("The weights of demo:m are missing; run `vacpanel etl` again.")])]
    sheet = contact_sheet("x", ["a", "b"], rows, 0.5, [])
    left, _, right, _ = _boxes(sheet, (190, 30, 30))
    assert (right - left) == SIDE


@pytest.mark.parametrize("width", [60, 100, 1000])
def test_wrapped_lines_fit_and_no_word_is_lost(width):
    text = "An explanation of a_very_long_name_that_cannot_be_broken and of others"
    lines = wrapped(text, font(13), width).split("\n")
    assert " ".join(lines) == text
    assert all(font(13).getlength(line) <= width or " " not in line for line in lines)
    assert (len(lines) == 1) == (width == 1000)
