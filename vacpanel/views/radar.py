"""A2: top-1 accuracy of the models over the root classes (paper section 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import param
from bokeh.models import HoverTool

from vacpanel.notebook import hold
from vacpanel.palette import NEUTRAL, model_colors, root_colors
from vacpanel.views.around import TWO_LINES, angles_of, extent, names_around, polar
from vacpanel.views.base import PlotView
from vacpanel.views.chips import Chips
from vacpanel.views.live import LiveGlyph, LiveSource, square_units
from vacpanel.views.queries import rates

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

RINGS = (0.25, 0.5, 0.75, 1.0)
FULL = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # what the outermost ring may stand for
FAINT = "rgba(138, 143, 152, .4)"  # the chip of a model that is not compared
TAP = 0.12  # how close to a dot a tap has to be, in radii
MANY = 20  # models beyond which those that are not compared are drawn fainter still


class Radar(PlotView):
    """One polygon a model over the root classes; a tap on a root pins it, a tap on a line pins the model."""

    title: ClassVar[str] = "Accuracy by root class"
    slot: ClassVar[str] = "A2"
    help_text: ClassVar[str] = (
        "Each spoke is a root class with its number of images; the further out a line runs, the more of them the model "
        "gets right. Tap a dot to see the root's leaf classes; click models below to compare and colour them."
    )
    own: ClassVar[tuple[str, ...]] = ("models", "roots")

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        self._legend = Chips(sizing_mode="stretch_width", margin=(0, 6), lines=3)
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

    def sql(self) -> str:
        """Return the query for the accuracy of every model on every root class."""
        return (
            f"SELECT m.model, label, r.* EXCLUDE (model) FROM ({rates(self.where, 'model', 'root_class')}) AS r"
            " JOIN models AS m ON m.model = r.model ORDER BY m.model, root_class"
        )

    def draw(self) -> Any:
        """Return rings, spokes, names, polygons."""
        self._shown = False
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
        self._shown = True
        self._angles = angles_of(self._roots)
        width, height = extent(self._roots)
        line: dict[str, Any] = {"xs": "xs", "ys": "ys", "line_color": "color"}
        self._grid = LiveGlyph("multi_line", level="underlay", xs="xs", ys="ys", line_color=NEUTRAL, line_alpha=0.35)
        self._spoke = LiveGlyph("multi_line", level="underlay", xs="xs", ys="ys", line_color=NEUTRAL, line_width=2.5)
        self._all = LiveGlyph(
            "multi_line", level="underlay", line_alpha={"field": "alpha"}, tooltips=[("model", "@model")], **line
        )
        self._compared = LiveGlyph("multi_line", line_width=2, **line)
        self._pinned = LiveGlyph("multi_line", line_width=3.5, **line)
        self._corners = LiveGlyph(
            "scatter",
            size=5,
            fill_color="color",
            line_color=None,
            tooltips=[("model", "@model"), ("root class", "@root"), ("top-1", "@top1{0.0%} of @images{0,0} images")],
        )
        small: dict[str, Any] = {
            "text_color": NEUTRAL,
            "text_align": {"field": "align"},
            "text_baseline": {"field": "baseline"},
        }
        self._rings = LiveGlyph("text", text_font_size="7pt", **small)
        self._names = LiveGlyph("text", text_font_size="8.5pt", **small)
        self._dots = LiveSource(fill_color="color", size="size", fill_alpha="alpha")
        self._count()
        self._say()
        around = np.linspace(0, 2 * np.pi, 73)
        lines = [polar(np.full(73, radius), around) for radius in RINGS]
        lines += [polar(np.array([0, 1.0]), np.array([angle, angle])) for angle in self._angles]
        self._grid.patch(xs=[x for x, _ in lines], ys=[y for _, y in lines])
        x, y = polar(np.full(len(self._roots), 1.0), self._angles)
        colors = root_colors(self._roots)
        self._dots.patch(
            x=x,
            y=y,
            root=self._roots,
            images=self._images,
            color=[colors[root] for root in self._roots],
            **self._dot_style(),
        )
        _patch_paths(self._all, self._of_all())
        self._spoke.patch(**self._pinned_spoke())
        self._patch_lines()
        self._rings.patch(**self._ring_names())
        self._names.patch(**names_around(self._roots, self._images))
        layers = (self._grid, self._spoke, self._all, self._compared, self._pinned, self._corners)
        dots = hv.Points((x, y), ["x", "y"]).opts(
            line_color=None,
            tools=[HoverTool(tooltips=[("root class", "@root"), ("images", "@images{0,0}")])],
            xlim=(-width, width),
            ylim=(-1.3, 1.3),
            xaxis=None,
            yaxis=None,
            responsive=True,
            show_frame=False,
            toolbar=None,
            active_tools=[],
            hooks=[
                self._dots.hook,
                *(layer.hook for layer in layers),
                self._rings.hook,
                self._names.hook,
                square_units(width, height, TWO_LINES),
            ],
        )
        self._dots.on_select(dots, self._root_tapped)
        hv.streams.Tap(source=dots).add_subscriber(self._tapped)
        return dots

    def _say(self) -> None:
        self.heading = f"Top-1 {self.rate} by root class"

    def _count(self) -> None:
        """Look up the accuracies under the filter: NaN, a gap in the line, where a root has no image."""
        tally = self.tally
        accuracy, self._images = tally.root_accuracy()
        self._accuracy = dict(zip(map(str, tally.models), accuracy, strict=True))
        # Errors are few: the outermost ring is the round number above the largest.
        worst = np.nanmax(accuracy, initial=0.0) if np.isfinite(accuracy).any() else 0.0
        self._full = 1.0 if self.rate == "accuracy" else next(full for full in FULL if full >= worst)

    def _ring_names(self) -> dict[str, Any]:
        return {
            "x": [0.01] * 4,
            "y": list(RINGS),
            "text": [f"{100 * self._full * ring:.3g}%" for ring in RINGS],
            "align": ["left"] * 4,
            "baseline": ["middle"] * 4,
        }

    def _path(self, model: str, color: str, **more: Any) -> dict[str, Any]:
        """Return one closed polygon."""
        radius = self._accuracy[model] / self._full
        x, y = polar(np.append(radius, radius[0]), np.append(self._angles, self._angles[0]))
        return {"x": x, "y": y, "model": self._labels[model], "color": color, **more}

    def _of_all(self) -> list[dict[str, Any]]:
        kept = set(self.state.filter.models) or set(self._models)
        alpha = 0.35 if len(kept) <= MANY else 0.12
        return [self._path(model, NEUTRAL, alpha=alpha if model in kept else 0.04) for model in self._models]

    def _of_compared(self) -> list[dict[str, Any]]:
        colors = model_colors(self.state.models)
        found = [self._path(model, color) for model, color in colors.items() if model in self._accuracy]
        return found or [_NOWHERE]

    def _of_pinned(self) -> list[dict[str, Any]]:
        model = self.state.model
        color = model_colors(self.state.models).get(model, NEUTRAL)
        return [self._path(model, color)] if model in self._accuracy else [_NOWHERE]

    def _corner_data(self) -> dict[str, Any]:
        """Return a point for every root of the compared models and the pinned one, to be hovered over."""
        colors = {self.state.model: NEUTRAL} | model_colors(self.state.models)
        models = [model for model in colors if model in self._accuracy]
        radius = np.concatenate([self._accuracy[model] for model in models]) if models else np.empty(0)
        x, y = polar(radius / self._full, np.tile(self._angles, len(models)))
        each = len(self._roots)
        return {
            "x": x,
            "y": y,
            "model": [self._labels[model] for model in models for _ in range(each)],
            "root": self._roots * len(models),
            "top1": radius,
            "images": np.tile(self._images, len(models)),
            "color": [colors[model] for model in models for _ in range(each)],
        }

    def _dot_style(self) -> dict[str, Any]:
        kept = set(self.state.filter.roots) or set(self._roots)
        return {
            "size": np.array([15 if root == self.state.root else 9 for root in self._roots], dtype=np.float32),
            "alpha": np.array([1.0 if root in kept else 0.25 for root in self._roots], dtype=np.float32),
        }

    def _pinned_spoke(self) -> dict[str, Any]:
        if self.state.root not in self._roots:
            return {"xs": [[np.nan]], "ys": [[np.nan]]}
        angle = self._angles[self._roots.index(self.state.root)]
        x, y = polar(np.array([0.0, 1.0]), np.array([angle, angle]))
        return {"xs": [x], "ys": [y]}

    @param.depends("state.model", "state.models", watch=True)
    def _models_changed(self) -> None:
        self._fill_legend()
        if self._shown:
            self._patch_lines()

    @param.depends("state.filter", watch=True)
    def _filter_changed(self) -> None:
        if self._shown:
            self._count()
            self._say()
            _patch_paths(self._all, self._of_all())
            self._patch_lines()
            self._names.patch(**names_around(self._roots, self._images))
            self._rings.patch(**self._ring_names())
            self._dots.patch(images=self._images, **self._dot_style())

    def _patch_lines(self) -> None:
        _patch_paths(self._compared, self._of_compared())
        _patch_paths(self._pinned, self._of_pinned())
        self._corners.patch(**self._corner_data())

    @param.depends("state.root", watch=True)
    def _root_changed(self) -> None:
        if self._shown:
            self._spoke.patch(**self._pinned_spoke())
            self._dots.patch(**self._dot_style())

    def _root_tapped(self, row: int) -> None:
        self.state.root = self._roots[row]

    def _tapped(self, x: float | None, y: float | None) -> None:
        """Pin the model whose line runs where the user tapped, if one does and no dot is there."""
        if x is None or y is None or not self._shown:
            return
        dot_x, dot_y = polar(np.full(len(self._roots), 1.0), self._angles)
        if np.hypot(dot_x - x, dot_y - y).min() < TAP:
            return
        away = [(_distance(self._path(model, ""), x, y), model) for model in self._tappable()]
        nearest, model = min(away, default=(np.inf, ""))
        if nearest < TAP / 2 and model != self.state.model:
            with hold():
                self.state.model = model

    def _tappable(self) -> list[str]:
        """Return the models whose lines can be seen."""
        kept = set(self.state.filter.models) or set(self._models)
        return [model for model in self._models if model in kept or model in self.state.models]


def _distance(path: dict[str, Any], x: float, y: float) -> float:
    """Return how far a point is from a polygon's edges, in data units; gaps do not count."""
    a = np.column_stack([path["x"], path["y"]])
    start, edge = a[:-1], np.diff(a, axis=0)
    along = ((np.array([x, y]) - start) * edge).sum(axis=1) / np.maximum((edge**2).sum(axis=1), 1e-12)
    off = np.array([x, y]) - start - np.clip(along, 0, 1)[:, None] * edge
    away = np.hypot(*off.T)
    return float(np.nanmin(away)) if np.isfinite(away).any() else np.inf


_NOWHERE: dict[str, Any] = {"x": np.array([np.nan]), "y": np.array([np.nan]), "model": "", "color": NEUTRAL}


def _patch_paths(live: LiveSource, paths: list[dict[str, Any]]) -> None:
    """Replace the lines of a source; each path brings its own columns."""
    columns = {name: [path[name] for path in paths] for name in paths[0] if name not in {"x", "y"}}
    live.patch(xs=[path["x"] for path in paths], ys=[path["y"] for path in paths], **columns)
