"""D: what the models look at (paper section 5.3): pictures to choose from, then a table of explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import panel as pn
import param
from panel.io.model import JSCode

from vacpanel import methods, serving
from vacpanel.controller import Controller, Row
from vacpanel.views.base import View
from vacpanel.views.live_rows import LiveRows
from vacpanel.views.strip import ImageStrip
from vacpanel.views.text import empty, gallery, line

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

PICTURE = {"type": "image", "height": "88px", "width": "88px"}
TEXT = {"type": "plaintext"}
PERCENT = JSCode(
    "function(cell) { const value = cell.getValue(); "
    "return typeof value === 'number' && !isNaN(value) ? value.toFixed(1) + ' %' : '\N{EN DASH}' }"
)
# The model's name, and below it what has to be known about its map.
NAMED = JSCode(
    "function(cell) { const note = document.createElement('small'); note.textContent = cell.getData().note; "
    "const named = document.createElement('div'); named.append(cell.getValue(), note); return named }"
)
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
    **dict.fromkeys(("picture", "heatmap", "region"), 94),
    "label": 108,
    **dict.fromkeys(("top1", "class_top1", "roi_area"), 66),
    **dict.fromkeys(("class_name", "predicted"), 76),
    "confidence": 78,
}
TABLE_CSS = """
.tabulator, .tabulator .tabulator-header .tabulator-col, .tabulator-row .tabulator-cell { font-size: 12px; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 3px 5px; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-title { font-size: 11px; }
.tabulator-row .tabulator-cell { padding: 3px; }
.tabulator .tabulator-header-filter input { font-size: 11px; padding: 1px 3px; }
.tabulator .tabulator-header .tabulator-col.tabulator-sortable .tabulator-col-title { padding-right: 8px; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content .tabulator-col-sorter { right: 2px; }
.tabulator-row .tabulator-cell:is([tabulator-field="label"], [tabulator-field="class_name"],
  [tabulator-field="predicted"]) { white-space: normal; overflow-wrap: anywhere; }
small { display: block; margin-top: 3px; font-size: 10.5px; line-height: 1.25; opacity: .8; }
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
        self._live = LiveRows()
        self._table = pn.widgets.Tabulator(
            _frame([]),
            titles=COLUMNS,
            hidden_columns=["note"],
            show_index=False,
            disabled=True,
            layout="fit_data_fill",
            sizing_mode="stretch_both",
            min_height=220,
            formatters={
                "picture": PICTURE,
                **{kind: self._live.formatter(kind) for kind in ("heatmap", "region")},
                "label": NAMED,
                **dict.fromkeys(("class_name", "predicted"), TEXT),
                **dict.fromkeys(("top1", "class_top1", "confidence", "roi_area"), PERCENT),
            },
            header_filters={
                "label": {"type": "input", "func": "like", "placeholder": "search"},
                "predicted": {"type": "input", "func": "like", "placeholder": "search"},
            },
            configuration={
                "rowHeight": 98,
                "columnDefaults": {"headerSortTristate": True, "headerWordWrap": True},
            },
            sortable=dict.fromkeys(("picture", "heatmap", "region"), False),
            widths=WIDTHS,
            stylesheets=[TABLE_CSS, LiveRows.style_sheet],
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
        parts: list[Any] = [self._live, *([self._strip] if self._strip.items else [])]
        if self._shown:
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
        found = [example for example in found if self._media.maps.get(example[1])]  # the store forgets maps when full
        if not found:
            return []
        model, image_id = found[0][2:]
        row = self.warehouse.model_row(model)
        pictures = [("the image", self._media.seen(image_id, row.key))]
        pictures += [
            (methods.title(method), self._media.overlay(digest, self.state.threshold)) for method, digest, *_ in found
        ]
        says = f"How each method explains {row.label} on one image:"
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
        if self._shown:
            options = "".join(f", {name} {value}" for name, value in self.state.parameters.items())
            how = f"{methods.title(self.state.method)}{options}"
            self.heading = f"What the models look at: {how}, explaining the {self.state.target} class"
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
        self._live.show({_key(row): self._changing(row) for row in self._shown})

    def _rows_changed(self, event: param.parameterized.Event) -> None:
        rows, before = list(event.new), self._shown
        self._shown = rows
        if list(map(_key, rows)) == list(map(_key, before)):
            changed = [row for row, old in zip(rows, before, strict=True) if row is not old]
            if changed:
                self._live.show({_key(row): self._changing(row) for row in changed})
            return
        self._live.show_all({_key(row): self._changing(row) for row in rows})
        self._table.value = _frame([self._lasting(row) for row in rows])
        if bool(rows) != bool(before):
            self._arrange()

    def _lasting(self, row: Row) -> dict[str, Any]:
        """Return what is known of a row before it is finished."""
        facts = row.facts
        right = facts.get("correct")
        sign = "" if right is None else "✓ " if right else "✗ "
        return {
            "picture": self._media.seen(row.image_id, facts["key"]),
            "heatmap": _key(row),
            "region": _key(row),
            "label": facts["label"],
            "top1": _percent(facts["top1"]),
            "class_top1": _percent(facts["class_top1"]),
            "class_name": facts["class_name"],
            "predicted": sign + str(facts.get("predicted_class_name", "")),
            "confidence": _percent(facts.get("confidence")),
            "note": "",
        }

    def _changing(self, row: Row) -> dict[str, Any]:
        """Return what becomes of a row, as `LiveRows` shows it."""
        live: dict[str, Any] = {"state": row.status, "fraction": row.fraction, "says": _says(row)}
        if row.visible and row.attention is not None:
            name = row.digest or self._media.preview(row.image_id, row.facts["key"], row.attention)
            live["heatmap"] = self._media.overlay(name, self.state.threshold)
            live["region"] = self._media.masked(name, self.state.threshold)
        if row.status == "done":
            live["values"] = {
                "confidence": _percent(row.facts["confidence"]),
                "roi_area": _percent(row.facts["roi_area"]),
                "note": "; ".join(row.facts["flags"]) if row.visible else "",
            }
        return live

    def body(self) -> Viewable:
        """Return thumbnails and table."""
        return self._body


def _key(row: Row) -> str:
    return f"{row.facts['key']}/{row.image_id}"


def _says(row: Row) -> str:
    """Say how far a row is, or why it has no heatmap; nothing where the finished heatmap says it all."""
    percent = f"{100 * row.fraction:.0f}\N{NO-BREAK SPACE}%"
    if row.status == "failed":
        return f"⚠ No explanation. {row.error}"
    if row.status == "done":
        return "" if row.visible else f"No heatmap: {'; '.join(row.facts['flags'])}."
    if row.status == "stopped":
        return f"preview, stopped at {percent}"
    if row.status == "waiting":
        return "waiting"
    if row.visible:
        return f"preview, {percent}"
    return f"{percent} done" if row.fraction else "loading model"


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _frame(cells: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(cells, columns=list(COLUMNS))
    numbers = ["top1", "class_top1", "confidence", "roi_area"]
    return frame.astype(dict.fromkeys(numbers, float))
