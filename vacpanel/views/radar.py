"""A2: top-1 accuracy of the models over the root classes (paper section 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import param
from bokeh.models import HoverTool

from vacpanel.palette import NEUTRAL, model_colors, root_colors
from vacpanel.views.base import PlotView
from vacpanel.views.chips import Chips
from vacpanel.views.live import LiveSource, square_units

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

RINGS = (0.25, 0.5, 0.75, 1.0)
FAINT = "rgba(138, 143, 152, .4)"  # the chip of a model that is not compared


def polar(radius: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) with angle 0 at the top, clockwise, as a clock is read."""
    return radius * np.sin(angle), radius * np.cos(angle)


class Radar(PlotView):
    """One polygon a model over the root classes; a tap on a root pins it, a tap on a line pins the model."""

    title: ClassVar[str] = "Accuracy by root class"
    slot: ClassVar[str] = "A2"
    help_text: ClassVar[str] = (
        "Each spoke is a root class; the further out a line runs, the more images of that root the model gets right. "
        "Tap a dot to see the root's leaf classes; click models below to compare and colour them."
    )

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        self._legend = Chips(sizing_mode="stretch_width", margin=(0, 6))
        super().__init__(warehouse, state, **params)
        self._legend.on_click(self._chip_clicked)

    def _chip_clicked(self, label: str) -> None:
        by_label = {shown: model for model, shown in self._labels.items()}
        self.state.toggle_model(by_label[label])

    def _fill_legend(self) -> None:
        colors = model_colors(self.state.models)
        self._legend.items = {self._labels[model]: colors.get(model, FAINT) for model in self._models}
        self._legend.chosen = self._labels.get(self.state.model, "")

    def body(self) -> Viewable:
        """Return the radar over its selectable legend."""
        return pn.Column(self._box, self._legend, sizing_mode="stretch_both", margin=0)

    def draw(self) -> Any:
        """Return rings, spokes, names, polygons."""
        self._roots = self.warehouse.roots()
        table = self.warehouse.models()
        self._models = [str(model) for model in table["model"]]
        self._labels = dict(zip(self._models, map(str, table["label"]), strict=True))
        self.heading = self.title
        self._fill_legend()
        if not self._models:
            return "No model has been run yet."
        if len(self._roots) < 2:
            return "All classes belong to one root class, so there is nothing to compare here."
        self._angles = np.arange(len(self._roots)) * 2 * np.pi / len(self._roots)
        self._accuracy = self._matrix()
        self._lines = LiveSource(line_color="color", line_width="width", line_alpha="alpha")
        self._names = LiveSource(fill_color="color", line_color="color", size="size")
        self._spoke = LiveSource()
        around = np.linspace(0, 2 * np.pi, 73)
        grid = hv.Path([dict(zip("xy", polar(np.full(73, r), around), strict=True)) for r in RINGS], ["x", "y"])
        spokes = hv.Path(
            [dict(zip("xy", polar(np.array([0, 1.0]), np.array([a, a])), strict=True)) for a in self._angles],
            ["x", "y"],
        )
        hidden = {"color": NEUTRAL, "alpha": 0.35, "line_width": 0.7, "default_tools": []}
        scale = hv.Labels({"x": [0.01] * 4, "y": list(RINGS), "text": [f"{r:.0%}" for r in RINGS]}, ["x", "y"], "text")
        lines = hv.Contours(self._paths(), ["x", "y"], ["model", "color", "width", "alpha"]).opts(
            tools=[HoverTool(tooltips=[("model", "@model")], line_policy="nearest"), "tap"],
            hooks=[self._lines.hook],
        )
        spoke = hv.Path(self._pinned_spoke(), ["x", "y"]).opts(
            color=NEUTRAL, line_width=2.5, hooks=[self._spoke.hook], default_tools=[]
        )
        x, y = polar(np.full(len(self._roots), 1.0), self._angles)
        counts = self._counts()
        dots = hv.Points(
            {"x": x, "y": y, "root": self._roots, "images": counts, **self._root_style()},
            ["x", "y"],
            ["root", "images", "color", "size"],
        ).opts(
            tools=[HoverTool(tooltips=[("root class", "@root"), ("images", "@images{0,0}")]), "tap"],
            hooks=[self._names.hook],
        )
        small = {"text_color": NEUTRAL, "default_tools": []}
        below = y < -0.3
        names = [
            hv.Labels({"x": x[side], "y": y[side], "text": np.array(self._roots)[side]}, ["x", "y"], "text").opts(
                text_baseline=baseline, yoffset=offset, text_font_size="9pt", **small
            )
            for side, baseline, offset in ((~below, "bottom", 0.07), (below, "top", -0.07))
            if side.any()
        ]
        self._names.on_tap(dots, self._root_tapped)
        self._lines.on_tap(lines, self._line_tapped)
        return (
            grid.opts(**hidden)
            * spokes.opts(**hidden)
            * scale.opts(text_font_size="7pt", text_align="left", **small)
            * spoke
            * lines
            * hv.Overlay(names)
            * dots
        ).opts(
            xlim=(-1.25, 1.25),
            ylim=(-1.2, 1.2),
            xaxis=None,
            yaxis=None,
            responsive=True,
            show_frame=False,
            show_legend=False,
            toolbar=None,
            active_tools=[],
            hooks=[square_units(1.25, 1.2)],
        )

    def _matrix(self) -> np.ndarray:
        """Return (models, roots) accuracies; NaN where a root has no image."""
        table = self.warehouse.root_accuracy()
        accuracy = np.full((len(self._models), len(self._roots)), np.nan)
        row = {model: i for i, model in enumerate(self._models)}
        column = {root: j for j, root in enumerate(self._roots)}
        for model, root, top1 in zip(table["model"], table["root_class"], table["top1"], strict=True):
            accuracy[row[str(model)], column[str(root)]] = top1
        return accuracy

    def _counts(self) -> list[int]:
        table = self.warehouse.root_accuracy()
        images = {str(r): int(n) for r, n in zip(table["root_class"], table["images"], strict=True)}
        return [images.get(root, 0) for root in self._roots]

    def _paths(self) -> list[dict[str, Any]]:
        """Return one closed polygon a model: neutral ones first, compared ones over them, the pinned one on top."""
        colors = model_colors(self.state.models)
        rank = {m: (m == self.state.model, m in colors) for m in self._models}
        paths = []
        for model in sorted(self._models, key=rank.__getitem__):
            radius = self._accuracy[self._models.index(model)]  # NaN, a gap, where a root has no images
            x, y = polar(np.append(radius, radius[0]), np.append(self._angles, self._angles[0]))
            pinned = model == self.state.model
            paths.append(
                {
                    "x": x,
                    "y": y,
                    "model": self._labels[model],
                    "color": colors.get(model, NEUTRAL),
                    "width": 3.0 if pinned else 1.8 if model in colors else 1.0,
                    "alpha": 1.0 if pinned or model in colors else 0.35,
                }
            )
        self._drawn = sorted(self._models, key=rank.__getitem__)
        return paths

    def _root_style(self) -> dict[str, Any]:
        colors = root_colors(self._roots)
        return {
            "color": [colors[root] for root in self._roots],
            "size": [15 if root == self.state.root else 9 for root in self._roots],
        }

    def _pinned_spoke(self) -> list[dict[str, Any]]:
        if self.state.root not in self._roots:
            return [{"x": [0.0, 0.0], "y": [0.0, 0.0]}]
        angle = self._angles[self._roots.index(self.state.root)]
        x, y = polar(np.array([0.0, 1.0]), np.array([angle, angle]))
        return [{"x": x, "y": y}]

    @property
    def _drawable(self) -> bool:
        return bool(self._models) and len(self._roots) >= 2

    @param.depends("state.model", "state.models", watch=True)
    def _models_changed(self) -> None:
        self._fill_legend()
        if not self._drawable:
            return
        paths = self._paths()
        self._lines.patch(
            xs=[p["x"] for p in paths],
            ys=[p["y"] for p in paths],
            **{name: [p[name] for p in paths] for name in ("model", "color", "width", "alpha")},
        )

    @param.depends("state.root", watch=True)
    def _root_changed(self) -> None:
        if not self._drawable:
            return
        spoke = self._pinned_spoke()[0]
        self._spoke.patch(xs=[spoke["x"]], ys=[spoke["y"]])
        self._names.patch(**self._root_style())

    def _root_tapped(self, row: int) -> None:
        self.state.root = self._roots[row]

    def _line_tapped(self, row: int) -> None:
        self.state.model = self._drawn[row]
