"""E: what helps to choose and to compare (paper sections 5.1 and 5.3).

Before a class is chosen: classes with a remarkable range or average of accuracy. With a class: every model's accuracy
on it. After a comparison: how similar the models' maps are (Algorithm 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import param
from bokeh.models import HoverTool, NumeralTickFormatter

from vacpanel import serving
from vacpanel.controller import Controller, Row
from vacpanel.palette import NEUTRAL, model_colors, root_colors
from vacpanel.render import upsample
from vacpanel.views.base import View
from vacpanel.views.live import LiveSource, no_outline
from vacpanel.views.text import empty, line
from vacpanel.words import count

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

SHOWN = 3  # classes at each end of a ranking, six in all as in the paper
MEASURES = {
    "l1": "mean absolute difference, 0 is equal",
    "mse": "mean squared difference, 0 is equal",
    "ssim": "structural similarity, 1 is equal",
    "hash": "differing bits of a perceptual hash, 0 is equal",
}
COMPARE_SIDE = 56  # px; maps of different layers are compared at one common size


class Supplement(View):
    """Range and average of class accuracy; with a class, the models on it; after a task, the similarity matrix."""

    title: ClassVar[str] = "Where to look"
    slot: ClassVar[str] = "E"
    help_text: ClassVar[str] = (
        "Range: classes on which the models differ most, and least. Average: classes that are easy, and hard, for all. "
        "Tap a bar to select the class. After a comparison of models: how alike their heatmaps are."
    )

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        super().__init__(warehouse, state, **params)
        self.controller = Controller.of(warehouse, self.state)
        self._media = serving.media_of(warehouse)
        self._body = pn.Column(sizing_mode="stretch_both", min_height=120)
        self._compared: list[Row] = []
        self.controller.param.watch(self._rows_changed, ["busy", "rows"])
        self._arrange()

    @param.depends("state.classes", "state.models", "state.images", "state.measure", "state.generation", watch=True)
    def _arrange(self) -> None:
        if not len(self.warehouse.models()["model"]):
            self.heading = self.title
            self._body[:] = [empty("No model has been run yet.")]
            return
        self._compared = self._comparable()
        on_class = self._accuracies_on_class() if self.state.classes else None
        parts: list[Any] = [] if on_class is None else [_pane(on_class)]
        if self._compared:
            self.heading = "Comparison of the models"
            maps = self._picture_and_matrix(self._compared)
            tabs = [("Maps", maps)] + ([("Accuracy on the class", parts[0])] if parts else [])
            parts = [pn.Tabs(*tabs, sizing_mode="stretch_both", margin=(0, 4))]
        if not parts:
            spread = self.warehouse.class_spread()
            parts = [
                _pane(self._ranked(spread, "range_top1", "Range of class accuracy")),
                _pane(self._ranked(spread, "mean_top1", "Average of class accuracy")),
            ]
            self.heading = "Classes worth a look"
        self._body[:] = parts

    def _rows_changed(self, *_: param.parameterized.Event) -> None:
        # What was compared before stays until there is something new, or nothing.
        if not self.controller.busy and self._comparable() != self._compared:
            self._arrange()

    def _comparable(self) -> list[Row]:
        """Return the rows of a finished comparison of models on one image; none before, or if there is no such."""
        rows = [row for row in self.controller.rows if row.digest and row.visible]
        one_image = len({row.image_id for row in rows}) == 1
        return rows if one_image and len(rows) > 1 and not self.controller.busy else []

    # -- before a class is chosen ---------------------------------------------------------------------------------

    def _ranked(self, spread: dict[str, Any], by: str, title: str) -> Any:
        order = np.argsort(np.asarray(spread[by], dtype=float), kind="stable")
        chosen = list(order) if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
        pick = {name: np.asarray(column)[chosen] for name, column in spread.items()}
        rank = np.arange(len(chosen), dtype=float)
        of_range = by == "range_top1"
        data = {
            "x0": pick["min_top1"] if of_range else np.zeros_like(rank),
            "y0": rank - 0.36,
            "x1": pick["max_top1"] if of_range else pick["mean_top1"],
            "y1": rank + 0.36,
            **pick,
        }
        live = LiveSource()
        bars = hv.Rectangles(data, ["x0", "y0", "x1", "y1"], list(pick)).opts(
            color="root_class",
            cmap=root_colors(self.warehouse.roots()),
            line_alpha=0,
            alpha=0.9,
            tools=[
                HoverTool(
                    tooltips=[
                        ("class", "@class_name"),
                        ("root class", "@root_class"),
                        ("worst to best model", "@min_top1{0.0%} to @max_top1{0.0%}"),
                        ("mean", "@mean_top1{0.0%}"),
                    ]
                ),
                "tap",
            ],
            hooks=[live.hook],
        )
        ids = [int(class_id) for class_id in pick["class_id"]]
        live.on_tap(bars, lambda row: self.state.select_class(ids[row]))
        ends = hv.Points({"x": data["x1"], "y": rank}, ["x", "y"]).opts(size=3, color=NEUTRAL, default_tools=[])
        return (bars * ends).opts(
            title=title,
            xlim=(0, 1.02),
            ylim=(-0.6, len(chosen) - 0.4),
            yticks=[(i, _short(str(name))) for i, name in enumerate(pick["class_name"])],
            xlabel="",
            ylabel="",
            xformatter=NumeralTickFormatter(format="0%"),
            show_legend=False,
            **_SMALL,
        )

    # -- with a class ---------------------------------------------------------------------------------------------

    def _accuracies_on_class(self) -> Any:
        class_id = self.state.classes[-1]
        table = self.warehouse.class_accuracy_of([class_id])
        if not len(table["model"]):
            self.heading = "The selected class has no images"
            return hv.Points([]).opts(xaxis=None, yaxis=None, **_SMALL)
        self.heading = f"Models on “{table['class_name'][0]}”, {count(int(table['images'][0]), 'image')}"
        order = np.argsort(np.asarray(table["top1"], dtype=float), kind="stable")
        rows = {name: np.asarray(column)[order] for name, column in table.items()}
        colors = model_colors(self.state.models)
        models = [str(model) for model in rows["model"]]
        rank = np.arange(len(models), dtype=float)
        live = LiveSource(fill_color="color", line_color="color")
        points = hv.Points(
            {
                "x": rows["top1"],
                "y": rank,
                "label": rows["label"],
                "images": rows["images"],
                "color": [colors.get(model, NEUTRAL) for model in models],
            },
            ["x", "y"],
            ["label", "images", "color"],
        ).opts(
            size=9,
            tools=[
                HoverTool(tooltips=[("model", "@label"), ("top-1", "@x{0.0%} of @images{0,0} images")]),
                "tap",
            ],
            hooks=[live.hook],
        )
        live.on_tap(points, lambda row: self.state.param.update(model=models[row]))
        lines = hv.Segments((np.zeros_like(rank), rank, rows["top1"], rank)).opts(
            color=NEUTRAL, alpha=0.5, default_tools=[]
        )
        return (lines * points).opts(
            xlim=(-0.02, 1.04),
            ylim=(-0.7, len(models) - 0.3),
            yticks=[(i, _short(str(label), 22)) for i, label in enumerate(rows["label"])],
            xlabel="Top-1 accuracy on this class",
            ylabel="",
            xformatter=NumeralTickFormatter(format="0%"),
            **_SMALL,
        )

    # -- after a comparison ---------------------------------------------------------------------------------------

    def _picture_and_matrix(self, rows: list[Row]) -> Viewable:
        from etl.explain.similarity import similarity

        labels = [str(row.facts["label"]) for row in rows]
        maps = [upsample(row.attention, (COMPARE_SIDE, COMPARE_SIDE)) for row in rows if row.attention is not None]
        matrix = np.asarray(similarity(np.stack(maps), self.state.measure))
        data = [(labels[j], labels[i], float(matrix[i, j])) for i in range(len(labels)) for j in range(len(labels))]
        heat = hv.HeatMap(data, ["model", "other"], "similarity").opts(
            cmap="Cividis",
            colorbar=True,
            colorbar_opts={"width": 8, "padding": 2},
            clabel="",
            invert_yaxis=True,
            xaxis=None,
            ylabel="",
            tools=[HoverTool(tooltips=[("maps of", "@model and @other"), ("value", "@similarity{0.000}")])],
            **_SMALL,
        )
        says = line(
            f"The compared image, and how alike the models' maps of it are: {MEASURES[self.state.measure]}.",
            margin=(8, 8),
            sizing_mode="stretch_width",
            min_width=0,
        )
        head = pn.Row(_picture(self._media.image(rows[0].image_id, 144)), says, sizing_mode="stretch_width")
        return pn.Column(head, _pane(heat), sizing_mode="stretch_both", margin=0)

    def body(self) -> Viewable:
        """Return what fits the state."""
        return self._body


_SMALL: dict[str, Any] = {
    "responsive": True,
    "min_height": 120,
    "toolbar": None,
    "default_tools": [],
    "hooks": [no_outline],
    "fontsize": {"ticks": "8pt", "labels": "8.5pt", "title": "9pt"},
}


def _picture(src: str) -> pn.pane.HTML:
    """Return a picture by its address, which is our own."""
    return pn.pane.HTML(
        f'<img src="{src}" alt="" style="max-width: 84px; border-radius: 4px">', width=90, margin=(2, 6)
    )


def _pane(plot: Any) -> pn.pane.HoloViews:
    return pn.pane.HoloViews(plot, sizing_mode="stretch_both", linked_axes=False)


def _short(text: str, length: int = 18) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
