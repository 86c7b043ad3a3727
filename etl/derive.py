"""Results computed from parts: class layouts, embeddings and image layouts, each anew only if its inputs changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from etl import layouts
from etl.distances import ConfidenceSums
from etl.registry import shards_fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from warehouse.parts import DerivedStore, PartStore

_VERSION = "3"
"""Rises when a layout would come out differently from the same parts."""


class Deriver:
    """Keeps the derived results of complete models up to date.

    Parameters
    ----------
    store, derived
        The warehouse's parts and derived results.
    classes
        Number of classes of the class table.
    """

    def __init__(self, store: PartStore, derived: DerivedStore, classes: int) -> None:
        self._store = store
        self._derived = derived
        self._classes = classes

    def interim_class_layout(self, key: str) -> None:
        """Lay out the classes of a model that has just been completed, from the models completed so far.

        It is good to look at until :meth:`class_layouts` replaces it.
        """
        sums = self._sums(key)
        distances = sums.distances(sums.present)
        laid_out = self._derived.names("class_layouts")
        anchor = self._stored_layout(laid_out[0])[sums.present] if laid_out else None
        if anchor is None or not np.isfinite(anchor).all():  # it lacks a class that has images by now
            anchor = layouts.class_anchor(distances)
        self._write_class_layout(key, sums.present, layouts.class_layout(distances, anchor), "interim")

    def class_layouts(self, keys: list[str]) -> int:
        """Lay out the classes of all complete models, aligned to each other.

        The result depends on the set of models only, not on the order in which they were completed.

        Returns
        -------
        int
            Number of layouts that had to be computed.
        """
        shards = {key: shards_fingerprint(self._store.names("confidences", key)) for key in sorted(keys)}
        inputs = {key: _digest("class_layouts", key, *(f"{k} {s}" for k, s in shards.items())) for key in shards}
        stale = [key for key in shards if not self._derived.fresh("class_layouts", key, inputs[key])]
        if not stale:
            return 0
        sums = {key: self._sums(key) for key in shards}
        # Of 20,000 classes a data set may have images of a hundred; the others would take gigabytes here.
        present = np.unique(np.concatenate([s.present for s in sums.values()]))
        distances = {key: s.distances(present) for key, s in sums.items()}
        common = layouts.mean_distances(list(distances.values()))
        anchor = layouts.class_anchor(common)
        for key in stale:
            layout = layouts.class_layout(distances[key], anchor, common)
            self._write_class_layout(key, present, layout, inputs[key])
        return len(stale)

    def image_layout(self, key: str) -> bool:
        """Embed and lay out the images of a complete model; returns whether it had to be computed."""
        shards = self._store.names("features", key)
        inputs = _digest("image_layouts", key, shards_fingerprint(shards))
        if self._derived.fresh("image_layouts", key, inputs):
            return False
        table = self._store.read_many("features", key, shards)
        image_ids, embedding = table["image_id"], _embed(table)
        self._derived.write(
            "embeddings",
            key,
            pa.table({"image_id": image_ids, "vector": _vectors(embedding.astype(np.float32))}),
            inputs,
        )
        layout = layouts.image_layout(embedding)
        self._derived.write("image_layouts", key, _points("image_id", image_ids, layout), inputs)
        return True

    def _sums(self, key: str) -> ConfidenceSums:
        names = self._store.names("confidences", key)
        tables = (self._store.read("confidences", key, name) for name in names)
        return ConfidenceSums.from_arrow(self._classes, tables)

    def _stored_layout(self, key: str) -> NDArray[np.float64]:
        table = self._derived.read("class_layouts", key)
        layout = np.full((self._classes, 2), np.nan)
        layout[table["class_id"].to_numpy()] = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
        return layout

    def _write_class_layout(self, key: str, ids: NDArray[np.int64], layout: NDArray[np.float64], inputs: str) -> None:
        known = np.isfinite(layout[:, 0])
        table = _points("class_id", pa.array(ids[known], pa.int32()), layout[known])
        self._derived.write("class_layouts", key, table, inputs)


def _embed(features: pa.Table) -> NDArray[np.float64]:
    column = features["vector"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    count = len(features)
    return layouts.principal_components(flat.reshape(count, -1)) if count else np.empty((0, 1))


def _vectors(rows: NDArray[np.float32]) -> pa.ListArray:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(rows.reshape(-1), pa.float32()))


def _points(name: str, ids: pa.Array, layout: NDArray[np.float64]) -> pa.Table:
    x, y = layout.astype(np.float32).T
    return pa.table({name: ids, "x": pa.array(x, pa.float32()), "y": pa.array(y, pa.float32())})


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join((_VERSION, *parts)).encode()).hexdigest()
