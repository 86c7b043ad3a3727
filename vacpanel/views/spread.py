"""Classes worth a look before any is chosen (paper section 5.1): remarkable ranges and averages of accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import CustomJSTickFormatter, FixedTicker, NumeralTickFormatter

from vacpanel.palette import NEUTRAL, root_colors
from vacpanel.views.live import LiveGlyph, LiveSource, no_outline
from vacpanel.views.lookup import lookup_hover

if TYPE_CHECKING:
    from collections.abc import Callable

    from vacpanel.views.base import View

SHOWN = 3  # classes at each end of a ranking, six in all as in the paper
RANKED = {"mean_top1": "Average", "range_top1": "Range of"}  # accuracies or errors, from below
TITLE: dict[str, Any] = {"text_font_size": "9pt", "text_font_style": "bold", "text_color": NEUTRAL}
HALF = 0.36  # half the height of a bar
SMALL: dict[str, Any] = {
    "responsive": True,
    "min_height": 110,
    "toolbar": None,
    "default_tools": [],
    "fontsize": {"ticks": "8pt", "labels": "8.5pt", "title": "9pt"},
}

# Names stand beside the marks; where they are too long for the panel, hover tells the rest.
_NAME = """
const at = source.data[column]
const name = (Number.isInteger(tick) && at ? (names ? names[at[tick]] : at[tick]) : "") ?? ""
return name.length > length ? name.slice(0, length - 1) + "…" : name
"""


def names_beside(
    source: LiveSource, column: str, names: list[str] | None = None, length: int = 15
) -> Callable[[Any, Any], None]:
    """Return a hook that writes a name beside every whole number of the y axis, and keeps room for it.

    Parameters
    ----------
    source
        Whose column has the names, row by row; to be drawn before.
    column
        Its name; numbers where `names` are given.
    names
        The names by number.
    length
        Letters from which a name is cut.
    """

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001
        for axis in plot.state.yaxis:
            args = {"source": source.source(), "column": column, "names": names, "length": length}
            axis.formatter = CustomJSTickFormatter(args=args, code=_NAME)
        plot.state.min_border_left = 18 + round(5.4 * length)  # else the plot would move with the longest name

    return hook


class Spread:
    """Two rankings of classes, three at each end: by the range of the models' accuracies, and by their average.

    They are one plot, drawn once and patched ever after: two would cost a page twice as much.

    Parameters
    ----------
    view
        The view that shows them: its tally is what they show, its state what a tap on a class changes.
    """

    heading = "Classes worth a look"

    def __init__(self, view: View) -> None:
        self._view = view
        self._known: tuple[list[int], list[str]] | None = None
        self._bars: LiveSource
        self._ends: LiveGlyph
        self._titles: LiveGlyph
        self.panel = pn.Column(sizing_mode="stretch_both", margin=0)
        self.follow()

    def follow(self) -> None:
        """Show what the tally says now."""
        classes = self._view.warehouse.classes()
        known = list(map(int, classes["class_id"])), list(map(str, classes["class_name"]))
        columns = self._columns()
        if self._known == known:
            self._bars.patch(**columns)
            self._ends.patch(**_ends(columns))
            self._titles.patch(**self._title_columns())
            return
        self._known = known
        self._bars = LiveSource(fill_color="root", palette=list(root_colors(self._view.warehouse.roots()).values()))
        self._ends = LiveGlyph("scatter", size=3, fill_color=NEUTRAL, line_color=NEUTRAL)
        self._titles = LiveGlyph("text", text="text", text_baseline="middle", **TITLE)
        names = dict(zip(*known, strict=True))
        plot = self._draw(columns, [names.get(i, "") for i in range(max(names, default=-1) + 1)])
        self.panel[:] = [pn.pane.HoloViews(plot, sizing_mode="stretch_both", linked_axes=False)]

    def _columns(self) -> dict[str, Any]:
        """Return the columns of the bars: six rows a ranking, lowest first, and an empty one between them."""
        spread = self._view.tally.class_spread()
        roots = self._view.warehouse.roots()
        rows = 2 * SHOWN + 1
        columns: dict[str, Any] = {
            "class_id": np.full(2 * rows, -1, dtype=np.int32),
            "root": np.zeros(2 * rows, dtype=np.uint8),
            "models": np.zeros(2 * rows, dtype=np.int32),
            **{name: np.full(2 * rows, np.nan) for name in ("left", "right", "min_top1", "max_top1", "mean_top1")},
        }
        for start, by in zip((0, rows), RANKED, strict=True):
            picked = _pick(spread, by)
            at = slice(start, start + len(picked["class_id"]))
            for name in ("class_id", "models", "min_top1", "max_top1", "mean_top1"):
                columns[name][at] = picked[name]
            columns["root"][at] = [roots.index(str(root)) for root in picked["root_class"]]
            columns["left"][at] = picked["min_top1"] if by == "range_top1" else 0.0
            columns["right"][at] = picked["max_top1"] if by == "range_top1" else picked["mean_top1"]
        rank = np.arange(2 * rows, dtype=float)
        self.ids = columns["class_id"].tolist()
        return columns | {"bottom": rank - HALF, "top": rank + HALF}

    def _title_columns(self) -> dict[str, Any]:
        """Return a title over each ranking."""
        rows = 2 * SHOWN + 1
        return {
            "x": np.zeros(len(RANKED)),
            "y": np.arange(len(RANKED)) * rows + 2.0 * SHOWN,
            "text": [f"{title} {self._view.rate}" for title in RANKED.values()],
        }

    def _draw(self, columns: dict[str, Any], names: list[str]) -> hv.Rectangles:
        self._bars.patch(**columns)
        self._ends.patch(**_ends(columns))
        self._titles.patch(**self._title_columns())
        hover = lookup_hover(
            [
                ("class", "@class_id{custom}"),
                ("root class", "@root{custom}"),
                ("worst to best model", "@min_top1{0.0%} to @max_top1{0.0%}"),
                ("mean of @models{0,0} models", "@mean_top1{0.0%}"),
            ],
            {"class_id": names, "root": self._view.warehouse.roots()},
        )
        corners = tuple(columns[name] for name in ("left", "bottom", "right", "top"))
        bars = hv.Rectangles(corners, ["x0", "y0", "x1", "y1"]).opts(
            line_alpha=0,
            alpha=0.9,
            tools=[hover],
            xlim=(0, 1.02),
            ylim=(-0.6, 2 * (2 * SHOWN + 1) - 0.4),
            xlabel="",
            ylabel="",
            xformatter=NumeralTickFormatter(format="0%"),
            hooks=[
                self._bars.hook,
                self._ends.hook,
                self._titles.hook,
                no_outline,
                _tick_rows,
                names_beside(self._bars, "class_id", names),
            ],
            **SMALL,
        )
        self._bars.on_select(bars, self._tapped)
        return bars

    def _tapped(self, row: int) -> None:
        self._view.state.select_class(self.ids[row])


def _ends(columns: dict[str, Any]) -> dict[str, Any]:
    """Return dots at the ends of the bars: a range of nothing has no other mark."""
    return {"x": columns["right"], "y": (columns["bottom"] + columns["top"]) / 2}


def _tick_rows(plot: Any, element: Any) -> None:  # noqa: ARG001
    """Put a tick beside each row of a ranking."""
    figure, rows = plot.state, 2 * SHOWN + 1
    for axis in figure.yaxis:
        axis.ticker = FixedTicker(ticks=[row for row in range(2 * rows) if row % rows < 2 * SHOWN], minor_ticks=[])
    figure.ygrid.visible = False


def _pick(spread: dict[str, Any], by: str) -> dict[str, np.ndarray]:
    """Return the lowest and the highest rows, lowest first."""
    order = np.argsort(np.asarray(spread[by], dtype=float), kind="stable")
    chosen = order if len(order) <= 2 * SHOWN else np.concatenate([order[:SHOWN], order[-SHOWN:]])
    return {name: np.asarray(column)[chosen] for name, column in spread.items()}
