"""Labels that do not cover one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

CHARACTER, LINE = 0.031, 0.055  # width and height of a label character in a frame 190 px wide and 240 px high
OFFSET = 8  # px between a point and its label


def place_labels(
    x: np.ndarray,
    y: np.ndarray,
    labels: Sequence[str],
    order: Sequence[int],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
) -> dict[str, Any]:
    """Place labels beside points on a plot with a logarithmic x axis; drop those that find no free place.

    A greedy pass (Christensen, Marks & Shieber 1995 call it the baseline): each label, in `order`, takes the first of
    four places (right, left, above, below) where it covers neither a point nor an earlier label.

    Parameters
    ----------
    x, y
        (n,) points in data units; NaN points get no label.
    labels
        n texts.
    order
        Which points matter most, first first.
    xlim, ylim
        The visible range in data units.

    Returns
    -------
    dict
        Columns ``x, y, text, align, dx, dy`` (offsets in px), one row a placed label.
    """
    u = (np.log(x) - np.log(xlim[0])) / (np.log(xlim[1]) - np.log(xlim[0]))
    v = (y - ylim[0]) / (ylim[1] - ylim[0])
    taken = [(a - 0.02, b - 0.025, a + 0.02, b + 0.025) for a, b in zip(u, v, strict=True) if np.isfinite(a)]
    rows: list[tuple[float, float, str, str, int, int]] = []
    for i in order:
        if not np.isfinite(u[i]):
            continue
        width = CHARACTER * len(labels[i])
        for align, dx, dy, left, bottom in (
            ("left", OFFSET, 0, u[i] + 0.03, v[i] - LINE / 2),
            ("right", -OFFSET, 0, u[i] - 0.03 - width, v[i] - LINE / 2),
            ("center", 0, -OFFSET - 5, u[i] - width / 2, v[i] + 0.035),
            ("center", 0, OFFSET + 5, u[i] - width / 2, v[i] - 0.035 - LINE),
        ):
            box = (left, bottom, left + width, bottom + LINE)
            inside = box[0] >= 0 and box[2] <= 1 and box[1] >= 0 and box[3] <= 1
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                rows.append((float(x[i]), float(y[i]), labels[i], align, dx, dy))
                break
    columns = zip(*rows, strict=True) if rows else ([] for _ in range(6))
    return dict(zip(("x", "y", "text", "align", "dx", "dy"), map(list, columns), strict=True))


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` round values between `low` and `high` for a logarithmic axis, in steps of 1-2-5 or 1-10."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for mantissas in ((1, 2, 5), (1, 5), (1,)):
        ticks = [m * 10.0**e for e in decades for m in mantissas if low <= m * 10.0**e <= high]
        if len(ticks) <= most:
            break
    return ticks
