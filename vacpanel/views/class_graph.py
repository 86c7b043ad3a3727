"""The distribution graph of classes, for one model: drawn once, patched for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import CustomJSHover, HoverTool

from vacpanel.palette import NEUTRAL, root_colors
from vacpanel.views.live import LiveGlyph, LiveSource, quiet_toolbar, square_units
from vacpanel.views.lookup import lookup_hover

if TYPE_CHECKING:
    from collections.abc import Callable

    from vacpanel.state import Selection
    from warehouse import Warehouse
    from warehouse.tally import Tally

MANY = 200  # classes from which points are drawn smaller

# The nearest points, found where the pointer is: sent along, they would be most of what a tap on a model costs.
NEAREST = """
const {x, y, class_id} = source.data
const far = Array.from(x, (_, i) => [i === value ? Infinity : (x[i] - x[value]) ** 2 + (y[i] - y[value]) ** 2, i])
return far.sort(([a], [b]) => a - b).slice(0, 3).map(([_, i]) => names[class_id[i]]).join(", ")
"""


class ClassGraph:
    """Classes in the plane as one model tells them apart, coloured by root class.

    Parameters
    ----------
    warehouse, state
        As of the view that shows it.
    tapped, brushed
        Called with the class that was tapped, or those in a box or lasso.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        state: Selection,
        tapped: Callable[[int], None],
        brushed: Callable[[list[int]], None],
    ) -> None:
        self.warehouse, self.state = warehouse, state
        self._tapped, self._brushed = tapped, brushed
        self.model = ""
        self.class_id = np.empty(0, np.int32)

    def load(self, model: str) -> bool:
        """Take the layout of a model; return whether it has one with other classes than before."""
        before = self.class_id
        self.model = model
        layout = self.warehouse.class_layout(model)
        x, y = np.asarray(layout["x"], dtype=float), np.asarray(layout["y"], dtype=float)
        # t-SNE's coordinates have no unit, and models that confuse little get tight layouts: shown at one size, classes
        # can be followed from model to model.
        radius = (float(np.sqrt(np.mean(x**2 + y**2))) if len(x) else 1.0) or 1.0
        self.x, self.y = (x / radius).astype(np.float32), (y / radius).astype(np.float32)
        self.class_id = layout["class_id"].astype(np.int32)
        return not np.array_equal(before, self.class_id)

    def draw(self, tally: Tally, limit: float) -> Any:
        """Return the graph, axes from -`limit` to `limit`."""
        classes, roots = self.warehouse.classes(), self.warehouse.roots()
        palette = list(root_colors(roots).values())
        self._points = LiveSource(fill_color="root", palette=palette, fill_alpha="alpha", size="size")
        self._ring = LiveGlyph("scatter", fill_alpha=0, line_color=NEUTRAL, line_width=2.5, size=18)
        self._moves = LiveGlyph(
            "segment", level="underlay", x0="x0", y0="y0", x1="x1", y1="y1", line_color=NEUTRAL, line_alpha=0.6
        )
        self._ends = LiveGlyph("scatter", level="underlay", fill_color=NEUTRAL, line_color=None, size=3.5)
        names = list(map(str, classes["class_name"]))
        root_of = np.array([roots.index(str(root)) for root in classes["root_class"]], dtype=np.uint8)
        self._root = root_of[self.class_id]
        self._points.patch(
            **self._places(),
            class_id=self.class_id,
            root=self._root,
            row=np.arange(len(self.class_id), dtype=np.uint16),
            **self._rates(tally),
            **self._emphasis(),
        )
        self._ring.patch(**self._ring_data())
        self.show_moves(None)
        hover = lookup_hover(
            [
                ("class", "@class_id{custom}"),
                ("root class", "@root{custom}"),
                ("nearest", "@row{custom}"),
                ("top-1", "@top1{0.0%} of @images{0,0} images"),
            ],
            {"class_id": names, "root": roots},
        )
        points = hv.Points((self.x, self.y), ["x", "y"]).opts(
            line_color=None,
            tools=[hover, "box_select", "lasso_select"],
            xlim=(-limit, limit),
            ylim=(-limit, limit),
            xaxis=None,
            yaxis=None,
            responsive=True,
            min_height=160,
            toolbar="right",
            hooks=[
                self._points.hook,
                _nearest(names),
                self._moves.hook,
                self._ends.hook,
                self._ring.hook,
                quiet_toolbar,
                square_units(limit, limit),
            ],
            default_tools=["pan", "wheel_zoom", "box_zoom", "reset"],
            active_tools=["wheel_zoom"],
        )
        self._points.on_select(
            points,
            lambda row: self._tapped(int(self.class_id[row])),
            lambda rows: self._brushed([int(self.class_id[row]) for row in rows]),
        )
        return points

    def follow_model(self, tally: Tally) -> None:
        """Show the layout that was loaded in place of the one before, of the same classes."""
        self._points.patch(**self._places(), **self._rates(tally))
        self._ring.patch(**self._ring_data())

    def follow_filter(self, tally: Tally) -> None:
        """Show the rates of a new filter, and what it leaves out."""
        self._points.patch(**self._rates(tally), **self._emphasis())

    def follow_root(self) -> None:
        """Bring the classes of the pinned root to the fore."""
        self._points.patch(**self._emphasis())

    def follow_classes(self) -> None:
        """Mark the selected classes."""
        self._ring.patch(**self._ring_data())

    def show_moves(self, other: ClassGraph | None) -> None:
        """Draw lines from every class to where another model has it; none without one."""
        if other is None or not len(other.class_id):
            x0, y0, x1, y1 = np.full((4, 1), np.nan, np.float32)
        else:
            _, mine, theirs = np.intersect1d(self.class_id, other.class_id, return_indices=True)
            x0, y0, x1, y1 = self.x[mine], self.y[mine], other.x[theirs], other.y[theirs]
        self._moves.patch(x0=x0, y0=y0, x1=x1, y1=y1)
        self._ends.patch(x=x1, y=y1)

    def _places(self) -> dict[str, Any]:
        return {"x": self.x, "y": self.y}

    def _rates(self, tally: Tally) -> dict[str, Any]:
        row = tally.row(self.model)
        at = np.searchsorted(tally.class_id, self.class_id)
        if row is None:
            none = np.zeros(len(at), np.int32)
            return {"top1": np.full(len(at), np.nan, np.float32), "images": none}
        return {"top1": tally.top1[row, at].astype(np.float32), "images": tally.images[row, at].astype(np.int32)}

    def _emphasis(self) -> dict[str, Any]:
        """Return how bold and large points are: those of the pinned root most, those that are filtered out least."""
        chosen, roots = self.state.filter, self.warehouse.roots()
        kept = np.ones(len(self.class_id), bool)
        if chosen.classes:
            kept &= np.isin(self.class_id, chosen.classes)
        if chosen.roots:
            kept &= np.isin(self._root, [i for i, root in enumerate(roots) if root in chosen.roots])
        pinned = np.full(len(self.class_id), not self.state.root)
        if self.state.root in roots:
            pinned = self._root == roots.index(self.state.root)
        size = 9 if len(self.class_id) <= MANY else 6
        big = 2 if self.state.root else 0
        return {
            "alpha": np.where(kept, np.where(pinned, 0.95, 0.35), 0.1).astype(np.float32),
            "size": (size + big * pinned).astype(np.float32),
        }

    def _ring_data(self) -> dict[str, Any]:
        at = np.flatnonzero(np.isin(self.class_id, self.state.classes))
        return {"x": self.x[at], "y": self.y[at]}


def _nearest(names: list[str]) -> Callable[[Any, Any], None]:
    """Return a hook that lets hover tell the nearest points of the one whose number the column "row" holds."""

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001
        near = CustomJSHover(args={"source": plot.handles["source"], "names": names}, code=NEAREST)
        for tool in plot.state.tools:
            if isinstance(tool, HoverTool) and ("nearest", "@row{custom}") in tool.tooltips:
                tool.formatters = {**tool.formatters, "@row": near}

    return hook
