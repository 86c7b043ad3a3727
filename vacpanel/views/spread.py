"""Classes worth a look before any is chosen (paper section 5.1): remarkable ranges and averages of accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import CustomJSTickFormatter, FixedTicker, NumeralTickFormatter

from vacpanel.palette import NEUTRAL, root_colors
from vacpanel.views.live import LiveSource, no_outline
from vacpanel.views.lookup import lookup_hover

if TYPE_CHECKING:
    from collections.abc import Callable

    from vacpanel.views.base import View

SHOWN = 3  # classes at each end of a ranking, six in all as in the paper
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
const name = Number.isInteger(tick) && at && tick < at.length ? (names ? names[at[tick]] : at[tick]) : ""
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

    Parameters
    ----------
    view
        The view that shows them: its tally is what they show, its state what a tap on a class changes.
    """

    heading = "Classes worth a look"

    def __init__(self, view: View) -> None:
        self._view = view
        self._ranked = {
            "range_top1": _Ranked("Range of class accuracy"),
            "mean_top1": _Ranked("Average of class accuracy"),
        }
        self._drawn: tuple[list[int], list[str]] | None = None
        self.panel = pn.Column(sizing_mode="stretch_both", margin=0)
        self.follow()

    def follow(self) -> None:
        """Show what the tally says now."""
        classes = self._view.warehouse.classes()
        table = list(map(int, classes["class_id"])), list(map(str, classes["class_name"]))
        spread = self._view.tally.class_spread()
        picked = {by: _pick(spread, by) for by in self._ranked}
        if self._drawn == table:
            for by, ranked in self._ranked.items():
                ranked.patch(self._corners(picked[by], by))
            return
        self._drawn = table
        plots = [self._draw(ranked, self._corners(picked[by], by)) for by, ranked in self._ranked.items()]
        self.panel[:] = [pn.pane.HoloViews(plot, sizing_mode="stretch_both", linked_axes=False) for plot in plots]

    def _corners(self, picked: dict[str, np.ndarray], by: str) -> dict[str, Any]:
        roots = self._view.warehouse.roots()
        rank = np.arange(len(picked["class_id"]), dtype=float)
        return {
            "left": picked["min_top1"] if by == "range_top1" else np.zeros_like(rank),
            "bottom": rank - HALF,
            "right": picked["max_top1"] if by == "range_top1" else picked["mean_top1"],
            "top": rank + HALF,
            "class_id": picked["class_id"].astype(np.int32),
            "root": np.array([roots.index(str(root)) for root in picked["root_class"]], dtype=np.uint8),
            **{name: picked[name] for name in ("min_top1", "max_top1", "mean_top1", "models")},
        }

    def _draw(self, ranked: _Ranked, columns: dict[str, Any]) -> Any:
        roots, (ids, texts) = self._view.warehouse.roots(), self._drawn or ([], [])
        names = dict(zip(ids, texts, strict=True))
        by_id = [names.get(i, "") for i in range(max(ids, default=-1) + 1)]
        return ranked.draw(columns, by_id, roots, self._view.state.select_class)


class _Ranked:
    """One ranking: drawn once, patched ever after."""

    def __init__(self, title: str) -> None:
        self._title = title

    def draw(
        self, columns: dict[str, Any], names: list[str], roots: list[str], tapped: Callable[[int], None]
    ) -> hv.Overlay:
        self._bars = LiveSource(fill_color="root", palette=list(root_colors(roots).values()))
        self._ends = LiveSource()
        self._ids = columns["class_id"].tolist()
        corners = {"left": "x0", "bottom": "y0", "right": "x1", "top": "y1"}
        data = {corners.get(name, name): column for name, column in columns.items()}
        hover = lookup_hover(
            [
                ("class", "@class_id{custom}"),
                ("root class", "@root{custom}"),
                ("worst to best model", "@min_top1{0.0%} to @max_top1{0.0%}"),
                ("mean of @models{0,0} models", "@mean_top1{0.0%}"),
            ],
            {"class_id": names, "root": roots},
        )
        bars = hv.Rectangles(data, list(corners.values()), [n for n in data if n not in corners.values()]).opts(
            line_alpha=0, alpha=0.9, tools=[hover, "tap"], hooks=[self._bars.hook]
        )
        self._bars.on_select(bars, lambda row: tapped(self._ids[row]))
        ends = hv.Points(_ends(columns), ["x", "y"]).opts(
            size=3, color=NEUTRAL, hooks=[self._ends.hook], default_tools=[]
        )
        return (bars * ends).opts(
            title=self._title,
            xlim=(0, 1.02),
            ylim=(-0.6, 2 * SHOWN - 0.4),
            xlabel="",
            ylabel="",
            xformatter=NumeralTickFormatter(format="0%"),
            show_legend=False,
            hooks=[no_outline, _six_ticks, names_beside(self._bars, "class_id", names)],
            **SMALL,
        )

    def patch(self, columns: dict[str, Any]) -> None:
        self._ids = columns["class_id"].tolist()
        self._bars.patch(**columns)
        self._ends.patch(**_ends(columns))


def _ends(columns: dict[str, Any]) -> dict[str, Any]:
    """Return dots at the ends of the bars: a range of nothing has no other mark."""
    return {"x": columns["right"], "y": (columns["bottom"] + columns["top"]) / 2}


def _six_ticks(plot: Any, element: Any) -> None:  # noqa: ARG001
    for axis in plot.state.yaxis:
        axis.ticker = FixedTicker(ticks=list(range(2 * SHOWN)), minor_ticks=[])
    plot.state.ygrid.visible = False


def _pick(spread: dict[str, Any], by: str) -> dict[str, np.ndarray]:
    """Return the lowest and the highest rows, lowest first."""
    order = np.argsort(np.asarray(spread[by], dtype=float), kind="stable")
    chosen = order if len(order) <= 2 * SHOWN else np.concatenate([order[:SHOWN], order[-SHOWN:]])
    return {name: np.asarray(column)[chosen] for name, column in spread.items()}
