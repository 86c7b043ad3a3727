"""D: what the models look at (paper section 5.3): pictures to choose from, then a table of explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import panel as pn
import param

from vacpanel import serving
from vacpanel.controller import Controller, Row
from vacpanel.views.base import View
from vacpanel.views.strip import ImageStrip
from vacpanel.views.text import empty, gallery, line

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

PICTURE = {"type": "image", "height": "92px", "width": "92px"}
TEXT = {"type": "plaintext"}
PERCENT = {
    "type": "money",
    "symbol": " %",
    "symbolAfter": True,
    "precision": 1,
}
COLUMNS = {
    "picture": "Picture",
    "heatmap": "Heatmap",
    "region": "Region",
    "label": "Model",
    "top1": "Top-1",
    "class_top1": "On class",
    "class_name": "True class",
    "predicted": "Predicted",
    "confidence": "Confidence",
    "roi_area": "ROI area",
    "note": "Note",
}
WIDTHS = {
    **dict.fromkeys(("picture", "heatmap", "region"), 98),
    **dict.fromkeys(("label", "class_name", "predicted"), 104),
    **dict.fromkeys(("class_top1", "roi_area"), 84),
    "top1": 66,
    "confidence": 104,
}
TABLE_CSS = """
.tabulator, .tabulator .tabulator-header .tabulator-col, .tabulator-row .tabulator-cell { font-size: 12px; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 3px 5px; }
.tabulator-row .tabulator-cell { padding: 3px 5px; }
.tabulator .tabulator-header-filter input { font-size: 11px; padding: 1px 3px; }
"""


class Explanations(View):
    """Before a task: the images of the selected class. After: one row a map, sortable, streaming in as maps finish."""

    title: ClassVar[str] = "Visual explanations"
    slot: ClassVar[str] = "D"
    help_text: ClassVar[str] = (
        "Bright regions are what a model looked at when it chose its answer. Contour lines stand at 25, 50 and 75 % "
        "of its highest attention; below the threshold the heatmap is dimmed, and the region shows what is left."
    )

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        super().__init__(warehouse, state, **params)
        self.controller = Controller.of(warehouse, self.state)
        self._media = serving.media_of(warehouse)
        self._strip = ImageStrip(sizing_mode="stretch_width", height=84, margin=(0, 8))
        self._strip.param.watch(self._picked, "selected")
        self._table = pn.widgets.Tabulator(
            _frame([]),
            titles=COLUMNS,
            show_index=False,
            disabled=True,
            layout="fit_data_fill",
            sizing_mode="stretch_both",
            min_height=220,
            formatters={
                **dict.fromkeys(("picture", "heatmap", "region"), PICTURE),
                **dict.fromkeys(("label", "class_name", "predicted", "note"), TEXT),
                **dict.fromkeys(("top1", "class_top1", "confidence", "roi_area"), PERCENT),
            },
            header_filters={
                "label": {"type": "input", "func": "like", "placeholder": "search"},
                "predicted": {"type": "input", "func": "like", "placeholder": "search"},
            },
            configuration={"rowHeight": 98, "columnDefaults": {"headerSortTristate": True}},
            widths=WIDTHS,
            stylesheets=[TABLE_CSS],
            theme="simple",
            margin=(0, 6),
        )
        self._body = pn.Column(sizing_mode="stretch_both", min_height=120)
        self._shown: list[Row] = []
        self.controller.param.watch(self._rows_changed, "rows")
        self._arrange()

    @param.depends("state.classes", "state.generation", watch=True)
    def _arrange(self) -> None:
        self._fill_strip()
        parts: list[Any] = [self._strip] if self._strip.items else []
        if self._shown or self.controller.busy:
            parts.append(self._table)
        else:
            parts.append(empty(self._next_step()))
            parts += self._examples()
        self._body[:] = parts
        self._say()

    def _examples(self) -> list[Viewable]:
        """Return one picture a method of the image that most methods have explained, the pinned example of the ETL."""
        found = self.warehouse.sql(
            """
            WITH newest AS (
              SELECT model, image_id, method, arg_max(digest, created_at) AS digest FROM explanations GROUP BY ALL
            ), best AS (
              SELECT model, image_id FROM newest GROUP BY ALL ORDER BY count(*) DESC, image_id LIMIT 1
            )
            SELECT method, digest, model, image_id FROM newest JOIN best USING (model, image_id) ORDER BY method
            """
        ).fetchall()
        if not found:
            return []
        model, image_id = found[0][2:]
        label = self.warehouse.model_row(model).label
        pictures = [("the image", self._media.seen(image_id, model))]
        pictures += [(method, self._media.overlay(digest, self.state.threshold)) for method, digest, *_ in found]
        says = f"How each method explains {label} on one image:"
        return [line(says, margin=(0, 12)), gallery(pictures)]

    def _next_step(self) -> str:
        if not len(self.warehouse.models()["model"]):
            return "No model has been run yet."
        if not self.state.classes:
            return "Tap a class (a bar, or a point of the distribution graph) to see its images here."
        if not self._strip.items:
            return "The selected class has no images in this warehouse."
        return "Pick an image, tick models on the left and press the button there to see what each model looked at."

    def _fill_strip(self) -> None:
        items = []
        classes = self.warehouse.classes()
        names = dict(zip(map(int, classes["class_id"]), map(str, classes["class_name"]), strict=True))
        for class_id in self.state.classes:
            images = self.warehouse.images_of(class_id, limit=40)
            for image_id, path in zip(images["image_id"], images["path"], strict=True):
                items.append(
                    {
                        "id": int(image_id),
                        "src": self._media.image(int(image_id), 96),
                        "title": f"{names[class_id]}: {path}",
                    }
                )
        if items != self._strip.items:
            self._strip.items = items
        self._strip.selected = list(self.state.images)

    def _say(self) -> None:
        if self._shown or self.controller.busy:
            self.heading = f"What the models look at: {self.state.method}, explaining the {self.state.target} class"
        elif self.state.classes and self._strip.items:
            self.heading = f"Images of the selected class: {len(self._strip.items)} shown"
        else:
            self.heading = self.title

    def _picked(self, event: param.parameterized.Event) -> None:
        if list(event.new) != self.state.images:
            self.state.images = list(event.new)

    @param.depends("state.images", watch=True)
    def _images_changed(self) -> None:
        if self._strip.selected != self.state.images:
            self._strip.selected = list(self.state.images)

    @param.depends("state.threshold", watch=True)
    def _threshold_changed(self) -> None:
        if not self._shown:
            return
        self._table.patch(
            {
                "heatmap": list(enumerate(self._heatmap(row) for row in self._shown)),
                "region": list(enumerate(self._region(row) for row in self._shown)),
            }
        )

    def _rows_changed(self, event: param.parameterized.Event) -> None:
        rows: list[Row] = event.new
        if rows[: len(self._shown)] == self._shown and self._shown:
            new = rows[len(self._shown) :]
            self._shown = list(rows)
            if new:
                self._table.stream(_frame([self._cells(row) for row in new]), follow=False)
            return
        first = not self._shown or not rows
        self._shown = list(rows)
        self._table.value = _frame([self._cells(row) for row in rows])
        if first:
            self._arrange()

    def _heatmap(self, row: Row) -> str:
        return self._media.overlay(row.digest, self.state.threshold) if row.digest else ""

    def _region(self, row: Row) -> str:
        return self._media.masked(row.digest, self.state.threshold) if row.digest else ""

    def _cells(self, row: Row) -> dict[str, Any]:
        facts = row.facts
        right = facts.get("correct")
        sign = "" if right is None else "✓ " if right else "✗ "
        return {
            "picture": self._media.seen(row.image_id, row.model),
            "heatmap": self._heatmap(row),
            "region": self._region(row),
            "label": facts["label"],
            "top1": _percent(facts["top1"]),
            "class_top1": _percent(facts["class_top1"]),
            "class_name": facts["class_name"],
            "predicted": sign + str(facts.get("predicted_class_name", "")),
            "confidence": _percent(facts.get("confidence")),
            "roi_area": _percent(facts.get("roi_area")),
            "note": row.error or ", ".join(facts.get("flags", [])),
        }

    def body(self) -> Viewable:
        """Return thumbnails and table."""
        return self._body


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _frame(cells: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(cells, columns=list(COLUMNS))
    numbers = ["top1", "class_top1", "confidence", "roi_area"]
    return frame.astype(dict.fromkeys(numbers, float))
