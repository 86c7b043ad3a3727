"""A3 and A4: leaf classes ranked by accuracy, for the pinned model and for the pinned root (paper section 5.1)."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import param
from bokeh.models import AdaptiveTicker, CustomJSTickFormatter, HoverTool, NumeralTickFormatter

from vacpanel.palette import NEUTRAL, root_colors
from vacpanel.views.base import PlotView
from vacpanel.views.live import LiveSource, quiet_toolbar

HALF = 0.42  # half the width of a bar whose rank is its position

# Names stand under the bars; ticks thin out by themselves when many classes are in sight.
RANK_TO_NAME = """
const names = source.data["class_name"] || []
const name = Number.isInteger(tick) ? (names[tick] || "") : ""
return name.length > 13 ? name.slice(0, 12) + "…" : name
"""


def _name_ticks(plot: Any, element: Any) -> None:  # noqa: ARG001
    axis = plot.handles["xaxis"]
    axis.ticker = AdaptiveTicker(min_interval=1, base=10, mantissas=[1, 2, 5], desired_num_ticks=18)
    axis.formatter = CustomJSTickFormatter(args={"source": plot.handles["source"]}, code=RANK_TO_NAME)


class _RankedBars(PlotView):
    """Bars ranked in descending order on a zoomable axis of ranks; a tap selects the class."""

    def columns(self) -> dict[str, Any]:
        """Return class_id, class_name, root_class, value and hover columns, ranked; empty when nothing is pinned."""
        raise NotImplementedError

    def tooltips(self) -> list[tuple[str, str]]:
        """Return what hover tells."""
        raise NotImplementedError

    def overlays(self) -> list[Any]:
        """Return further elements drawn over the bars."""
        return []

    def _draw_bars(self) -> Any:
        self._bars, self._marks = LiveSource(), LiveSource()
        data = self._data = self.columns()
        n = len(data["value"])
        colors = root_colors(self.warehouse.roots())
        extra = [name for name in data if name not in ("x0", "y0", "x1", "y1")]
        bars = hv.Rectangles(data, ["x0", "y0", "x1", "y1"], extra).opts(
            color="root_class",
            cmap=colors,
            line_alpha=0,
            alpha=0.9,
            tools=[HoverTool(tooltips=self.tooltips()), "tap"],
            hooks=[self._bars.hook, _name_ticks],
        )
        self._bars.on_tap(bars, self._tapped)
        marks = hv.Points(self._mark_data(), ["x", "y"]).opts(
            marker="inverted_triangle", color=NEUTRAL, size=10, hooks=[self._marks.hook], default_tools=[]
        )
        return hv.Overlay([bars, *self.overlays(), marks]).opts(
            xlim=(-0.6, max(n, 1) - 0.4),
            ylim=(0, 1.08),
            xlabel="",
            ylabel="",
            yformatter=NumeralTickFormatter(format="0%"),
            xrotation=40,
            responsive=True,
            min_height=110,
            toolbar="right",
            hooks=[quiet_toolbar],
            default_tools=["xpan", "xwheel_zoom", "reset"],
            active_tools=["xwheel_zoom"],
            fontsize={"ticks": "7pt"},
            show_legend=False,
        )

    def _patch_bars(self, *, keep_zoom: bool) -> None:
        before = len(self._data["value"])
        data = self._data = self.columns()
        self._bars.patch(
            left=data["x0"],
            bottom=data["y0"],
            right=data["x1"],
            top=data["y1"],
            color=data["root_class"],
            **data,
        )
        if not keep_zoom or len(data["value"]) != before:
            self._bars.ranges(x=(-0.6, max(len(data["value"]), 1) - 0.4))
        self._marks.patch(**self._mark_data())

    def _mark_data(self) -> dict[str, Any]:
        at = np.flatnonzero(np.isin(np.asarray(self._data["class_id"], dtype=int), self.state.classes))
        return {
            "x": at.astype(float),
            "y": np.minimum(np.asarray(self._data["value"], dtype=float)[at] + 0.05, 1.05),
        }

    def _tapped(self, row: int) -> None:
        self.state.select_class(int(self._data["class_id"][row]))

    def _with_bars(self, table: dict[str, Any], value: str) -> dict[str, Any]:
        rank = np.arange(len(table["class_id"]), dtype=float)
        height = np.asarray(table[value], dtype=float)
        return {
            "x0": rank - HALF,
            "y0": np.zeros_like(rank),
            "x1": rank + HALF,
            "y1": height,
            "value": height,
            **table,
        }


class ModelBars(_RankedBars):
    """A3: the leaf classes of the pinned model, best first."""

    title: ClassVar[str] = "Leaf classes of the pinned model"
    slot: ClassVar[str] = "A3"
    help_text: ClassVar[str] = (
        "Every bar is a class: how often the pinned model is right on images of it, best first. "
        "Colours are root classes. Turn the wheel to zoom, drag to move, tap a bar to select the class."
    )

    def columns(self) -> dict[str, Any]:
        """Return the pinned model's class accuracies."""
        table = self.warehouse.class_accuracy(self.state.model)
        return self._with_bars(
            {name: table[name] for name in ("class_id", "class_name", "root_class", "images")}
            | {"top1": table["top1"]},
            "top1",
        )

    def tooltips(self) -> list[tuple[str, str]]:
        """Return what hover tells of one class."""
        return [
            ("class", "@class_name"),
            ("root class", "@root_class"),
            ("top-1", "@top1{0.0%} of @images{0,0} images"),
        ]

    def draw(self) -> Any:
        """Return the bars, or what to do to see them."""
        self._shown = False
        model = self.state.model
        self.heading = self.title
        if not model:
            return "Tap a model in the scatter to see on which classes it is right."
        self._title()
        self._shown = True
        return self._draw_bars()

    def _title(self) -> None:
        label = self.warehouse.model_row(self.state.model).label
        self.heading = f"Leaf classes of {label}, best first"

    @param.depends("state.model", watch=True)
    def _model_changed(self) -> None:
        if not self._shown or not self.state.model:
            self.redraw()
            return
        self._title()
        self._patch_bars(keep_zoom=True)

    @param.depends("state.classes", watch=True)
    def _classes_changed(self) -> None:
        if self._shown:
            self._marks.patch(**self._mark_data())


class RootBars(_RankedBars):
    """A4: the leaf classes of the pinned root over all models, mean with range, best first."""

    title: ClassVar[str] = "Leaf classes of the pinned root"
    slot: ClassVar[str] = "A4"
    help_text: ClassVar[str] = (
        "Every bar is a class of the pinned root: the mean accuracy of all models. "
        "The line runs from the worst to the best model, the dot is the pinned model. Tap a bar to select the class."
    )

    def columns(self) -> dict[str, Any]:
        """Return mean and range over models of the root's classes, and the pinned model's value."""
        table = self.warehouse.root_class_accuracy(self.state.root)
        mine = self.warehouse.class_accuracy(self.state.model)
        by_class = dict(zip(map(int, mine["class_id"]), map(float, mine["top1"]), strict=True))
        own = np.array([by_class.get(int(class_id), np.nan) for class_id in table["class_id"]], dtype=float)
        facts = {
            name: table[name] for name in ("class_id", "class_name", "images", "mean_top1", "min_top1", "max_top1")
        }
        root = np.full(len(own), self.state.root, dtype=object)
        return self._with_bars(facts | {"root_class": root, "own": own}, "mean_top1")

    def tooltips(self) -> list[tuple[str, str]]:
        """Return what hover tells of one class."""
        return [
            ("class", "@class_name"),
            ("mean of models", "@mean_top1{0.0%}"),
            ("worst to best", "@min_top1{0.0%} to @max_top1{0.0%}"),
            ("pinned model", "@own{0.0%}"),
            ("images a model", "@images{0,0}"),
        ]

    def overlays(self) -> list[Any]:
        """Return the range lines and the pinned model's dots."""
        self._ranges, self._own = LiveSource(), LiveSource()
        ranges = hv.Segments(self._range_data(), ["x0", "y0", "x1", "y1"]).opts(
            color=NEUTRAL, line_width=1.5, hooks=[self._ranges.hook], default_tools=[]
        )
        own = hv.Points(self._own_data(), ["x", "y"]).opts(
            color="white", line_color="#30343b", size=6, hooks=[self._own.hook], default_tools=[]
        )
        return [ranges, own]

    def draw(self) -> Any:
        """Return the bars, or what to do to see them."""
        self._shown = False
        self.heading = self.title
        if not len(self.warehouse.models()["model"]):
            return "No model has been run yet."
        if not self.state.root:
            return "Tap a root class in the radar to see its leaf classes."
        self._title()
        self._shown = True
        return self._draw_bars()

    def _title(self) -> None:
        self.heading = f"Leaf classes of “{self.state.root}”, mean of models"

    def _range_data(self) -> dict[str, Any]:
        d = self._data
        rank = np.arange(len(d["value"]), dtype=float)
        return {"x0": rank, "y0": d["min_top1"], "x1": rank, "y1": d["max_top1"]}

    def _own_data(self) -> dict[str, Any]:
        own = np.asarray(self._data["own"], dtype=float)
        at = np.flatnonzero(np.isfinite(own))
        return {"x": at.astype(float), "y": own[at]}

    @param.depends("state.root", "state.model", watch=True)
    def _pins_changed(self) -> None:
        if not self._shown or not self.state.root:
            self.redraw()
            return
        self._title()
        before = list(self._data["class_id"])
        self._patch_bars(keep_zoom=True)
        if list(self._data["class_id"]) != before:
            self._bars.ranges(x=(-0.6, max(len(self._data["value"]), 1) - 0.4))
        self._ranges.patch(**self._range_data())
        self._own.patch(**self._own_data())

    @param.depends("state.classes", watch=True)
    def _classes_changed(self) -> None:
        if self._shown:
            self._marks.patch(**self._mark_data())
