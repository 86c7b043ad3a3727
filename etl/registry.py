"""The images and classes that a warehouse has taken in, in shards that never change."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from etl.classes import ClassTable, ClassTableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from etl.datasets import Dataset, LabelledImage
    from warehouse.folder import Folder
    from warehouse.parts import PartStore

EVERY_MODEL = "_"
"""Scope of the parts that belong to no model."""

_TABLE = "table"

_SMALLEST, _LARGEST = 512, 2048
"""Images per shard: seconds of work for a model, some hundred megabytes of pixels at most."""

_SHARDS = 400
"""Shards that are plenty: each is three small files for every model."""


@dataclass(frozen=True)
class Shard:
    """Images that are computed together.

    Attributes
    ----------
    name
        Such as ``"shard-00000"``; the same for every kind of part.
    root
        Image folder, absolute.
    image_ids, class_ids
        int32, shape (n,); ids ascend.
    paths
        Relative to ``root``, n of them.
    """

    name: str
    root: Path
    image_ids: NDArray[np.int32]
    class_ids: NDArray[np.int32]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


class Registry:
    """Takes in a data set: its class table once, its images as they come.

    Parameters
    ----------
    folder
        The warehouse: images that lie in it move with it.
    store
        The warehouse's parts.
    """

    def __init__(self, folder: Folder, store: PartStore) -> None:
        self._folder, self._store = folder, store

    def class_table(self) -> ClassTable | None:
        """Return the warehouse's class table, or None if it has none yet."""
        if not self._store.exists("classes", EVERY_MODEL, _TABLE):
            return None
        return ClassTable.from_arrow(self._store.read("classes", EVERY_MODEL, _TABLE))

    def claim_classes(self, table: ClassTable) -> None:
        """Make a class table the warehouse's.

        Raises
        ------
        ClassTableError
            If the warehouse has another one.
        """
        self._store.write("classes", EVERY_MODEL, _TABLE, table.to_arrow())
        existing = self.class_table()
        if existing is not None and existing != table:
            raise ClassTableError(
                f"The warehouse was built with another class table ({len(existing)} classes, the first is "
                f"{existing.names[0]!r}; this one has {len(table)}, the first is {table.names[0]!r}); name another."
            )

    def register(self, dataset: Dataset, limit: int | None, shard_size: int | None = None) -> int:
        """Take in the images that are new.

        Parameters
        ----------
        dataset
            Its images are compared by path with those that are there.
        limit
            Consider only so many images of the data set, spread evenly over its classes.
        shard_size
            Largest number of images in a shard; None goes by the size of the data set.

        Returns
        -------
        int
            Number of new images.
        """
        new = choose(dataset.images(), limit)
        # Of all images, not of the new ones: a run that goes on makes the shards that it would have made.
        size = shard_size or min(max(len(new) // _SHARDS, _SMALLEST), _LARGEST)
        objects = _objects_by_path(dataset.objects())
        names: list[str] = []
        added = next_id = 0
        is_known = False
        while True:
            if not is_known:
                names = self._store.names("images", EVERY_MODEL)
                table = self._store.read_many("images", EVERY_MODEL, names)
                known = set(table.filter(self._is_of(dataset.root, table))["path"].to_pylist())
                new = [image for image in new if image.path not in known]
                next_id = (pc.max(table["image_id"]).as_py() or 0) + 1 if len(table) else 0
            if not new:
                break
            name = _next_name(names)
            rows = _image_rows(self._folder.named(dataset.root), dataset.root, new[:size], next_id)
            # Another process may take the name first; then look again at what is there.
            is_known = self._store.write("images", EVERY_MODEL, name, rows)
            if is_known:
                added += len(rows)
                names.append(name)
                new, next_id = new[size:], next_id + len(rows)
        if objects is not None:
            # Afterwards, because a process that was killed may have left a shard without its objects.
            for name in sorted({*names} - {*self._store.names("objects", EVERY_MODEL)}):
                rows = self._store.read("images", EVERY_MODEL, name)
                if self._is_of(dataset.root, rows)[0].as_py():
                    self._store.write("objects", EVERY_MODEL, name, _object_rows(rows, objects))
        return added

    def shards(self, root: Path) -> list[Shard]:
        """Return the shards of one image folder, in order of image ids."""
        found = []
        for name in self._store.names("images", EVERY_MODEL):
            table = self._store.read("images", EVERY_MODEL, name)
            if len(table) and self._is_of(root, table)[0].as_py():
                found.append(
                    Shard(
                        name,
                        root,
                        table["image_id"].to_numpy(),
                        table["class_id"].to_numpy(),
                        tuple(table["path"].to_pylist()),
                    )
                )
        return found

    def _is_of(self, root: Path, images: pa.Table) -> pa.ChunkedArray:
        """Tell which images are of an image folder: true or false each."""
        return pc.is_in(images["root"], value_set=pa.array([self._folder.named(root), str(root)]))


def choose(images: Iterable[LabelledImage], limit: int | None) -> list[LabelledImage]:
    """Choose the first ``limit`` images when every class gives one in turn, sorted by path; all without a limit.

    A larger limit chooses all that a smaller one does.
    """
    if limit is None:
        return list(images)
    by_class: dict[int, list[LabelledImage]] = defaultdict(list)
    for image in images:
        by_class[image.class_id].append(image)
    rounds: Iterator[tuple[LabelledImage | None, ...]] = itertools.zip_longest(*(by_class[c] for c in sorted(by_class)))
    turns = (image for turn in rounds for image in turn if image is not None)
    return sorted(itertools.islice(turns, limit))


def shards_fingerprint(names: Iterable[str]) -> str:
    """Identify a set of shards: they never change, so their names do."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def _next_name(names: list[str]) -> str:
    return f"shard-{int(names[-1].rpartition('-')[2]) + 1 if names else 0:05d}"


def _image_rows(name: str, root: Path, images: list[LabelledImage], first_id: int) -> pa.Table:
    sizes, times = [], []
    for image in images:
        try:
            status = (root / image.path).stat()
        except OSError:  # a broken link, say; decoding will tell the reason
            sizes.append(0)
            times.append(0)
        else:
            sizes.append(status.st_size)
            times.append(status.st_mtime_ns)
    count = len(images)
    return pa.table(
        {
            "image_id": pa.array(range(first_id, first_id + count), pa.int32()),
            "root": pa.array([name] * count, pa.string()),
            "path": pa.array([image.path for image in images], pa.string()),
            "class_id": pa.array([image.class_id for image in images], pa.int32()),
            "bytes": pa.array(sizes, pa.int64()),
            "modified_ns": pa.array(times, pa.int64()),
        }
    )


def _objects_by_path(objects: pa.Table | None) -> tuple[dict[str, int], pa.Table] | None:
    if objects is None:
        return None
    return {path: row for row, path in enumerate(objects["path"].to_pylist())}, objects


def _object_rows(images: pa.Table, objects: tuple[dict[str, int], pa.Table]) -> pa.Table:
    row_of, table = objects
    pairs = [
        (image_id, row_of[path])
        for image_id, path in zip(images["image_id"].to_pylist(), images["path"].to_pylist(), strict=True)
        if path in row_of
    ]
    chosen = table.take([row for _, row in pairs]).drop_columns(["path"])
    return chosen.append_column("image_id", pa.array([image_id for image_id, _ in pairs], pa.int32()))
