from __future__ import annotations

import csv

import numpy as np
import pytest

from etl.explain.histogram import colour_histogram
from vacpanel.histogram_chart import PLOT, SHADES, SIZE, histogram_chart, write_histogram


@pytest.fixture
def histogram():
    """Red all dark, green all in the middle, blue all bright, in a region of 6 pixels."""
    image = np.full((4, 3, 3), 77, np.uint8)
    image[:2] = (4, 130, 250)
    attention = np.repeat([1.0, 0.0], 2)[:, None].repeat(3, axis=1)
    return colour_histogram(image, attention, 0.5, bins=32)


def _columns(chart, shade):
    """Return where in the plot the line of a channel is."""
    found = (np.abs(np.asarray(chart, dtype=int) - shade).max(axis=2) < 60).nonzero()[1]
    return (found - PLOT[0]) / (PLOT[2] - PLOT[0])


def test_each_channel_stands_at_its_intensity(histogram):
    chart = histogram_chart(histogram, "title")
    assert chart.size == SIZE
    middle = [float(np.median(_columns(chart.crop((0, 60, SIZE[0], 180)), shade))) for shade in SHADES]
    assert middle == pytest.approx([4 / 256, 132 / 256, 252 / 256], abs=0.03)


def test_an_empty_region_makes_an_empty_chart():
    nothing = colour_histogram(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), 0.5)
    chart = np.asarray(histogram_chart(nothing, ""))
    left, top, right, bottom = PLOT
    assert (chart[top + 5 : bottom - 5, left + 5 : right] == 255).all()


def test_the_table_adds_up(histogram, tmp_path):
    write_histogram(histogram, tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    assert [float(rows[0]["from"]), float(rows[-1]["to"])] == [0, 256]
    filled = {name: [float(row["from"]) for row in rows if row[name] == "6"] for name in ("red", "green", "blue")}
    assert filled == {"red": [0], "green": [128], "blue": [248]}
    assert all(sum(int(row[name]) for row in rows) == histogram.pixels == 6 for name in filled)
