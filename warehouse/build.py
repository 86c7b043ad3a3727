"""Filling a new generation from the files of a snapshot."""

from __future__ import annotations

import collections
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from warehouse.answers import answer_counts, confusions, image_codes, images_table
from warehouse.errors import WarehouseError
from warehouse.explanations import write_explanations
from warehouse.parts import DerivedStore, PartStore
from warehouse.schema import DERIVED_SCHEMAS, SCHEMA_VERSION
from warehouse.snapshot import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import duckdb
    from numpy.typing import NDArray

    from warehouse.folder import Folder
    from warehouse.snapshot import Snapshot

_Item = TypeVar("_Item")
_Content = TypeVar("_Content")

_INSERTS = {
    "model": "INSERT INTO store.model SELECT $id, key, model, label, family, source, parameters, flops, input_size,"
    " latency_ms, images_per_second, precision, weights_sha256, preprocess, layer, created_at FROM part",
    "predictions": "INSERT INTO store.prediction SELECT $id, * FROM part ORDER BY class_id, image_id",
    "confusions": "INSERT INTO store.confusion SELECT $id, * FROM part",
    "answers": "INSERT INTO store.answer_count SELECT $id, * FROM part",
    "confidences": "INSERT INTO store.class_confidence SELECT $id, * FROM part",
    "class_layouts": "INSERT INTO store.class_layout SELECT $id, * FROM part ORDER BY class_id",
    "image_layouts": "INSERT INTO store.image_layout SELECT $id, * FROM part ORDER BY image_id",
}
"""How the tables of one model get into the database."""

_READERS = 1
"""Models that are read from their parts while another one is inserted: each takes about as long."""


def build_generation(connection: duckdb.DuckDBPyConnection, folder: Folder, snapshot: Snapshot, number: int) -> None:
    """Make all schemas, tables and views in an empty database and fill them.

    Parameters
    ----------
    connection
        From `build_database`.
    folder
        The warehouse.
    snapshot
        The files to read.
    number
        Number of the generation.
    """
    connection.begin()
    connection.execute(sql("schema.sql"))
    classes = _write_facts(connection, folder, snapshot)
    images = connection.execute("SELECT image_id, class_id FROM images ORDER BY image_id").fetchnumpy()
    codes: list[NDArray[np.uint8]] = []
    models = _ahead(lambda card: _read_model(folder, snapshot, card, classes), _cards(folder, snapshot))
    for model_id, tables in enumerate(models):
        for kind, table in tables.items():
            _insert(connection, _INSERTS[kind], table, id=model_id)
        codes.append(image_codes(tables["predictions"], images["image_id"]))
        # Nobody sees the file before it is complete; and what was read stays in memory until the commit.
        connection.commit()
        connection.begin()
    answers = images_table(images["image_id"], images["class_id"], codes)
    _insert(connection, "INSERT INTO store.image_answers SELECT * FROM part", answers)
    connection.execute(sql("aggregate.sql"))
    write_explanations(connection, folder)
    stamp_generation(connection, snapshot, number)
    connection.commit()


def stamp_generation(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, number: int) -> None:
    """Write into the generation which one it is and what it was made from."""
    connection.execute("DELETE FROM store.generation")
    connection.execute(
        "INSERT INTO store.generation VALUES (?, ?, ?, ?, ?)",
        [
            number,
            snapshot.inputs,
            snapshot.explanations,
            SCHEMA_VERSION,
            datetime.now(UTC).replace(tzinfo=None),
        ],
    )


def _insert(connection: duckdb.DuckDBPyConnection, query: str, part: pa.Table, **parameters: Any) -> None:
    """Run an INSERT that reads the table `part`."""
    connection.register("part", part)
    connection.execute(query, parameters or None)
    connection.unregister("part")


def _write_facts(connection: duckdb.DuckDBPyConnection, folder: Folder, snapshot: Snapshot) -> int:
    """Write everything that belongs to no model; return the number of classes."""
    parts, derived = PartStore(folder), DerivedStore(folder)
    classes = parts.read_many("classes", "_", snapshot.classes)
    _insert(connection, "INSERT INTO classes SELECT * FROM part", classes)

    decoded = parts.read_many("decoded", "_", snapshot.decoded)
    connection.register("part_decoded", decoded)
    images = parts.read_many("images", "_", snapshot.images)
    _insert(
        connection,
        "INSERT INTO images"
        " SELECT i.image_id, i.root, i.path, i.class_id, d.width, d.height, i.bytes, d.sha256"
        " FROM part AS i LEFT JOIN part_decoded AS d USING (image_id)"
        " WHERE d.reason IS NULL ORDER BY i.image_id",
        images,
    )
    _insert(
        connection,
        "INSERT INTO skipped_images SELECT i.image_id, i.root, i.path, i.class_id, d.reason"
        " FROM part AS i JOIN part_decoded AS d USING (image_id)"
        " WHERE d.reason IS NOT NULL ORDER BY i.image_id",
        images,
    )
    connection.unregister("part_decoded")

    objects = parts.read_many("objects", "_", snapshot.objects)
    _insert(
        connection,
        "INSERT INTO image_objects SELECT * FROM part"
        " WHERE image_id IN (SELECT image_id FROM images) ORDER BY image_id",
        objects,
    )
    schema = DERIVED_SCHEMAS["runs"]
    runs = pa.concat_tables([schema.empty_table(), *(derived.read("runs", name) for name in snapshot.derived["runs"])])
    _insert(connection, "INSERT INTO runs SELECT * FROM part ORDER BY started_at, run_id", runs)
    return classes.num_rows


def _cards(folder: Folder, snapshot: Snapshot) -> list[pa.Table]:
    """Return the cards of the models to publish: one-row tables, by name, with labels that tell them apart.

    A name may have several cards: the same checkpoint file with other weights, another precision. The newest
    stands for the name.
    """
    cards: dict[str, pa.Table] = {}
    for key in snapshot.models:
        card = PartStore(folder).read("models", "_", key)
        name = card["model"][0].as_py()
        if name not in cards or _age(card) > _age(cards[name]):
            cards[name] = card
    labels = collections.Counter(card["label"][0].as_py() for card in cards.values())
    return [
        card
        if labels[card["label"][0].as_py()] == 1
        else card.set_column(card.column_names.index("label"), "label", pa.array([name]))
        for name, card in sorted(cards.items())
    ]


def _age(card: pa.Table) -> tuple[datetime, str]:
    return card["created_at"][0].as_py(), card["key"][0].as_py()


def _read_model(folder: Folder, snapshot: Snapshot, card: pa.Table, classes: int) -> dict[str, pa.Table]:
    """Return everything that belongs to a model, by the key of `_INSERTS` that takes it."""
    parts, derived = PartStore(folder), DerivedStore(folder)
    key = card["key"][0].as_py()
    shards = snapshot.models[key]
    predictions = parts.read_many("predictions", key, shards)
    return {
        "model": card,
        "predictions": predictions,
        "confusions": confusions(predictions),
        "answers": answer_counts(predictions),
        "confidences": _mean_confidences(parts, key, shards, classes),
        **{
            kind: derived.read(kind, key)
            for kind in ("class_layouts", "image_layouts")
            if key in snapshot.derived[kind]
        },
    }


def _ahead(read: Callable[[_Item], _Content], items: Iterable[_Item]) -> Iterator[_Content]:
    """Yield what `read` returns for each item, while the next ones are being read."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="publish") as pool:
        pending: collections.deque[Future[_Content]] = collections.deque()
        for item in items:
            pending.append(pool.submit(read, item))
            if len(pending) > _READERS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _mean_confidences(parts: PartStore, key: str, shards: tuple[str, ...], classes: int) -> pa.Table:
    """Add up a model's confidences in the order of the shards, and divide by the number of images.

    Returns
    -------
    pa.Table
        One row per (class with images, class), in this order.

    Raises
    ------
    WarehouseError
        If a vector does not have one value per class.
    """
    sums: dict[int, np.ndarray] = {}
    counts: collections.Counter[int] = collections.Counter()
    for shard in shards:
        table = parts.read("confidences", key, shard)
        vectors = table["sum_confidence"].combine_chunks().flatten().to_numpy()
        if len(vectors) != table.num_rows * classes:
            raise WarehouseError(
                f"{parts.where('confidences', key, shard)} does not fit the class table of {classes} classes; "
                "use one warehouse per class table."
            )
        rows = vectors.reshape(-1, classes) if classes else vectors.reshape(0, 0)
        for class_id, images, row in zip(table["class_id"].to_pylist(), table["images"].to_pylist(), rows, strict=True):
            counts[class_id] += images
            if class_id in sums:
                sums[class_id] += row
            else:
                sums[class_id] = row.copy()
    present = np.array(sorted(class_id for class_id, images in counts.items() if images), dtype=np.int32)
    images_per_class = np.array([counts[class_id] for class_id in present.tolist()], dtype=np.int64)
    means = [sums[class_id] / counts[class_id] for class_id in present.tolist()]
    return pa.table(
        {
            "class_id": np.repeat(present, classes),
            "other_class_id": np.tile(np.arange(classes, dtype=np.int32), len(present)),
            "images": np.repeat(images_per_class, classes),
            "mean_confidence": np.concatenate(means) if means else np.empty(0),
        }
    )
