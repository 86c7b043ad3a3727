"""A1: what a model costs against how often it is right (paper section 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import param
from bokeh.models import CustomJSTickFormatter, HoverTool, NumeralTickFormatter

from vacpanel.palette import NEUTRAL, family_colors, family_markers, model_colors
from vacpanel.views.base import PlotView
from vacpanel.views.chips import Chips
from vacpanel.views.labels import log_ticks, placing_labels
from vacpanel.views.live import LiveGlyph, LiveSource, quiet_toolbar, ticks_at
from vacpanel.views.queries import rates
from vacpanel.views.text import HIDDEN_LABEL_CSS
from vacpanel.words import count, short_number

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

COMPLEXITY = {
    "parameters": "Parameters",
    "flops": "Operations (FLOPs)",
    "latency_ms": "Latency (ms an image)",
}
# 5000000 -> 5 M
SHORT_NUMBER = """
for (const [unit, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]])
  if (tick >= size) return `${+(tick / size).toPrecision(3)} ${unit}`
return `${+tick.toPrecision(3)}`
"""
TOP = {"top1": "Top-1", "top5": "Top-5"}


class Scatter(PlotView):
    """Complexity against accuracy, one point a model; a tap pins the model, a box or lasso chooses several."""

    title: ClassVar[str] = "Complexity and accuracy"
    slot: ClassVar[str] = "A1"
    help_text: ClassVar[str] = (
        "Each point is a model: further right costs more, higher up is right more often; colour and shape tell the "
        "family. Tap a point to pin the model in every view. Draw a box or lasso (tools on the right) around several "
        "to compare them and to leave out the others everywhere."
    )
    own: ClassVar[tuple[str, ...]] = ("models",)

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        self._families = Chips(sizing_mode="stretch_width", margin=(0, 6), lines=2)
        self._table: dict[str, Any] = {}
        super().__init__(warehouse, state, **params)
        self._families.on_click(self._family_clicked)

    def sql(self) -> str:
        """Return the query for cost and accuracy of every model."""
        return (
            f"SELECT m.model, label, family, parameters, flops, latency_ms, input_size, r.* EXCLUDE (model)"
            f" FROM models AS m LEFT JOIN ({rates(self.where, 'model')}) AS r ON r.model = m.model ORDER BY m.model"
        )

    def draw(self) -> Any:
        """Return points, the ring of the pinned model, and labels."""
        self._shown = False
        table = self._table = self.warehouse.models()
        self._models = [str(model) for model in table["model"]]
        families = [str(family) for family in table["family"]]
        self._families.items = family_colors(families)
        self.heading = self.title
        if not self._models:
            return (
                "No model has been run yet. `vacpanel etl IMAGES --warehouse DIR --models resnet50` runs some; "
                "they appear here one by one."
            )
        x = np.asarray(table[self.state.complexity], dtype=float)
        self._x = np.where(np.isfinite(x) & (x > 0), x, np.nan)
        if not np.isfinite(self._x).any():
            return f"No model has a value for “{COMPLEXITY[self.state.complexity]}”."
        self._shown = True
        self._live = LiveSource(
            fill_color="color",
            fill_alpha="alpha",
            line_alpha="alpha",
            line_color="line",
            line_width="width",
            size="size",
            marker="marker",
        )
        self._ring = LiveGlyph("scatter", fill_alpha=0, line_color=NEUTRAL, line_width=2, size=22)
        places: dict[str, Any] = {
            "text_align": {"field": "align"},
            "x_offset": {"field": "dx"},
            "y_offset": {"field": "dy"},
        }
        self._text = LiveGlyph("text", text_color=NEUTRAL, text_font_size="8.5pt", text_baseline="middle", **places)
        accuracy = self._accuracy()
        xlim, ylim = (np.nanmin(self._x) / 1.6, np.nanmax(self._x) * 1.9), self._ylim(accuracy["y"])
        facts = ("model", "label", "family", "parameters", "flops", "latency_ms", "input_size")
        colors, markers = family_colors(families), family_markers(families)
        self._live.patch(
            x=self._x,
            **{name: table[name] for name in facts},
            **{f"{name}_text": [short_number(float(n)) for n in table[name]] for name in ("parameters", "flops")},
            color=[colors[family] for family in families],
            marker=[markers[family] for family in families],
            **accuracy,
            **self._style(),
        )
        self._ring.patch(**self._ring_data())
        self._text.patch(x=[], y=[], text=[], align=[], dx=[], dy=[])  # the page places them
        points = hv.Points({"x": self._x, "y": accuracy["y"]}, ["x", "y"]).opts(
            tools=[_hover(), "box_select", "lasso_select"],
            logx=True,
            xlim=xlim,
            ylim=ylim,
            xlabel=COMPLEXITY[self.state.complexity] + ", log scale",
            ylabel=self._vertical,
            yformatter=NumeralTickFormatter(format="0%"),
            xformatter=CustomJSTickFormatter(code=SHORT_NUMBER),
            responsive=True,
            min_height=160,
            toolbar="right",
            hooks=[
                self._live.hook,
                self._ring.hook,
                self._text.hook,
                quiet_toolbar,
                ticks_at(log_ticks(*xlim, most=4)),
                placing_labels(self._live, self._text),
            ],
            default_tools=["pan", "wheel_zoom", "box_zoom", "reset"],
            active_tools=[],
            show_grid=True,
            gridstyle={"grid_line_alpha": 0.25},
            fontsize={"ticks": "8pt", "labels": "9pt"},
        )
        self._live.on_select(points, self._tapped, self._brushed)
        return points

    @param.depends("state.complexity", "state.accuracy", watch=True)
    def _axes_changed(self) -> None:
        self.redraw()

    @param.depends("state.model", "state.models", watch=True)
    def _selection_changed(self) -> None:
        if self._shown:
            self._live.patch(**self._style())
            self._ring.patch(**self._ring_data())

    @param.depends("state.filter", watch=True)
    def _filter_changed(self) -> None:
        if self._shown:
            accuracy = self._accuracy()
            self._live.patch(**accuracy, **self._style())
            self._ring.patch(**self._ring_data())
            self._live.ranges(y=self._ylim(accuracy["y"]))
            self._live.label("y", self._vertical)

    def _tapped(self, row: int) -> None:
        self.state.model = self._models[row]

    def _brushed(self, rows: list[int]) -> None:
        models = [self._models[row] for row in rows]
        self.state.param.update(models=models, filter=self.state.narrowed(models=tuple(models)))

    def _family_clicked(self, family: str) -> None:
        """Compare the models of a family, or no longer if all of them are compared."""
        members = [m for m, f in zip(self._models, self._table["family"], strict=True) if str(f) == family]
        others = [m for m in self.state.models if m not in members]
        self.state.models = others if set(members) <= set(self.state.models) else others + members

    @property
    def _vertical(self) -> str:
        """What runs upwards."""
        return f"{TOP[self.state.accuracy]} {self.rate}"

    def _accuracy(self) -> dict[str, Any]:
        """Return the accuracies under the filter; without an image a model has none, and is not drawn."""
        found = self.tally.model_accuracy()
        rows = np.searchsorted(self.tally.models, self._models)  # both by name
        accuracy = {name: found[name][rows] for name in ("top1", "top5", "images")}
        self._y = accuracy[self.state.accuracy]
        drawn = np.isfinite(self._x) & np.isfinite(self._y)
        unseen = len(drawn) - int(drawn.sum())
        note = f", {count(unseen, 'model')} without a value" if unseen else ""
        self.heading = f"{self._vertical} against {COMPLEXITY[self.state.complexity].lower()}{note}"
        return {"y": self._y, **accuracy}

    @staticmethod
    def _ylim(y: np.ndarray) -> tuple[float, float]:
        seen = y[np.isfinite(y)] if np.isfinite(y).any() else np.array([0.0, 1.0])
        pad = max(0.02, 0.12 * float(np.ptp(seen)))
        return max(-0.02, float(seen.min()) - pad), min(1.03, float(seen.max()) + pad)

    def _style(self) -> dict[str, Any]:
        colors = model_colors(self.state.models)
        kept = set(self.state.filter.models) or set(self._models)
        pinned = self.state.model
        return {
            "line": [colors.get(model, "white") for model in self._models],
            "width": np.array([3.0 if model in colors else 0.5 for model in self._models], dtype=np.float32),
            "size": np.array([12 if m in colors or m == pinned else 9 for m in self._models], dtype=np.float32),
            "alpha": np.array([0.9 if model in kept else 0.2 for model in self._models], dtype=np.float32),
            "priority": np.array([2 * (m == pinned) + (m in colors) for m in self._models]) + np.nan_to_num(self._y),
        }

    def _ring_data(self) -> dict[str, Any]:
        at = [i for i, model in enumerate(self._models) if model == self.state.model]
        return {"x": self._x[at], "y": self._y[at]}

    def body(self) -> Viewable:
        """Return the plot between its two choosers and the families."""
        choose: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": (0, 3), "stylesheets": [HIDDEN_LABEL_CSS]}
        choosers = pn.Row(
            pn.widgets.Select.from_param(
                self.state.param.complexity,
                label="To the right",
                options={v: k for k, v in COMPLEXITY.items()},
                **choose,
            ),
            pn.widgets.Select.from_param(
                self.state.param.accuracy,
                label="Upwards",
                options={top: name for name, top in TOP.items()},
                **choose,
            ),
            margin=(0, 6),
            sizing_mode="stretch_width",
        )
        return pn.Column(choosers, self._box, self._families, sizing_mode="stretch_both", margin=0)


def _hover() -> HoverTool:
    return HoverTool(
        tooltips=[
            ("model", "@model"),
            ("family", "@family"),
            ("top-1", "@top1{0.0%} of @images{0,0} images"),
            ("top-5", "@top5{0.0%}"),
            ("parameters", "@parameters_text"),
            ("FLOPs", "@flops_text"),
            ("latency", "@latency_ms{0.0} ms"),
            ("input", "@input_size px"),
        ]
    )
