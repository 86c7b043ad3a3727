"""How accurate every model is on the selected classes (paper section 5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import AdaptiveTicker, HoverTool, NumeralTickFormatter

from vacpanel.palette import MODEL_COLORS, MORE_COLORS, NEUTRAL, model_colors
from vacpanel.views.chips import Chips
from vacpanel.views.live import LiveGlyph, LiveSource, no_outline
from vacpanel.views.shown import show
from vacpanel.views.spread import SMALL, names_beside
from vacpanel.words import count

if TYPE_CHECKING:
    from vacpanel.views.base import View

CLASS_COLORS = MODEL_COLORS + MORE_COLORS
MOST = 12  # classes at once: the newest; more colours could not be told apart
CROWD = 40  # models beyond which dots are small


class OnClasses:
    """One line a model and one dot a class, the best model on top; drawn once, patched ever after.

    Parameters
    ----------
    view
        The view that shows it: its tally and its selected classes are what it shows; a tap pins the model.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.heading = ""
        self._models: list[str] = []  # by line
        self._of: list[int] = []  # line of every dot
        self._rate = view.rate  # what stands at the axis
        self._dots = LiveSource(fill_color="color", line_color="edge", size="size")
        self._lines = LiveGlyph(
            "segment", level="underlay", x0="x0", y0="y0", x1="x1", y1="y1", line_color=NEUTRAL, line_alpha=0.5
        )
        self._legend = Chips(margin=(2, 10), sizing_mode="stretch_width", lines=3)
        show(self._legend, False)
        self._legend.on_click(self._class_chosen)
        self.panel = pn.Column(self._legend, sizing_mode="stretch_both", margin=0)

    def prepare(self) -> None:
        """Draw the plot unless it is there: not with the page, which would wait for it, but before it is needed."""
        if len(self.panel) == 1:
            self.follow()
            plot = self._draw()
            self.panel.append(pn.pane.HoloViews(plot, sizing_mode="stretch_both", linked_axes=False))

    def follow(self) -> None:
        """Show what state and tally say now."""
        lines, dots = self._columns()
        self._lines.patch(**lines)
        self._dots.patch(**dots)
        self._dots.ranges(y=self._ylim())
        if self._rate != self._view.rate:
            self._rate = self._view.rate
            self._dots.label("x", f"Top-1 {self._rate}")

    def _ylim(self) -> tuple[float, float]:
        return -0.7, max(len(self._models), 1) - 0.3

    def _columns(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the columns of lines and dots."""
        view = self._view
        tally, state = view.tally, view.state
        at = [int(np.flatnonzero(tally.class_id == class_id)[0]) for class_id in state.classes[-MOST:]]
        images = tally.images[:, at]
        (rows,) = np.nonzero(images.any(axis=1))
        rates, images = tally.top1[rows][:, at], images[rows]
        there = images > 0
        means = np.where(there, rates, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        order = np.argsort(means, kind="stable")
        rows, rates, images, there = rows[order], rates[order], images[order], there[order]
        table = view.warehouse.models()
        labels = dict(zip(map(str, table["model"]), map(str, table["label"]), strict=True))
        self._models = [str(model) for model in tally.models[rows]]
        names = [str(tally.class_name[column]) for column in at]
        self._say(names, images)
        line, column = np.nonzero(there)
        self._of = line.tolist()
        known = np.where(there, rates, np.nan)
        low = np.zeros(len(rows)) if len(at) < 2 else np.nanmin(known, axis=1)
        high = np.nanmax(known, axis=1) if len(rows) else low
        rank = np.arange(len(rows), dtype=float)
        labelled = [labels.get(model, model) for model in self._models]
        return (
            {"x0": low, "y0": rank, "x1": high, "y1": rank, "label": labelled},
            {
                "x": rates[line, column],
                "y": line.astype(float),
                "label": [labelled[i] for i in line],
                "class_name": [names[j] for j in column],
                "images": images[line, column].astype(np.int32),
                **self._looks(line, column, len(at)),
            },
        )

    def _looks(self, line: np.ndarray, column: np.ndarray, classes: int) -> dict[str, Any]:
        """Colour dots by class, or where there is but one by model; the pinned model's have an edge."""
        colors = model_colors(self._view.state.models)
        size, pinned_size = (8, 11) if len(self._models) <= CROWD else (4, 7)
        pinned = [self._models[i] == self._view.state.model for i in line]
        if classes > 1:
            color = [CLASS_COLORS[j] for j in column]
        else:
            color = [colors.get(self._models[i], NEUTRAL) for i in line]
        return {
            "color": color,
            "edge": ["#E69F00" if mine else own for mine, own in zip(pinned, color, strict=True)],
            "size": [pinned_size if mine else size for mine in pinned],
        }

    def _say(self, names: list[str], images: np.ndarray) -> None:
        several = len(self._view.state.classes)
        if not names:
            self.heading = "Models on a class"
        elif not images.size or not images.any():
            left = " that the filter leaves" if self._view.where else ""
            self.heading = f"The selected {'class has' if several == 1 else 'classes have'} no images{left}"
        elif several == 1:
            self.heading = f"Models on “{names[0]}”, {_images(images)}"
        else:
            shown = f", the newest {MOST} shown" if several > MOST else ""
            self.heading = f"Models on {count(several, 'class')}{shown}, {_images(images)} each"
        self._ids = dict(zip(_distinct(names), self._view.state.classes[-MOST:], strict=True))
        self._legend.items = dict(zip(self._ids, CLASS_COLORS, strict=False)) if len(names) > 1 else {}
        show(self._legend, len(names) > 1)

    def _draw(self) -> hv.Points:
        hover = HoverTool(
            tooltips=[("model", "@label"), ("class", "@class_name"), ("top-1", "@x{0.0%} of @images{0,0} images")]
        )
        points = hv.Points([], ["x", "y"]).opts(
            line_width=2,
            tools=[hover],
            xlim=(-0.02, 1.04),
            ylim=self._ylim(),
            xlabel=f"Top-1 {self._rate}",
            xticks=[0, 0.5, 1],
            ylabel="",
            xformatter=NumeralTickFormatter(format="0%"),
            hooks=[
                self._dots.hook,
                self._lines.hook,
                no_outline,
                _thin_ticks,
                names_beside(self._lines, "label", length=18),
            ],
            **SMALL,
        )
        self._dots.on_select(points, self._tapped)
        return points

    def _tapped(self, dot: int) -> None:
        model = self._models[self._of[dot]]
        if model != self._view.state.model:
            self._view.state.model = model

    def _class_chosen(self, name: str) -> None:
        self._view.state.select_class(self._ids[name])


def _thin_ticks(plot: Any, element: Any) -> None:  # noqa: ARG001
    for axis in plot.state.yaxis:
        ticks = {"min_interval": 1, "base": 10, "mantissas": [1, 2, 5], "num_minor_ticks": 0}
        axis.ticker = AdaptiveTicker(desired_num_ticks=24, **ticks)
    plot.state.ygrid.visible = False


def _images(numbers: np.ndarray) -> str:
    """Say how many images stand behind the rates."""
    there = numbers[numbers > 0]
    low, high = int(there.min()), int(there.max())
    return count(high, "image") if low == high else f"{low} to {count(high, 'image')}"


def _distinct(names: list[str]) -> list[str]:
    """Return the names, a number behind those that another class has, too."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct
