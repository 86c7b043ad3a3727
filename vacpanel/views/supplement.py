"""E: what helps to choose and to compare (paper sections 5.1 and 5.3).

Before a class is chosen: classes with a remarkable range or average of accuracy. With classes: every model's accuracy
on them. After a comparison: how similar the maps are (Algorithm 2).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import panel as pn
import param
import polars as pl

from vacpanel import methods, serving
from vacpanel.controller import Controller, Row
from vacpanel.notebook import afterwards, hold
from vacpanel.views import figures
from vacpanel.views.base import View
from vacpanel.views.maps import commit_threshold, group_of
from vacpanel.views.on_classes import OnClasses
from vacpanel.views.queries import among, rate, rates
from vacpanel.views.shown import is_shown, show
from vacpanel.views.similarity import KNOWN, SimilarityMatrix, matrix
from vacpanel.views.spread import Spread
from vacpanel.views.text import empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

AFTER_TABLE = 0.1
"""Seconds until finished maps are compared: the page asks for their pictures first, and is looked at there first."""
AT_ONCE = 5e6  # pixels to compare: some ten milliseconds; more of them are compared in a thread
CHOOSER_CSS = """
.bk-btn-group > .bk-btn.bk-btn { padding: 2px 6px; font-size: 12px; line-height: 1.5; color: inherit; background: none;
  border: 1px solid rgba(128, 128, 128, .5); box-shadow: none; }
.bk-btn-group > .bk-btn.bk-btn.bk-active { background: #0072B2; color: white; }
"""
SPREAD, ON_CLASSES, MAPS = "Classes", "Models", "Maps"


class Supplement(View):
    """Range and average of class accuracy; with classes, the models on them; after a task, the similarity matrix.

    All of it is drawn once. What changes is patched, and which of the three is in sight.
    """

    title: ClassVar[str] = "Where to look"
    slot: ClassVar[str] = "E"
    help_text: ClassVar[str] = (
        "Range: classes on which the models differ most, and least. Average: classes that are easy, and hard, for all. "
        "Tap a bar to select the class, a model's dot to pin the model. After a comparison: how alike the heatmaps "
        "are; click a cell to see the two side by side."
    )

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        super().__init__(warehouse, state, **params)
        self.controller = Controller.of(warehouse, self.state)
        self._media = serving.media_of(warehouse)
        self._spread, self._on_classes = Spread(self), OnClasses(self)
        self._matrix = SimilarityMatrix(
            measure=self.state.measure,
            group=group_of(self.state),
            threshold=self.state.threshold,
            sizing_mode="stretch_width",
            margin=(4, 10),
        )
        self._matrix.param.watch(self._measure_chosen, "measure")
        self._matrix.on_msg(lambda event: commit_threshold(self.state, event))
        self._maps = pn.Column(self._matrix, sizing_mode="stretch_both", styles={"overflow-y": "auto"}, margin=0)
        self._chooser = pn.widgets.RadioButtonGroup(
            options=[SPREAD], value=SPREAD, margin=(2, 10), sizing_mode="stretch_width", stylesheets=[CHOOSER_CSS]
        )
        self._chooser.param.watch(self._turned, "value")
        self._nothing = empty("No model has been run yet.")
        self._body = pn.Column(
            self._chooser,
            self._nothing,
            self._spread.panel,
            self._on_classes.panel,
            self._maps,
            sizing_mode="stretch_both",
            min_height=120,
        )
        self._finished: list[Row] = []  # of the last comparison; what the matrix shows may be older for a moment
        self._compared: list[Row] = []
        self.controller.param.watch(self._rows_changed, ["busy", "rows"])
        if pn.state.curdoc is not None:
            pn.state.onload(self._on_classes.prepare)
        self._classes: list[int] = []
        self._counts = (self.state.filter, self.state.generation)
        self._due: set[str] = set()  # pages that are to follow when they come in sight
        self._arrange(SPREAD)
        self._choice_changed()

    # -- which of the three -----------------------------------------------------------------------------------------

    def _arrange(self, page: str) -> None:
        """Offer what there is, and show one of it."""
        pages = [SPREAD]
        pages += [ON_CLASSES] if self.state.classes else []
        pages += [MAPS] if self._compared else []
        with hold():
            value = page if page in pages else pages[-1]
            if self._chooser.options == pages:  # Param takes any new list for a change
                self._chooser.value = value
            else:
                self._chooser.param.update(options=pages, value=value)
            self._turned()

    def _turned(self, *_: param.parameterized.Event) -> None:
        page = self._chooser.value
        if page in self._due:
            self._due.remove(page)
            (self._spread if page == SPREAD else self._on_classes).follow()
        there = bool(len(self.warehouse.models()["model"]))
        show(self._nothing, not there)
        show(self._chooser, there and len(self._chooser.options) > 1)
        show(self._spread.panel, there and page == SPREAD)
        show(self._on_classes.panel, there and page == ON_CLASSES)
        show(self._maps, there and page == MAPS)
        self._say()

    def _say(self) -> None:
        if is_shown(self._nothing):
            self.heading = self.title
        elif self._chooser.value == MAPS:
            self.heading = "Comparison of the models" if self._of_models() else "Comparison of the methods"
        else:
            shown = self._spread if self._chooser.value == SPREAD else self._on_classes
            self.heading = shown.heading

    # -- what changes -----------------------------------------------------------------------------------------------

    # A selection of classes changes the filter, too: one method for both, or the models would be followed twice.
    @param.depends("state.classes", "state.filter", "state.generation", watch=True)
    def _choice_changed(self) -> None:
        classes, counts = list(self.state.classes), (self.state.filter, self.state.generation)
        chosen, counted = classes != self._classes, counts != self._counts
        self._classes, self._counts = classes, counts
        # A plot out of sight would be laid out anew, too, for nobody.
        self._due |= {SPREAD, ON_CLASSES} if counted else {ON_CLASSES} if classes else set()
        if classes and chosen:
            self._on_classes.prepare()
        if chosen:
            self._arrange(ON_CLASSES if classes else SPREAD)
        else:
            self._turned()

    @param.depends("state.model", "state.models", watch=True)
    def _models_changed(self) -> None:
        if self.state.classes:
            self._due.add(ON_CLASSES)
            self._turned()

    @param.depends("state.threshold", watch=True)
    def _threshold_changed(self) -> None:
        self._matrix.threshold = self.state.threshold

    # -- the rows behind it -----------------------------------------------------------------------------------------

    def sql(self) -> str:
        """Return the query for the page in sight: classes by range, models on classes, or the compared maps."""
        top = rate(self.where)
        if self._chooser.value == MAPS:
            digests = among("digest", (row.digest for row in self._compared))
            return f"SELECT * FROM explanations WHERE {digests} ORDER BY model, method"
        if self._chooser.value == ON_CLASSES:
            return (
                f"SELECT m.model, label, r.* EXCLUDE (model) FROM"
                f" ({rates(self.where, 'model', 'class_id', 'class_name', 'root_class')}) AS r"
                f" JOIN models AS m ON m.model = r.model WHERE {among('class_id', self.state.classes)}"
                " ORDER BY class_id, m.model"
            )
        return (
            "SELECT class_id, class_name, root_class, max(images) AS images, count(*) AS models,"
            f" min({top}) AS min_{top}, max({top}) AS max_{top}, max({top}) - min({top}) AS range_{top},"
            f" avg({top}) AS mean_{top}"
            f" FROM ({rates(self.where, 'model', 'class_id', 'class_name', 'root_class')})"
            f" GROUP BY class_id, class_name, root_class ORDER BY range_{top} DESC, class_id"
        )

    def data(self) -> pl.DataFrame:
        """Return the answer to `sql`; for the compared maps their similarities, one row a pair."""
        if self._chooser.value != MAPS:
            return super().data()
        pairs = np.array(self._matrix.values, dtype=float).reshape(len(self._compared), -1)
        return pl.DataFrame(
            [
                {
                    "model": one.model,
                    "method": one.method,
                    "other_model": other.model,
                    "other_method": other.method,
                    "image_id": one.image_id,
                    "measure": self._matrix.measure,
                    "similarity": float(value),
                }
                for one, values in zip(self._compared, pairs, strict=True)
                for other, value in zip(self._compared, values, strict=True)
            ]
        )

    def svg(self, shown: Sequence[str] = ()) -> str:  # noqa: ARG002
        """Return the similarity matrix; the page draws the plots."""
        if self._chooser.value != MAPS:
            return ""
        known = next(measure for measure in KNOWN if measure["name"] == self._matrix.measure)
        original = self._media.original(self._compared[0].image_id, figures.ORIGINAL)
        return figures.matrix(self.heading, self._matrix.labels, np.array(self._matrix.values), known, original)

    # -- after a comparison -----------------------------------------------------------------------------------------

    def _rows_changed(self, *_: param.parameterized.Event) -> None:
        # What was compared before stays until there is something new, or nothing.
        if self.controller.busy:
            return
        rows = self._comparable()
        if rows == self._finished:
            return
        self._finished = rows
        if rows:
            afterwards(lambda: self._compare(rows), AFTER_TABLE)
        else:
            self._compared = []
            self._matrix.labels = []
            self._arrange(ON_CLASSES if self.state.classes else SPREAD)

    def _comparable(self) -> list[Row]:
        """Return the rows of a finished comparison on one image; none before, or if there is no such."""
        rows = [row for row in self.controller.rows if row.digest and row.visible]
        return rows if len({row.image_id for row in rows}) == 1 and len(rows) > 1 else []

    def _of_models(self) -> bool:
        return len({row.model for row in self._compared}) > 1

    def _labels(self) -> list[str]:
        several = len({row.method for row in self._compared}) > 1
        titles = [methods.title(row.method) for row in self._compared]
        models = [str(row.facts["label"]) for row in self._compared]
        if not self._of_models():
            return titles
        return [f"{model}, {title}" if several else model for model, title in zip(models, titles, strict=True)]

    def _measure_chosen(self, event: param.parameterized.Event) -> None:
        if event.new != self.state.measure:
            with hold():
                self.state.measure = event.new

    @param.depends("state.measure", watch=True)
    def _measure_changed(self) -> None:
        if self._finished:
            self._compare(self._finished)
        else:
            self._matrix.measure = self.state.measure

    def _compare(self, rows: list[Row]) -> None:
        if rows is not self._finished:
            return
        measure = self.state.measure
        maps = [row.attention for row in rows if row.attention is not None]
        sizes = [self._media.seen_size(row.image_id, row.facts["key"]) for row in rows]
        size = (max(width for width, _ in sizes), max(height for _, height in sizes))
        if len(maps) ** 2 * size[0] * size[1] / 2 < AT_ONCE:
            self._show(rows, measure, matrix(maps, size, measure))
            return

        async def later() -> None:
            values = await asyncio.to_thread(matrix, maps, size, measure)
            if rows is self._finished and measure == self.state.measure:
                self._show(rows, measure, values)

        pn.state.execute(later)

    def _show(self, rows: list[Row], measure: str, values: list[list[float]]) -> None:
        pictures = [
            {
                "picture": self._media.seen(row.image_id, row.facts["key"]),
                "layers": self._media.layers(row.digest),
            }
            for row in rows
        ]
        self._compared = rows
        with hold():
            self._matrix.param.update(
                labels=self._labels(),
                values=values,
                pictures=pictures,
                original=self._media.image(rows[0].image_id, 144),
                measure=measure,
            )
            self._arrange(MAPS)

    def body(self) -> Viewable:
        """Return what fits the state."""
        return self._body
