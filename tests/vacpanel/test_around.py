"""Names around the radar."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vacpanel.views.around import (
    CROWDED,
    CROWDED_LETTER,
    LETTER,
    TWO_LINES,
    angles_of,
    extent,
    names_around,
    polar,
)

CARD = 238, 280  # px that are the least for a radar, wide and high
LETTERS, LINE = 12, 17  # px that a line is high, and that the next one is further down


def _boxes(roots):
    """Left, right, bottom and top of each name, in px."""
    names, (ends, begin) = names_around(roots, [123] * len(roots)), extent(roots)
    unit = min(CARD[0] / (2 * ends), (CARD[1] - 2 * TWO_LINES) / (2 * begin))
    letter = (CROWDED_LETTER if len(roots) > CROWDED else LETTER) * CARD[0] / (2 * ends)
    columns = (names[key] for key in ("x", "y", "text", "baseline", "align"))
    for x, y, text, baseline, align in zip(*columns, strict=True):
        lines = text.split("\n")
        width, height = letter * max(map(len, lines)), LETTERS + LINE * (len(lines) - 1)
        left = unit * x - width * {"left": 0, "center": 0.5, "right": 1}[align]
        bottom = unit * y - height * {"bottom": 0, "middle": 0.5, "top": 1}[baseline]
        yield left, left + width, bottom, bottom + height


@pytest.mark.parametrize("name", ["pet {}", "geological formation {}", "a name that is a good deal longer, {}"])
@pytest.mark.parametrize("count", range(3, 21))
def test_no_name_covers_another(count, name):
    for one, other in combinations(_boxes([name.format(i) for i in range(count)]), 2):
        beside = one[1] <= other[0] or other[1] <= one[0]
        assert beside or one[3] <= other[2] + 1e-9 or other[3] <= one[2] + 1e-9


@pytest.mark.parametrize("count", range(CROWDED + 1, 21))
def test_where_there_are_many_no_name_covers_the_circle_and_each_is_near_its_dot(count):
    roots = [f"a name that is rather long {i}" for i in range(count)]
    names = names_around(roots, [123] * count)
    x, y = polar(1.0, angles_of(roots))
    beside = np.array(names["align"]) != "center"
    assert np.abs(names["y"] - y)[beside].max() < 0.25
    assert all(np.sign(a) == np.sign(b) for a, b in zip(names["x"], x, strict=True) if abs(b) > 0.1)
    for at, text, align in zip(names["y"], names["text"], names["align"], strict=True):
        if align != "center":
            assert extent(roots)[0] - CROWDED_LETTER * len(text) > np.sqrt(max(0, 1 - at**2))


def test_every_name_says_how_many_images_there_are():
    assert names_around(["a", "b", "c"], [398, 2, 1000])["text"] == ["a\n398", "b\n2", "c\n1\u2009000"]
    assert all(text.endswith(" 7") for text in names_around([f"root {i}" for i in range(20)], [7] * 20)["text"])
