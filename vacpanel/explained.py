"""Explanations as they are used in a notebook: arrays, and a frame that says what each of them is."""

from __future__ import annotations

import base64
import html
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from vacpanel import layers, render, serving
from vacpanel.words import count
from warehouse import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image

    from vacpanel.controller import Row
    from warehouse import Warehouse

MOST_SHOWN = 24  # heatmaps that a notebook shows of a result
_KNOWN: dict[str, Any] = {
    "label": pl.String,
    "class_id": pl.Int64,
    "class_name": pl.String,
    "predicted_class_id": pl.Int64,
    "predicted_class_name": pl.String,
    "correct": pl.Boolean,
    "confidence": pl.Float64,
    "top1": pl.Float64,
    "class_top1": pl.Float64,
    "target_class_id": pl.Int64,
    "seconds": pl.Float64,
}


def rows_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Return what is known of some maps, one row each.

    Columns: model, image_id, method, what the warehouse knows of model and image, target_class_id, seconds, one column
    for each measure of the map, flags, status, error and digest (its key in the relation `explanations`).
    """
    measures = dict.fromkeys(name for row in rows for name in row.facts.get("measures", ()))
    schema = {
        **dict.fromkeys(("model",), pl.String),
        "image_id": pl.Int64,
        "method": pl.String,
        **_KNOWN,
        **dict.fromkeys(measures, pl.Float64),
        **dict.fromkeys(("flags", "status", "error", "digest"), pl.String),
    }
    records = [
        {
            "model": row.model,
            "image_id": row.image_id,
            "method": row.method,
            **{name: row.facts.get(name) for name in _KNOWN},
            **row.facts.get("measures", {}),
            "flags": "; ".join(row.facts.get("flags", ())),
            "status": row.status,
            "error": row.error,
            "digest": row.digest,
        }
        for row in rows
    ]
    return pl.DataFrame(records, schema=schema)


class ExplainedMaps:
    """Explanation maps with all that is known of them.

    Parameters
    ----------
    warehouse
        Whose models and images are explained.
    rows
        The maps, as the controller knows them.
    threshold
        From which attention on a pixel belongs to the region of interest.

    Attributes
    ----------
    frame
        One row a map: model, image, method, classes, confidence, measures, and why there is no map where one failed.
    maps
        By row of the frame: (H, W) float32 in [0, 1] at the size of the image that the model saw; None after an error.
    """

    def __init__(self, warehouse: Warehouse, rows: Sequence[Row], threshold: float = 0.5) -> None:
        self._media, self._rows, self._threshold = serving.media_of(warehouse), list(rows), threshold
        self.frame = rows_frame(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        failed = sum(row.attention is None for row in self._rows)
        return f"<{count(len(self), 'map')}{f', {failed} failed' if failed else ''}: .frame, .maps, .heatmap(row)>"

    @cached_property
    def maps(self) -> list[np.ndarray | None]:
        """The maps by row of the frame, see above."""
        return [
            None
            if row.attention is None
            else layers.at_size(row.attention, self._media.seen_size(row.image_id, row.facts["key"]))
            for row in self._rows
        ]

    def picture(self, row: int) -> Image.Image:
        """Return what the model of a row saw."""
        return self._media.picture(self._rows[row].image_id, self._rows[row].facts["key"])

    def heatmap(self, row: int) -> Image.Image:
        """Return the heatmap of a row with contour lines over what the model saw."""
        attention = self._rows[row].attention
        if attention is None:
            return render.unexplained(self.picture(row), self._rows[row].error)
        return render.overlay(self.picture(row), attention, self._threshold)

    def similarity(self, measure: str = "l1") -> np.ndarray:
        """Compare the maps of one image (Algorithm 2).

        Parameters
        ----------
        measure
            ``"l1"``, ``"mse"``, ``"ssim"`` or ``"hash"``.

        Returns
        -------
        numpy.ndarray
            (L, L) float64, rows and columns in the order of those rows of the frame that have a map.

        Raises
        ------
        UserError
            If the maps are of several images.
        """
        from vacpanel.views.similarity import matrix

        there = [row for row in self._rows if row.attention is not None]
        if len({row.image_id for row in there}) > 1:
            raise UserError("Maps of several images cannot be compared; explain one image at a time.")
        sizes = [self._media.seen_size(row.image_id, row.facts["key"]) for row in there]
        size = (max(width for width, _ in sizes), max(height for _, height in sizes))
        return np.array(matrix([row.attention for row in there if row.attention is not None], size, measure))

    def _repr_html_(self) -> str:
        """Show the heatmaps in a notebook; names are not ours, so they are escaped."""
        figures = []
        for at, row in enumerate(self._rows[:MOST_SHOWN]):
            caption = f"{row.facts['label']}, {row.method}, image {row.image_id}"
            source = data_uri(self.heatmap(at))
            figures.append(
                f'<figure style="margin:0;width:160px"><img style="width:100%" src="{source}" alt="">'
                f'<figcaption style="font-size:12px">{html.escape(caption)}</figcaption></figure>'
            )
        left = len(self) - len(figures)
        more = f"<p>{left} more.</p>" if left else ""
        return f'<div style="display:flex;flex-wrap:wrap;gap:10px">{"".join(figures)}</div>{more}'


def data_uri(picture: Image.Image, kind: str = "JPEG") -> str:
    """Return a picture as an address that holds it."""
    content = base64.b64encode(render.encode(picture, kind)).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def names_of(warehouse: Warehouse) -> Mapping[int, str]:
    """Return the names of the classes by id."""
    classes = warehouse.classes()
    return dict(zip(map(int, classes["class_id"]), map(str, classes["class_name"]), strict=True))
