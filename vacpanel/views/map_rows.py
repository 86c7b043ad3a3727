"""What the table of explanations says of each map, column by column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vacpanel import methods, serving
from vacpanel.media import by_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vacpanel.controller import Row
    from vacpanel.state import Selection
    from warehouse import Warehouse

LARGE = 900  # px; the original in a row that is opened

# What the table shows, from left to right; the weights are of the width.
COLUMNS: tuple[dict[str, Any], ...] = (
    {"name": "picture", "title": "Picture", "kind": "picture", "weight": 8.8, "help": "What the model saw."},
    {"name": "heatmap", "title": "Heatmap", "kind": "heatmap", "weight": 8.8, "help": "Where it looked, with lines."},
    {
        "name": "region",
        "title": "Region",
        "kind": "region",
        "weight": 8.8,
        "help": "The picture from the threshold on.",
    },
    {
        "name": "colours",
        "title": "Colours",
        "kind": "colours",
        "weight": 11.1,
        "help": "Colour-intensity histogram of the region: red, green and blue, dark to bright.",
    },
    {"name": "label", "title": "Model", "kind": "model", "weight": 11.8},
    {"name": "method", "title": "Method", "kind": "text", "weight": 9},
    {"name": "top1", "title": "Top-1", "kind": "percent", "weight": 6.6, "help": "How often the model is right."},
    {
        "name": "class_top1",
        "title": "On class",
        "kind": "percent",
        "weight": 6.8,
        "help": "How often the model is right on images of this class.",
        "full": "Top-1 on the class",
    },
    {"name": "class_name", "title": "True class", "kind": "text", "weight": 9.8},
    {
        "name": "predicted",
        "title": "Pre\N{SOFT HYPHEN}dicted",
        "kind": "answer",
        "weight": 10.2,
        "full": "Predicted",
    },
    {
        "name": "confidence",
        "title": "Confi\N{SOFT HYPHEN}dence",
        "kind": "percent",
        "weight": 6.8,
        "help": "The model's confidence in its prediction.",
        "full": "Confidence",
    },
    {
        "name": "roi_area",
        "title": "ROI area",
        "kind": "area",
        "weight": 6.8,
        "help": "Share of the picture inside the region at this threshold.",
        "full": "Area of the region of interest",
    },
)


def columns_of(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the columns that say something about these rows, their weights summing to 100."""
    left_out = set()
    if len({row.model for row in rows}) > 1:
        left_out.add("colours")
    if len({row.method for row in rows}) == 1:
        left_out.add("method")
    columns = [column for column in COLUMNS if column["name"] not in left_out]
    weight = sum(column["weight"] for column in columns)
    return [column | {"weight": round(100 * column["weight"] / weight, 2)} for column in columns]


def key_of(row: Row) -> str:
    """Return what names a row in the table."""
    return f"{row.facts['key']}/{row.image_id}/{row.method}"


class MapRows:
    """Makes of the controller's rows what `MapTable` shows of them.

    Parameters
    ----------
    warehouse
        Whose models and images are explained.
    state
        Whose parameters the methods have.
    names
        Of the classes, by id.
    """

    def __init__(self, warehouse: Warehouse, state: Selection, names: Mapping[int, str]) -> None:
        self._warehouse, self._state, self._names = warehouse, state, names
        self._media = serving.media_of(warehouse)

    def whole(self, row: Row) -> dict[str, Any]:
        """Return all that is known of a row."""
        facts = row.facts
        picture = self._media.seen(row.image_id, facts["key"])
        lasting = {
            "picture": picture,
            "large": self._media.image(row.image_id, LARGE) if by_address() else picture,
            "title": f"{facts['label']} on {self._warehouse.image(row.image_id).path}",
            "right": facts.get("correct"),
            "values": self._values(row),
            "details": [["Method", self._method(row)]],
        }
        return lasting | self.changing(row)

    def changing(self, row: Row) -> dict[str, Any]:
        """Return what becomes of a row while its map is made."""
        live: dict[str, Any] = {"state": row.status, "fraction": row.fraction, "says": _says(row)}
        attention, key = row.attention if row.visible else None, row.facts["key"]
        if attention is not None:
            live["layers"] = self._media.layers(row.digest or self._media.preview(row.image_id, key, attention))
        if row.status == "done":
            live["values"] = self._values(row)
            live["note"] = "; ".join(row.facts["flags"]) if row.visible else ""
            live["details"] = self._details(row)
            if attention is not None:
                live["areas"] = self._media.areas(row.image_id, key, attention)
        return live

    def _method(self, row: Row) -> str:
        return methods.described(row.method, self._state.parameters.get(row.method, {}))

    def _values(self, row: Row) -> dict[str, Any]:
        facts = row.facts
        return {
            "label": facts["label"],
            "method": methods.title(row.method),
            "top1": _percent(facts["top1"]),
            "class_top1": _percent(facts["class_top1"]),
            "class_name": facts["class_name"],
            "predicted": facts.get("predicted_class_name", ""),
            "confidence": _percent(facts.get("confidence")),
        }

    def _details(self, row: Row) -> list[list[str]]:
        facts = row.facts
        explained = facts["target_class_id"]
        took = f"{facts['seconds']:.2f} s"
        return [
            ["Method", self._method(row)],
            ["Explained class", self._names.get(explained, str(explained))],
            ["Computed in", f"{took}, some time ago" if facts["cached"] else took],
        ]


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
