"""What requests refer to: models, images and predictions of a warehouse, remembered while it does not change.

A question to DuckDB costs a millisecond or more whatever it is, and a request for a map that is in the store should
cost less than five.
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

import warehouse
from etl.classes import ClassTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from warehouse import Warehouse
    from warehouse.folder import Folder
    from warehouse.rows import ImageRow, ModelRow

IMAGES = 64
"""Images that are asked for together, by id: a question about many costs hardly more than one about a single one."""

PREDICTIONS = 4096
"""Images whose predictions by one model are asked for together."""

REMEMBERED = 1000
"""Such answers, after which all are forgotten: some tens of megabytes."""

_NONE = -1
_PREDICTION = np.dtype([("predicted_class_id", np.int32), ("confidence", np.float32)])


class Catalogue:
    """The newest published state of a warehouse; there need not be one yet. Any thread may ask.

    Parameters
    ----------
    folder
        Of the warehouse.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._opened: Warehouse | None = None
        self._known: Known | None = None

    def current(self) -> Known:
        """Return what is known of the newest generation.

        Raises
        ------
        WarehouseError
            If nothing is published yet.
        """
        with self._lock:
            if self._opened is None:
                self._opened = warehouse.open(self._folder.root)
            elif self._opened.refresh():
                self._known = None
            if self._known is None:
                self._known = Known(self._opened)
            return self._known

    def close(self) -> None:
        """Close the warehouse."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()


class Known:
    """Rows of one generation of a warehouse, each asked for once.

    Parameters
    ----------
    opened
        The warehouse.
    """

    def __init__(self, opened: Warehouse) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._models: dict[str, ModelRow] = {}
        self._images: dict[int, dict[int, ImageRow]] = {}
        self._predictions: dict[tuple[str, int], NDArray[np.void]] = {}

    def get_ready(self) -> None:
        """Ask in advance for what most requests need."""
        _ = self.classes
        names = self._opened.models()["model"]
        for name in names:
            self.model(name)
        first = self._opened.sql("SELECT min(image_id) FROM images").fetchall()[0][0]
        if first is not None and len(names):
            self.image(first)
            self.prediction(names[0], first)

    @cached_property
    def classes(self) -> ClassTable:
        """The class table."""
        columns = self._opened.classes()
        return ClassTable(tuple(columns["class_name"]), tuple(columns["root_class"]), tuple(columns["wnid"]))

    def model(self, name: str) -> ModelRow:
        """Return all about a model by its canonical name; ``WarehouseError`` if there is no such model."""
        if name not in self._models:
            self._models[name] = self._opened.model_row(name)
        return self._models[name]

    def image(self, image_id: int) -> ImageRow:
        """Return all about an image; ``WarehouseError`` if there is no such image."""
        block, start, end = _block(image_id, IMAGES)
        with self._lock:
            if block not in self._images:
                _make_room(self._images)
                self._images[block] = {row.image_id: row for row in self._opened.image_rows(start, end)}
            found = self._images[block].get(image_id)
        return self._opened.image(image_id) if found is None else found

    def prediction(self, model: str, image_id: int) -> tuple[int, float] | None:
        """Return the class that a model predicts for an image, and its confidence; None if that is not known."""
        block, start, end = _block(image_id, PREDICTIONS)
        with self._lock:
            if (model, block) not in self._predictions:
                _make_room(self._predictions)
                found = self._opened.sql(
                    "SELECT image_id, predicted_class_id, confidence FROM predictions"
                    " WHERE model = ? AND image_id BETWEEN ? AND ?",
                    [model, start, end],
                ).fetchnumpy()
                said = np.zeros(PREDICTIONS, _PREDICTION)
                said["predicted_class_id"] = _NONE
                for column in ("predicted_class_id", "confidence"):
                    said[column][found["image_id"] - start] = found[column]
                self._predictions[model, block] = said
            label, confidence = self._predictions[model, block][image_id - start].item()
        return None if label == _NONE else (label, confidence)


def _block(image_id: int, size: int) -> tuple[int, int, int]:
    """Return the number of the block that an image is in, and its first and last image."""
    block = image_id // size
    return block, block * size, block * size + size - 1


def _make_room(remembered: dict[Any, Any]) -> None:
    if len(remembered) >= REMEMBERED:
        remembered.clear()
