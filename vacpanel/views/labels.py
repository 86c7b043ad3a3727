"""Labels that do not cover one another, and ticks of logarithmic axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import CustomJS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vacpanel.views.live import LiveSource

# A greedy pass (Christensen, Marks & Shieber 1995 call it the baseline): each label, the most important first, takes
# the first of four places (right, left, above, below) where it covers neither a point nor an earlier label; one that
# finds none is left out until there is room. In the browser, for only it knows how large the plot and the letters are.
_PLACE = """
const place = () => {
  const sizes = [figure.properties.inner_width, figure.properties.inner_height]
  if (sizes.some((size) => size.is_unset)) return  // not laid out yet, as after a new generation
  const [w, h] = sizes.map((size) => size.get_value())
  if (!(w > 0 && h > 0)) return
  const along = (range, value, log) => {
    const at = log ? Math.log : (v) => v
    return (at(value) - at(range.start)) / (at(range.end) - at(range.start))
  }
  const canvas = (globalThis.vacpanelRuler ??= document.createElement("canvas").getContext("2d"))
  canvas.font = "8.5pt sans-serif"
  const {x, y, label, priority} = points.data
  const spots = Array.from(x, (_, i) => [w * along(figure.x_range, x[i], true), h * along(figure.y_range, y[i], false)])
  const inside = ([u, v]) => u >= 0 && u <= w && v >= 0 && v <= h
  const taken = spots.filter(inside).map(([u, v]) => [u - 6, v - 6, u + 6, v + 6])
  const order = Array.from(x.keys()).filter((i) => inside(spots[i])).sort((i, j) => priority[j] - priority[i])
  const rows = {x: [], y: [], text: [], align: [], dx: [], dy: []}
  const line = 13
  for (const i of order) {
    const [u, v] = spots[i]
    const width = canvas.measureText(label[i]).width + 2
    for (const [align, dx, dy, left, bottom] of [
      ["left", 8, 0, u + 8, v - line / 2], ["right", -8, 0, u - 8 - width, v - line / 2],
      ["center", 0, -13, u - width / 2, v + 8], ["center", 0, 13, u - width / 2, v - 8 - line],
    ]) {
      const box = [left, bottom, left + width, bottom + line]
      if (box[0] < 0 || box[2] > w || box[1] < 0 || box[3] > h) continue
      if (taken.some((o) => box[0] < o[2] && o[0] < box[2] && box[1] < o[3] && o[1] < box[3])) continue
      taken.push(box)
      const row = {x: x[i], y: y[i], text: label[i], align, dx, dy}
      for (const name in rows) rows[name].push(row[name])
      break
    }
  }
  if (JSON.stringify(rows) !== JSON.stringify(labels.data)) labels.setv({data: rows}, {sync: false})
}
// Other points are to be painted with their labels at once; when an axis moves both of its ends do.
if (cb_obj === points) return place()
if (figure.vacpanel_placing) return
figure.vacpanel_placing = true
requestAnimationFrame(() => { figure.vacpanel_placing = false; place() })
"""


def placing_labels(points: LiveSource, labels: LiveSource) -> Callable[[Any, Any], None]:
    """Return a hook of a plot (x logarithmic) that keeps labels in their places, whatever is zoomed or resized.

    Parameters
    ----------
    points
        What is labelled; its columns ``x, y, label, priority`` are read.
    labels
        Gets the columns ``x, y, text, align, dx, dy`` (offsets in px).
    """

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001
        figure, of = plot.state, points.source()
        place = CustomJS(args={"figure": figure, "points": of, "labels": labels.source()}, code=_PLACE)
        for size in ("inner_width", "inner_height"):
            figure.js_on_change(size, place)
        for axis_range in (figure.x_range, figure.y_range):
            axis_range.js_on_change("start", place)
            axis_range.js_on_change("end", place)
        if of is not None:
            of.js_on_change("data", place)

    return hook


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` round values between `low` and `high` for a logarithmic axis: 1-2-5, 1-3-10 or 1-10."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for mantissas in ((1, 2, 5), (1, 3), (1,)):  # 1 and 5 would leave no room between 5 and 10
        ticks = [m * 10.0**e for e in decades for m in mantissas if low <= m * 10.0**e <= high]
        if len(ticks) <= most:
            break
    return ticks
