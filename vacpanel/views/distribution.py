"""B: the distribution graph, classes laid out by how the pinned model confuses them (paper section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import param
from bokeh.models import HoverTool

from vacpanel.palette import NEUTRAL, root_colors
from vacpanel.views.base import PlotView
from vacpanel.views.chips import Chips
from vacpanel.views.live import LiveSource, quiet_toolbar, square_units

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse


class Distribution(PlotView):
    """t-SNE of the class distances (Algorithm 1) of the pinned model, coloured by root class."""

    title: ClassVar[str] = "Distribution graph"
    slot: ClassVar[str] = "B"
    help_text: ClassVar[str] = (
        "Each point is a class; classes that the pinned model takes for one another lie close together. "
        "Colours are root classes as people sort them: where colours mix, the model sees it differently. "
        "Tap a point to select the class."
    )

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        self._legend = Chips(sizing_mode="stretch_width", margin=(0, 6))
        super().__init__(warehouse, state, **params)
        self._legend.on_click(self._chip_clicked)

    def _chip_clicked(self, root: str) -> None:
        self.state.root = "" if root == self.state.root else root

    def body(self) -> Viewable:
        """Return the graph over its legend."""
        return pn.Column(self._box, self._legend, sizing_mode="stretch_both", margin=0)

    def draw(self) -> Any:
        """Return the points, or what to do to see them."""
        self._shown = False
        self.heading = self.title
        if not self.state.model:
            return "Tap a model in the scatter to see how it groups the classes."
        data = self._columns()
        if not len(data["class_id"]):
            return "This model's layout is not computed yet; it appears when the ETL has finished."
        self._title()
        self._shown = True
        self._points, self._ring = LiveSource(fill_alpha="alpha", size="size"), LiveSource()
        self._data = data
        roots = self.warehouse.roots()
        self._legend.param.update(items=root_colors(roots), chosen=self.state.root)
        points = hv.Points(data, ["x", "y"], [n for n in data if n not in ("x", "y")]).opts(
            color="root_class",
            cmap=root_colors(roots),
            line_color=None,
            show_legend=False,
            tools=[
                HoverTool(
                    tooltips=[
                        ("class", "@class_name"),
                        ("root class", "@root_class"),
                        ("nearest", "@nearest"),
                        ("top-1", "@top1_text"),
                    ]
                ),
                "tap",
            ],
            hooks=[self._points.hook],
        )
        self._points.on_tap(points, self._tapped)
        ring = hv.Points(self._ring_data(), ["x", "y"]).opts(
            fill_alpha=0, line_color=NEUTRAL, line_width=2, size=18, hooks=[self._ring.hook], default_tools=[]
        )
        limit = self._limit()
        return (points * ring).opts(
            xlim=(-limit, limit),
            ylim=(-limit, limit),
            xaxis=None,
            yaxis=None,
            responsive=True,
            min_height=200,
            toolbar="right",
            hooks=[quiet_toolbar, square_units(limit, limit)],
            default_tools=["pan", "wheel_zoom", "box_zoom", "reset"],
            active_tools=["wheel_zoom"],
        )

    def _title(self) -> None:
        self.heading = f"How {self.warehouse.model_row(self.state.model).label} groups the classes"

    def _limit(self) -> float:
        """Return half the side of the square that holds every model's layout, so that axes stay put between models."""
        query = """
            SELECT max(extent) FROM (
              SELECT max(greatest(abs(x), abs(y))) / sqrt(avg(x * x + y * y)) AS extent FROM class_layout GROUP BY model
            ) WHERE isfinite(extent)"""
        [(extent,)] = self.warehouse.sql(query).fetchall()
        return 1.08 * float(extent) if extent else 1.0

    def _columns(self) -> dict[str, Any]:
        layout = self.warehouse.class_layout(self.state.model)
        accuracy = self.warehouse.class_accuracy(self.state.model)
        top1 = dict(zip(map(int, accuracy["class_id"]), map(float, accuracy["top1"]), strict=True))
        ids = [int(class_id) for class_id in layout["class_id"]]
        x, y = np.asarray(layout["x"], dtype=float), np.asarray(layout["y"], dtype=float)
        # t-SNE's coordinates have no unit, and models that confuse little get tight layouts: shown at one size, classes
        # can be followed from model to model.
        radius = float(np.sqrt(np.mean(x**2 + y**2))) or 1.0
        x, y = x / radius, y / radius
        return {
            "x": x,
            "y": y,
            "class_id": ids,
            "class_name": list(layout["class_name"]),
            "root_class": list(layout["root_class"]),
            "nearest": self._nearest(x, y, list(layout["class_name"])),
            "top1_text": [f"{top1[i]:.1%}" if i in top1 else "no images of this class" for i in ids],
            **self._emphasis(list(layout["root_class"])),
        }

    @staticmethod
    def _nearest(x: np.ndarray, y: np.ndarray, names: list[str], k: int = 3) -> list[str]:
        """Return the names of each point's k nearest points on the graph, nearest first."""
        if len(names) <= 1:
            return [""] * len(names)
        square = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
        np.fill_diagonal(square, np.inf)
        k = min(k, len(names) - 1)
        near = np.argpartition(square, k - 1, axis=1)[:, :k]
        rows = np.arange(len(names))[:, None]
        near = near[rows, np.argsort(square[rows, near], axis=1)]
        return [", ".join(names[j] for j in row) for row in near]

    def _emphasis(self, roots: list[str]) -> dict[str, Any]:
        pinned = self.state.root
        big = 9 if len(roots) <= 200 else 6
        return {
            "alpha": [0.95 if not pinned or root == pinned else 0.3 for root in roots],
            "size": [big + 2 if root == pinned else big for root in roots],
        }

    def _ring_data(self) -> dict[str, Any]:
        at = np.flatnonzero(np.isin(self._data["class_id"], self.state.classes))
        return {"x": np.asarray(self._data["x"])[at], "y": np.asarray(self._data["y"])[at]}

    def _tapped(self, row: int) -> None:
        self.state.select_class(self._data["class_id"][row])

    @param.depends("state.model", watch=True)
    def _model_changed(self) -> None:
        data = self._columns() if self._shown and self.state.model else None
        if data is None or data["class_id"] != self._data["class_id"]:
            self.redraw()
            return
        self._title()
        self._data = data
        self._points.patch(**data)
        self._ring.patch(**self._ring_data())

    @param.depends("state.root", watch=True)
    def _root_changed(self) -> None:
        self._legend.chosen = self.state.root
        if self._shown:
            emphasis = self._emphasis(self._data["root_class"])
            self._data.update(emphasis)
            self._points.patch(**emphasis)

    @param.depends("state.classes", watch=True)
    def _classes_changed(self) -> None:
        if self._shown:
            self._ring.patch(**self._ring_data())
