"""A3 and A4: leaf classes ranked by accuracy, for the pinned model and for the pinned root (paper section 5.1)."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import param
from bokeh.models import AdaptiveTicker, CustomJSTickFormatter, NumeralTickFormatter

from vacpanel.palette import NEUTRAL, root_colors
from vacpanel.views.base import PlotView
from vacpanel.views.live import LiveGlyph, LiveSource, axis_room, quiet_toolbar
from vacpanel.views.lookup import lookup_hover
from vacpanel.views.queries import among, rate, rates
from vacpanel.words import count
from warehouse.predicate import literal

HALF = 0.42  # half the width of a bar whose rank is its position
ROOM = 58  # px below the bars, for 12 slanted letters
FEW = 60  # classes up to which the dots of the pinned model have an outline
NOTHING_LEFT = "no images under this filter"

# Names stand under the bars; ticks thin out by themselves when many classes are in sight.
RANK_TO_NAME = """
const ids = source.data["class_id"] || []
const name = Number.isInteger(tick) && tick in ids ? names[ids[tick]] : ""
return name.length > 12 ? name.slice(0, 11) + "…" : name
"""


def _name_ticks(names: list[str]) -> Any:
    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001
        axis = plot.handles["xaxis"]
        axis.ticker = AdaptiveTicker(min_interval=1, base=10, mantissas=[1, 2, 5], desired_num_ticks=11)
        axis.formatter = CustomJSTickFormatter(
            args={"source": plot.handles["source"], "names": names}, code=RANK_TO_NAME
        )

    return hook


class _RankedBars(PlotView):
    """Bars ranked in descending order on a zoomable axis of ranks; a tap selects the class.

    A bar is known by its class id, its height and the number of its root class; the texts are on the page already.
    """

    own: ClassVar[tuple[str, ...]] = ("models",)
    pins: ClassVar[tuple[str, ...]] = ()
    """What of the state, besides the filter, says which bars there are."""

    def columns(self) -> dict[str, Any]:
        """Return class_id, top1 (the height), images and what else hover tells, ranked; empty without a class."""
        raise NotImplementedError

    def tooltips(self) -> list[tuple[str, str]]:
        """Return what hover tells, besides class and root class."""
        raise NotImplementedError

    def overlays(self) -> list[Any]:
        """Return hooks that draw over the bars."""
        return []

    def missing(self) -> str:
        """Return what to do to see bars; empty where there are some."""
        raise NotImplementedError

    def say(self) -> None:
        """Say in the heading what the bars are."""
        raise NotImplementedError

    def draw(self) -> Any:
        """Return the bars, or what to do to see them."""
        self._drawn_for = self._pinned()
        self.heading = self.title
        self._shown = not (missing := self._no_model() or self.missing())
        if missing:
            return missing
        drawing = self._draw_bars()
        self.say()
        return drawing

    def _no_model(self) -> str:
        return "" if len(self.warehouse.models()["model"]) else "No model has been run yet."

    def _pinned(self) -> tuple[Any, ...]:
        return (self.state.filter, *(getattr(self.state, name) for name in self.pins))

    def _draw_bars(self) -> Any:
        classes = self.warehouse.classes()
        roots = self.warehouse.roots()
        self._bars = LiveSource(fill_color="root", top="top1", palette=list(root_colors(roots).values()))
        self._marks = LiveGlyph("scatter", marker="inverted_triangle", fill_color=NEUTRAL, line_color=None, size=10)
        self._root_of = np.array([roots.index(str(root)) for root in classes["root_class"]], dtype=np.uint8)
        names = list(map(str, classes["class_name"]))
        self._data = self.columns()
        columns = self._drawn_columns()
        self._bars.patch(**columns)
        self._marks.patch(**self._mark_data())
        hover = lookup_hover(
            [("class", "@class_id{custom}"), ("root class", "@root{custom}"), *self.tooltips()],
            {"class_id": names, "root": roots},
        )
        corners = tuple(columns[name] for name in ("left", "bottom", "right", "top1"))
        bars = hv.Rectangles(corners, ["x0", "y0", "x1", "y1"]).opts(
            line_alpha=0,
            alpha=0.9,
            tools=[hover],
            xlim=self._xlim(),
            ylim=self._ylim(),
            xlabel="",
            ylabel=f"Top-1 {self.rate}",
            yformatter=NumeralTickFormatter(format="0%"),
            xrotation=40,
            responsive=True,
            min_height=110,
            toolbar="right",
            hooks=[
                self._bars.hook,
                *self.overlays(),
                self._marks.hook,
                _name_ticks(names),
                axis_room(ROOM),
                quiet_toolbar,
            ],
            default_tools=["xpan", "xwheel_zoom", "reset"],
            active_tools=["xwheel_zoom"],
            fontsize={"ticks": "7pt", "labels": "8pt"},
        )
        self._bars.on_select(bars, self._tapped)
        return bars

    def _drawn_columns(self) -> dict[str, Any]:
        """Return the columns of the bars' source."""
        rank = np.arange(len(self._data["class_id"]), dtype=np.float32)
        return {
            "left": rank - np.float32(HALF),
            "bottom": np.zeros_like(rank),
            "right": rank + np.float32(HALF),
            "root": self._root_of[self._data["class_id"]],
            **self._data,
        }

    def _xlim(self) -> tuple[float, float]:
        return -0.6, max(len(self._data["class_id"]), 1) - 0.4

    def _ylim(self) -> tuple[float, float]:
        """Return the range upwards: all of it, but errors are few and would hardly be seen."""
        self._upwards = self.rate
        worst = float(self._highest().max(initial=0.0))
        return 0.0, 1.08 if self.rate == "accuracy" else max(1.08 * worst, 0.05)

    def _highest(self) -> np.ndarray:
        """Return what has to be in sight."""
        return self._data["top1"]

    def patch(self) -> None:
        """Replace the bars; the zoom is kept while there are as many."""
        before = len(self._data["class_id"])
        self._data = self.columns()
        self._bars.patch(**self._drawn_columns())
        if len(self._data["class_id"]) != before:
            self._bars.ranges(x=self._xlim())
        if self._upwards != self.rate:
            self._bars.label("y", f"Top-1 {self.rate}")
            self._bars.ranges(y=self._ylim())
        self._marks.patch(**self._mark_data())

    def _mark_data(self) -> dict[str, Any]:
        at = np.flatnonzero(np.isin(self._data["class_id"], self.state.classes))
        height = np.minimum(self._data["top1"][at] + np.float32(0.05), 1.05)
        return {"x": at.astype(np.float32), "y": height.astype(np.float32)}

    def _tapped(self, row: int) -> None:
        self.state.select_class(int(self._data["class_id"][row]))

    # A selection of classes changes the filter, too: one method for both, or marks would travel twice.
    @param.depends("state.model", "state.root", "state.filter", "state.classes", watch=True)
    def _state_changed(self) -> None:
        same = self._pinned() == self._drawn_for
        if self._shown and same:
            self._marks.patch(**self._mark_data())
        elif self._shown and not self.missing():
            self._drawn_for = self._pinned()
            self.patch()
            self.say()
        elif not same:
            self.redraw()


class ModelBars(_RankedBars):
    """A3: the leaf classes of the pinned model, best first."""

    title: ClassVar[str] = "Leaf classes of the pinned model"
    slot: ClassVar[str] = "A3"
    pins: ClassVar[tuple[str, ...]] = ("model",)
    help_text: ClassVar[str] = (
        "Every bar is a class: how often the pinned model is right on images of it, best first. "
        "Colours are root classes. Turn the wheel to zoom, drag to move, tap a bar to select the class."
    )

    def sql(self) -> str:
        """Return the query for the pinned model's accuracy on every class, best first."""
        of = rates(self.where, "class_id", "class_name", "root_class", also=f"model = {literal(self.state.model)}")
        return f"{of} ORDER BY {rate(self.where)} DESC, class_id"

    def columns(self) -> dict[str, Any]:
        """Return the pinned model's class accuracies."""
        found = self.tally.class_accuracy(self.state.model)
        return {
            "class_id": found["class_id"].astype(np.int32),
            "top1": found["top1"].astype(np.float32),
            "images": found["images"].astype(np.int32),
        }

    def tooltips(self) -> list[tuple[str, str]]:
        """Return what hover tells of one class."""
        return [("top-1", "@top1{0.0%} of @images{0,0} images")]

    def missing(self) -> str:
        """Return how to pin a model, if none is."""
        return "" if self.state.model else "Tap a model in the scatter to see on which classes it is right."

    def say(self) -> None:
        """Say whose bars these are."""
        models = self.warehouse.models()
        label = dict(zip(models["model"], models["label"], strict=True)).get(self.state.model, self.state.model)
        first = "best first" if self.rate == "accuracy" else "most errors first"
        left = first if len(self._data["class_id"]) else NOTHING_LEFT
        self.heading = f"Leaf classes of {label}, {left}"


class RootBars(_RankedBars):
    """A4: the leaf classes of the pinned root over all models, mean with range, best first."""

    title: ClassVar[str] = "Leaf classes of the pinned root"
    slot: ClassVar[str] = "A4"
    pins: ClassVar[tuple[str, ...]] = ("root", "model")
    help_text: ClassVar[str] = (
        "Every bar is a class of the pinned root: the mean accuracy of all models that the filter leaves. "
        "The line runs from the worst to the best model, the dot is the pinned model. Tap a bar to select the class."
    )

    def sql(self) -> str:
        """Return the query for mean and range over models of the root's classes, and the pinned model's value."""
        top = rate(self.where)
        kept = among("model", self.state.filter.models) if self.state.filter.models else "true"
        return (
            f"SELECT class_id, class_name, root_class, max(images) FILTER ({kept}) AS images,"
            f" count(*) FILTER ({kept}) AS models, min({top}) FILTER ({kept}) AS min_{top},"
            f" max({top}) FILTER ({kept}) AS max_{top}, avg({top}) FILTER ({kept}) AS mean_{top},"
            f" max({top}) FILTER (model = {literal(self.state.model)}) AS pinned_{top}"
            f" FROM ({rates(self.where, 'model', 'class_id', 'class_name', 'root_class')})"
            f" WHERE root_class = {literal(self.state.root)} GROUP BY class_id, class_name, root_class"
            f" HAVING count(*) FILTER ({kept}) > 0 ORDER BY mean_{top} DESC, class_id"
        )

    def columns(self) -> dict[str, Any]:
        """Return mean and range over models of the root's classes, and the pinned model's value."""
        spread = self.warehouse.tally(self.state.filter).class_spread(self.state.root)
        order = np.argsort(-spread["mean_top1"], kind="stable")
        found = {name: column[order] for name, column in spread.items()}
        mine, row = self.tally.top1, self.tally.row(self.state.model)
        ids = found["class_id"].astype(np.int32)
        own = np.full(len(ids), np.nan) if row is None else mine[row, np.searchsorted(self.tally.class_id, ids)]
        return {
            "class_id": ids,
            "top1": found["mean_top1"].astype(np.float32),
            "own": own.astype(np.float32),
            "min_top1": found["min_top1"].astype(np.float32),
            "max_top1": found["max_top1"].astype(np.float32),
            "images": found["images"].astype(np.int32),
        }

    def _highest(self) -> np.ndarray:
        return self._data["max_top1"]

    def tooltips(self) -> list[tuple[str, str]]:
        """Return what hover tells of one class."""
        return [
            ("mean of models", "@top1{0.0%}"),
            ("worst to best", "@min_top1{0.0%} to @max_top1{0.0%}"),
            ("pinned model", "@own{0.0%}"),
            ("images a model", "@images{0,0}"),
        ]

    def overlays(self) -> list[Any]:
        """Return hooks that draw the range lines and the pinned model's dots."""
        line: dict[str, Any] = {"line_color": NEUTRAL, "line_width": 1.5, "line_alpha": 0.8}
        self._ranges = LiveGlyph("segment", x0="x0", y0="y0", x1="x1", y1="y1", **line)
        self._own = LiveGlyph(
            "scatter", fill_color="white", line_color="#30343b", size="size", line_alpha={"field": "line"}
        )
        self._ranges.patch(**self._range_data())
        self._own.patch(**self._own_data())
        return [self._ranges.hook, self._own.hook]

    def missing(self) -> str:
        """Return how to pin a root class, if none is."""
        return "" if self.state.root else "Tap a root class in the radar to see its leaf classes."

    def say(self) -> None:
        """Say whose bars these are."""
        chosen = len(self.state.filter.models)
        of = f"mean {self.rate} of {count(chosen, 'model') if chosen else 'all models'}"
        self.heading = f"Leaf classes of “{self.state.root}”, {of if len(self._data['class_id']) else NOTHING_LEFT}"

    def _range_data(self) -> dict[str, Any]:
        rank = np.arange(len(self._data["class_id"]), dtype=np.float32)
        return {"x0": rank, "y0": self._data["min_top1"], "x1": rank, "y1": self._data["max_top1"]}

    def _own_data(self) -> dict[str, Any]:
        own = self._data["own"]
        at = np.flatnonzero(np.isfinite(own))
        few = len(own) <= FEW
        return {
            "x": at.astype(np.float32),
            "y": own[at].astype(np.float32),
            "size": np.full(len(at), 6 if few else 2.5, np.float32),
            "line": np.full(len(at), 1.0 if few else 0.0, np.float32),
        }

    def patch(self) -> None:
        """Replace bars, lines and dots; the zoom is kept while the classes are the same."""
        before = set(self._data["class_id"].tolist())
        super().patch()
        if set(self._data["class_id"].tolist()) != before:
            self._bars.ranges(x=self._xlim())
        self._ranges.patch(**self._range_data())
        self._own.patch(**self._own_data())
