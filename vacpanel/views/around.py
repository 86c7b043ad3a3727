"""Names of root classes around a radar: from three to twenty, none covers another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vacpanel.words import thousands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAMES_AT, CROWDED_AT = 1.2, 1.3
"""Radii; where names begin above and below: beyond those at the sides."""

SIDES_AT = 1.12
"""Radii; where those are, had they begun at their dots."""

TWO_LINES = 30
"""px; how high they are."""

CROWDED = 8
"""Root classes beyond which a name has one line, and those at a side stand in a column."""

EDGES, CROWDED_EDGE = (1.36, 1.65), 2.4
"""Where names at the sides end, in radii: short ones, long ones, and those in a column beside the circle."""

COLUMN = 1.15
"""How high a column is, in heights of its dots."""

LETTER, CROWDED_LETTER = 0.075, 0.125
"""Of a name, in radii; the circle is smaller where the edge is further out."""

DOT = 0.12
"""Radii from the circle that a name keeps clear of."""

ASIDE = 0.12
"""Radii from the middle beyond which a name stands at a side, and no longer above or below."""


def polar(radius: float | Floats, angle: Floats) -> tuple[Floats, Floats]:
    """Return (x, y) with angle 0 at the top, clockwise, as a clock is read."""
    return radius * np.sin(angle), radius * np.cos(angle)


def angles_of(roots: Sequence[str]) -> Floats:
    """Return the angles of root classes, evenly around."""
    return np.arange(len(roots)) * 2 * np.pi / len(roots)


def extent(roots: Sequence[str]) -> tuple[float, float]:
    """Return how far from the centre names end at the sides, and begin above and below, in radii."""
    if len(roots) > CROWDED:
        return CROWDED_EDGE, CROWDED_AT
    at_sides = np.abs(np.sin(angles_of(roots))) > ASIDE
    longest = max((len(root) for root, side in zip(roots, at_sides, strict=True) if side), default=0)
    return float(np.clip(1.1 + LETTER * longest, *EDGES)), NAMES_AT


def names_around(roots: Sequence[str], images: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
    """Return names with numbers of images: those at the sides end at the edge, the others begin above and below.

    Parameters
    ----------
    roots
        The root classes.
    images
        Number of images of each.

    Returns
    -------
    dict
        Columns ``x, y, text, baseline, align`` of text glyphs; x and y in radii.
    """
    counts = [thousands(int(number)) for number in images]
    ends, begin = extent(roots)
    x, y = polar(begin, angles_of(roots))
    side = np.abs(x) > ASIDE
    baseline = ["top" if below else "bottom" for below in y < -0.3]
    if len(roots) > CROWDED:
        for half in (side & (x > 0), side & (x < 0)):
            column = COLUMN * y[half] / begin
            y[half] = np.linspace(column[0], column[-1], len(column))
        baseline = ["middle" if at_side else line for at_side, line in zip(side, baseline, strict=True)]
        inner = np.where(side, np.sqrt(np.clip(1 - y**2, 0, None)) + DOT, -ends)
        room = ((ends - inner) / CROWDED_LETTER).astype(int)
        text = [
            f"{_shortened(root, letters - len(count) - 1)} {count}"
            for root, count, letters in zip(roots, counts, room, strict=True)
        ]
    else:
        y = np.where(side, y * SIDES_AT / begin, y)
        y = np.where(side & (np.abs(y) < 0.3), 0.08, y)
        text = [
            f"{_shortened(root, int(ends / LETTER)) if at_side else root}\n{count}"
            for root, count, at_side in zip(roots, counts, side, strict=True)
        ]
    return {
        "x": np.where(side, ends * np.sign(x), x),
        "y": y,
        "text": text,
        "baseline": baseline,
        "align": np.where(side, np.where(x > 0, "right", "left"), "center").tolist(),
    }


def _shortened(name: str, letters: int) -> str:
    """Return a name of some letters at most; all of it is said when its dot is hovered over."""
    return name if len(name) <= letters else f"{name[: max(letters - 1, 2)]}\N{HORIZONTAL ELLIPSIS}"
