"""A1: what a model costs against how often it is right (paper section 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import param
from bokeh.models import CustomJSTickFormatter, HoverTool, NumeralTickFormatter

from vacpanel.palette import NEUTRAL, family_markers, model_colors
from vacpanel.views.base import PlotView
from vacpanel.views.labels import log_ticks, place_labels
from vacpanel.views.live import LiveSource, quiet_toolbar, ticks_at
from vacpanel.words import short_number

if TYPE_CHECKING:
    from panel.viewable import Viewable

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
ACCURACY = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}


class Scatter(PlotView):
    """Complexity against accuracy, one point a model; a tap pins the model everywhere."""

    complexity = param.Selector(default="parameters", objects=list(COMPLEXITY), doc="What the horizontal axis shows.")
    accuracy = param.Selector(default="top1", objects=list(ACCURACY), doc="What the vertical axis shows.")

    title: ClassVar[str] = "Complexity and accuracy"
    slot: ClassVar[str] = "A1"
    help_text: ClassVar[str] = (
        "Each point is a model: further right costs more, higher up is right more often. Tap a point to pin the model "
        "in every view; the shape of the point tells the family."
    )

    def draw(self) -> Any:
        """Return points, labels and the ring of the pinned model."""
        table = self.warehouse.models()
        self._models = [str(name) for name in table["model"]]
        if not self._models:
            self.heading = self.title
            return (
                "No model has been run yet. `vacpanel etl IMAGES --warehouse DIR --models resnet50` runs some; "
                "they appear here one by one."
            )
        x = np.nan_to_num(np.asarray(table[self.complexity], dtype=float), nan=np.nan)
        y = np.asarray(table[self.accuracy], dtype=float)
        known = np.isfinite(x) & (x > 0)
        if not known.any():
            return f"No model has a value for “{COMPLEXITY[self.complexity]}”."
        self.heading = f"{ACCURACY[self.accuracy]} against {COMPLEXITY[self.complexity].lower()}"
        self._x, self._y = np.where(known, x, np.nan), y
        self._table = table
        self._live = LiveSource(fill_color="color", size="size", marker="marker")
        self._text = LiveSource(text_align="align", x_offset="dx", y_offset="dy")
        self._ring = LiveSource()
        xlim = (np.nanmin(self._x) / 1.6, np.nanmax(self._x) * 1.9)
        pad = max(0.02, 0.12 * float(np.ptp(y)))
        ylim = (max(-0.02, float(y.min()) - pad), min(1.03, float(y.max()) + pad))
        self._limits = (xlim, ylim)
        hover = HoverTool(
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
        facts = [
            "model",
            "label",
            "family",
            "top1",
            "top5",
            "parameters",
            "flops",
            "latency_ms",
            "input_size",
            "images",
        ]
        style = self._style()
        data = {"x": self._x, "y": y, **{name: table[name] for name in facts if name in table}, **style}
        for name in ("parameters", "flops"):
            data[f"{name}_text"] = [short_number(float(value)) for value in table[name]]
        data["marker"] = [self._markers[str(f)] for f in table["family"]]
        vdims = [name for name in data if name not in ("x", "y")]
        points = hv.Points(data, ["x", "y"], vdims).opts(
            alpha=0.9,
            line_color="white",
            line_width=0.5,
            tools=[hover, "tap"],
            hooks=[self._live.hook],
        )
        self._live.on_tap(points, self._tapped)
        ring = hv.Points(self._ring_data(), ["x", "y"]).opts(
            fill_alpha=0, line_color=NEUTRAL, line_width=2, size=20, hooks=[self._ring.hook], default_tools=[]
        )
        text = hv.Labels(self._label_data(), ["x", "y"], ["text", "align", "dx", "dy"]).opts(
            text_color=NEUTRAL,
            text_font_size="8.5pt",
            text_align="left",
            hooks=[self._text.hook],
        )
        return (ring * points * text).opts(
            logx=True,
            xlim=xlim,
            ylim=ylim,
            xlabel=COMPLEXITY[self.complexity] + ", log scale",
            ylabel=ACCURACY[self.accuracy],
            yformatter=NumeralTickFormatter(format="0%"),
            xformatter=CustomJSTickFormatter(code=SHORT_NUMBER),
            responsive=True,
            min_height=200,
            toolbar="right",
            hooks=[quiet_toolbar, ticks_at(log_ticks(*xlim, most=4))],
            active_tools=[],
            show_grid=True,
            gridstyle={"grid_line_alpha": 0.25},
            fontsize={"ticks": "8pt", "labels": "9pt"},
        )

    @property
    def _markers(self) -> dict[str, str]:
        return family_markers([str(family) for family in self._table["family"]])

    @param.depends("complexity", "accuracy", watch=True)
    def _axes_changed(self) -> None:
        self.redraw()

    @param.depends("state.model", "state.models", watch=True)
    def _selection_changed(self) -> None:
        if not self._models:
            return
        self._live.patch(**self._style())
        self._ring.patch(**self._ring_data())
        self._text.patch(**self._label_data())

    def _tapped(self, row: int) -> None:
        self.state.model = self._models[row]

    def _style(self) -> dict[str, Any]:
        colors = model_colors(self.state.models)
        emphasised = {*self.state.models, self.state.model}
        return {
            "color": [colors.get(model, NEUTRAL) for model in self._models],
            "size": [12 if model in emphasised else 9 for model in self._models],
        }

    def _ring_data(self) -> dict[str, Any]:
        at = [i for i, model in enumerate(self._models) if model == self.state.model]
        return {"x": self._x[at], "y": self._y[at]}

    def _label_data(self) -> dict[str, Any]:
        first = [i for i, m in enumerate(self._models) if m == self.state.model]
        then = [i for i, m in enumerate(self._models) if m in self.state.models and i not in first]
        rest = sorted(set(range(len(self._models))) - {*first, *then}, key=lambda i: -self._y[i])
        labels = [str(label) for label in self._table["label"]]
        return place_labels(self._x, self._y, labels, [*first, *then, *rest], *self._limits)

    def body(self) -> Viewable:
        """Return the plot under its two choosers."""
        choose = {"sizing_mode": "stretch_width", "margin": (0, 4), "styles": {"font-size": "12px"}}
        choosers = pn.Row(
            pn.widgets.Select.from_param(
                self.param.complexity, label="", options={v: k for k, v in COMPLEXITY.items()}, **choose
            ),
            pn.widgets.Select.from_param(
                self.param.accuracy, label="", options={v: k for k, v in ACCURACY.items()}, **choose
            ),
            margin=(0, 6),
            sizing_mode="stretch_width",
        )
        return pn.Column(choosers, self._box, sizing_mode="stretch_both", margin=0)
