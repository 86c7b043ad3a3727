"""The questions that dashboards and notebooks ask a published warehouse."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from warehouse.answers import LEVELS, count_images, level_of_bound
from warehouse.errors import WarehouseError
from warehouse.predicate import EVERYTHING, Predicate
from warehouse.reader import Reader
from warehouse.rows import ImageRow, ModelRow, Summary
from warehouse.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from warehouse.reader import Columns

KEPT_TABLES = 256  # the layout of 1000 classes takes 40 KB
KEPT_TALLIES = 64  # 50 models and 1000 classes take 1 MB each, rates included
KEPT_RESTRICTED = 16  # what is left of a tally is found in a millisecond, but all views of a page ask for it
KEPT_ANSWERS = 32  # what some models say of some images: 13 models and 24 images take 17 KB beside their texts
KEPT_IMAGES = 1024  # rows
IMAGES_ASKED_FOR = 256  # of several classes at once; a view and the task over the same classes share the answer


def open(path: str | Path) -> Warehouse:  # noqa: A001
    """Open a published warehouse for reading.

    Parameters
    ----------
    path
        The folder of the warehouse, or the `warehouse.duckdb` in it.

    Raises
    ------
    WarehouseError
        If there is no warehouse, or nothing was published yet.
    """
    return Warehouse(path)


class Warehouse(Reader):
    """A published warehouse, read-only.

    It answers from one generation until `refresh` moves it to a newer one. All methods may be called from any
    thread; those that return `Columns` give columns of length zero where there is nothing. Use it in a `with`
    statement, or `close` it.

    Parameters
    ----------
    path
        The folder of the warehouse, or the `warehouse.duckdb` in it.

    Raises
    ------
    WarehouseError
        If there is no warehouse, or nothing was published yet.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        # By generation, so that a newer one is counted anew.
        self._tally = lru_cache(KEPT_RESTRICTED)(self._restrict)
        self._counted = lru_cache(KEPT_TALLIES)(self._count)
        self._rows_of_models = lru_cache(1)(self._read_models)
        self._kept = lru_cache(KEPT_TABLES)(self._read_only)
        self._images = lru_cache(KEPT_TALLIES)(self._first_images)
        self._answers = lru_cache(KEPT_ANSWERS)(self._read_answers)
        self._rows_of_images = lru_cache(KEPT_IMAGES)(self._read_image)

    # Models and classes ------------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """Return what the warehouse holds, in numbers."""
        return Summary(*self._row("SELECT models, classes, images, skipped_images, generation FROM dataset"))

    def models(self) -> Columns:
        """Return the models by name.

        Columns: model, label, family, source, parameters, flops (float64), input_size, latency_ms, precision,
        images, top1, top5. Accuracies of a model without predictions are NaN.
        """
        return self._table(
            "SELECT m.model, label, family, source, parameters, flops::DOUBLE AS flops, input_size,"
            " latency_ms, precision, coalesce(images, 0) AS images, top1, top5"
            " FROM models AS m LEFT JOIN model_accuracy AS a ON a.model = m.model ORDER BY m.model"
        )

    def model_row(self, model: str) -> ModelRow:
        """Return all about one model.

        Raises
        ------
        WarehouseError
            If the warehouse has no such model.
        """
        row = self._rows_of_models(self.generation).get(model)
        if row is None:
            raise WarehouseError(f"This warehouse has no model {model!r}.")
        return row

    def _read_models(self, generation: int) -> dict[str, ModelRow]:  # noqa: ARG002
        query = (
            "SELECT m.model, label, family, source, parameters, flops, input_size, latency_ms, images_per_second,"
            " precision, weights_sha256, preprocess, layer, key, created_at, coalesce(images, 0), top1, top5"
            " FROM models AS m LEFT JOIN model_accuracy AS a ON a.model = m.model"
        )
        with self._query(query, None) as result:
            return {row[0]: ModelRow(*row) for row in result.fetchall()}

    def classes(self) -> Columns:
        """Return the class table: class_id, wnid, class_name, root_class, and images (their number)."""
        return self._table(
            "SELECT c.class_id, wnid, class_name, root_class, coalesce(n, 0) AS images FROM classes AS c"
            " LEFT JOIN (SELECT class_id, count(*) AS n FROM images GROUP BY class_id) AS i"
            " ON i.class_id = c.class_id ORDER BY c.class_id"
        )

    def roots(self) -> list[str]:
        """Return the root classes, sorted by name."""
        return list(self._table("SELECT DISTINCT root_class FROM classes ORDER BY root_class")["root_class"])

    def _table(self, query: str, *values: Any) -> Columns:
        """Return a small table that views ask for again and again, read once a generation."""
        return dict(self._kept(self.generation, query, values))

    def _read_only(self, generation: int, query: str, values: tuple[Any, ...]) -> Columns:  # noqa: ARG002
        columns = self._columns(query, values)
        for column in columns.values():
            column.flags.writeable = False  # all who ask get the same arrays
        return columns

    # Accuracies --------------------------------------------------------------------------------------------

    def tally(self, where: Predicate = EVERYTHING) -> Tally:
        """Count the right predictions of every model on every class, among those that a predicate selects.

        All accuracies follow from it, see `Tally`. Answers are kept: what needs the predictions themselves, a bound of
        the confidence or some images, is counted once for all models, roots and classes.

        Parameters
        ----------
        where
            Which predictions count; all by default. Its condition on right and wrong does not restrict them: it says
            which of them a rate counts, as in "top-1 error".
        """
        return self._tally(self.generation, where)

    def _restrict(self, generation: int, where: Predicate) -> Tally:
        rows = dataclasses.replace(where, models=(), roots=(), classes=())
        return self._counted(generation, rows).restricted(where)

    def _count(self, generation: int, rows: Predicate) -> Tally:
        if rows.correct is not None:
            return self._counted(generation, dataclasses.replace(rows, correct=None)).answered(correct=rows.correct)
        models = self._table("SELECT model_id, model FROM store.model ORDER BY model")
        classes = self._table("SELECT class_id, class_name, root_class FROM classes ORDER BY class_id")
        if rows.images and rows == Predicate(images=rows.images):
            counts = self._count_images(rows.images, len(models["model"]), int(classes["class_id"].max(initial=-1)) + 1)
            counts = counts[:, models["model_id"]][:, :, classes["class_id"]].astype(np.int32)
            return Tally(models["model"], **classes, images=counts[0], right1=counts[1], right5=counts[2])
        found = self._count_rows(rows)
        row = np.argsort(models["model_id"])[np.searchsorted(np.sort(models["model_id"]), found["model_id"])]
        column = np.searchsorted(classes["class_id"], found["class_id"])
        counts = np.zeros((3, len(models["model"]), len(classes["class_id"])), dtype=np.int32)
        for count, name in zip(counts, ("images", "right1", "right5"), strict=True):
            count[row, column] = found[name]
        return Tally(models["model"], **classes, images=counts[0], right1=counts[1], right5=counts[2])

    def _count_images(self, images: Sequence[int], models: int, classes: int) -> NDArray[np.int64]:
        """Count some images: (3, models, classes), by model id and class id."""
        found = self._columns(
            "SELECT class_id, answers FROM store.image_answers WHERE image_id IN (SELECT unnest(?::INTEGER[]))",
            [list(images)],
        )
        return count_images(found["class_id"], found["answers"], models, classes)

    def _count_rows(self, rows: Predicate) -> Columns:
        """Count by model and true class: model_id, class_id, images, right1, right5."""
        if not rows:
            return self._columns(
                "SELECT model_id, class_id, images, round(top1 * images)::BIGINT AS right1,"
                " round(top5 * images)::BIGINT AS right5"
                " FROM class_accuracy AS a JOIN store.model AS m ON m.model = a.model"
            )
        bounds = rows.min_confidence, rows.max_confidence
        low, high = (None if bound is None else level_of_bound(bound) for bound in bounds)
        whole = (low is None) == (bounds[0] is None) and (high is None) == (bounds[1] is None)
        if whole and not rows.images:
            return self._columns(
                "SELECT model_id, class_id, sum(images)::BIGINT AS images, sum(right1)::BIGINT AS right1,"
                " sum(right5)::BIGINT AS right5 FROM store.answer_count WHERE level BETWEEN ? AND ?"
                " GROUP BY model_id, class_id",
                [0 if low is None else low, LEVELS if high is None else high],
            )
        condition, values = rows.where()
        return self._columns(
            "SELECT model_id, class_id, count(*) AS images,"
            " count(*) FILTER (predicted_class_id = class_id) AS right1, count(*) FILTER (true_rank <= 5) AS right5"
            f" FROM store.prediction WHERE {condition} GROUP BY model_id, class_id",
            values,
        )

    # Distances ---------------------------------------------------------------------------------------------

    def class_layout(self, model: str) -> Columns:
        """Return where a model's classes lie in the plane (t-SNE of their distances).

        Columns: class_id, class_name, root_class, x, y, images, top1 (NaN for a class without images).
        """
        return self._table(
            "SELECT l.class_id, c.class_name, c.root_class, l.x, l.y, coalesce(a.images, 0) AS images, a.top1"
            " FROM class_layout AS l JOIN classes AS c ON c.class_id = l.class_id"
            " LEFT JOIN class_accuracy AS a ON a.class_id = l.class_id AND a.model = l.model"
            " WHERE l.model = ? ORDER BY l.class_id",
            model,
        )

    def image_points(self, model: str = "", where: Predicate = EVERYTHING) -> Columns:
        """Return where images lie in the plane (t-SNE of penultimate features), in no order.

        Columns: model_id (its row in `models`), image_id, class_id, x, y.

        Parameters
        ----------
        model
            In the eyes of this model; of every model where empty.
        where
            Only images whose prediction by the same model meets this.
        """
        condition, values = where.where()
        met = f" AND (m.model, l.image_id) IN (SELECT model, image_id FROM predictions WHERE {condition})"
        return self._columns(
            "SELECT l.model_id, l.image_id, i.class_id, l.x, l.y FROM store.image_layout AS l"
            " JOIN store.model AS m ON m.model_id = l.model_id JOIN images AS i ON i.image_id = l.image_id"
            f" WHERE (? = '' OR m.model = ?){met if where else ''}",
            [model, model, *(values if where else [])],
        )

    def nearest_classes(self, model: str, class_id: int, k: int) -> Columns:
        """Return the `k` classes nearest to a class in the eyes of a model, nearest first.

        Columns: class_id, class_name, root_class, distance (Algorithm 1).
        """
        return self._columns(
            "SELECT d.other_class_id AS class_id, class_name, root_class, distance"
            " FROM class_distances AS d JOIN classes AS c ON c.class_id = d.other_class_id"
            " WHERE d.model = ? AND d.class_id = ? AND d.other_class_id <> d.class_id"
            " ORDER BY distance, d.other_class_id LIMIT ?",
            [model, int(class_id), int(k)],
        )

    # Images ------------------------------------------------------------------------------------------------

    def images_of(self, class_id: int, limit: int | None = None, where: Predicate = EVERYTHING) -> Columns:
        """Return images of a class by id: image_id, root, path, class_id, width, height.

        Parameters
        ----------
        class_id
            The class.
        limit
            At most so many.
        where
            Only images for which some prediction meets this.
        """
        condition, values = where.where()
        met = f" AND image_id IN (SELECT image_id FROM predictions WHERE class_id = ? AND {condition})"
        return self._columns(
            "SELECT image_id, root, path, class_id, width, height FROM images WHERE class_id = ?"
            f"{met if where else ''} ORDER BY image_id LIMIT ?",
            [int(class_id), *([int(class_id), *values] if where else []), 2**62 if limit is None else int(limit)],
        )

    def images_of_classes(self, class_ids: Sequence[int], limit: int, where: Predicate = EVERYTHING) -> Columns:
        """Return images of several classes, class by class, by id: image_id, path, class_id.

        Parameters
        ----------
        class_ids
            The classes, in the order wanted.
        limit
            At most so many; every class gives as many as the others, as far as it has them.
        where
            Only images for which some prediction meets this.
        """
        wanted = tuple(_integers(class_ids))
        if where.classes:  # said once is enough: views that filter by what is selected share the answer
            kept = set(where.classes)
            wanted, where = tuple(i for i in wanted if i in kept), where.without("classes")
        most = -(-max(int(limit), 1) // IMAGES_ASKED_FOR) * IMAGES_ASKED_FOR
        found = {name: column[:limit] for name, column in self._images(self.generation, wanted, most, where).items()}
        place = {class_id: i for i, class_id in enumerate(wanted)}
        order = np.lexsort((found["image_id"], np.array([place[int(class_id)] for class_id in found["class_id"]])))
        return {name: column[order] for name, column in found.items()}

    def _first_images(self, generation: int, wanted: tuple[int, ...], most: int, where: Predicate) -> Columns:  # noqa: ARG002
        """Return images of classes in turns: the first of every class, then the second of every class, and so on."""
        condition, values = where.where()
        met = f" AND {condition}"
        if where != where.without("models", "correct", "min_confidence", "max_confidence"):
            # What models say is asked for; all other conditions are about images.
            met = f" AND image_id IN (SELECT image_id FROM predictions WHERE class_id IN (FROM chosen) AND {condition})"
        return self._columns(
            "WITH chosen AS (SELECT unnest(?::INTEGER[]) AS class_id)"
            " SELECT image_id, path, class_id FROM images"
            f" WHERE class_id IN (FROM chosen){met if where else ''}"
            " ORDER BY row_number() OVER (PARTITION BY class_id ORDER BY image_id), class_id LIMIT ?",
            [list(wanted), *(values if where else []), most],
        )

    def image(self, image_id: int) -> ImageRow:
        """Return all about one image.

        Raises
        ------
        WarehouseError
            If the warehouse has no such image, or it was skipped.
        """
        return self._rows_of_images(self.generation, int(image_id))

    def _read_image(self, generation: int, image_id: int) -> ImageRow:  # noqa: ARG002
        rows = self.image_rows(image_id, image_id)
        if not rows:
            raise WarehouseError(f"This warehouse has no image {image_id}.")
        return rows[0]

    def image_rows(self, first: int, last: int) -> list[ImageRow]:
        """Return all about the images with ids from `first` to `last`, both included."""
        found = self.sql(
            "SELECT image_id, root, path, i.class_id, class_name, root_class, width, height, sha256"
            " FROM images AS i JOIN classes AS c ON c.class_id = i.class_id WHERE image_id BETWEEN ? AND ?",
            [first, last],
        ).fetchall()
        return [ImageRow(image_id, str(self.folder.placed(root)), *rest) for image_id, root, *rest in found]

    def predictions(self, models: Sequence[str], image_ids: Sequence[int]) -> Columns:
        """Return what some models say about some images, by image and model.

        Columns: model, label, image_id, class_id, class_name, predicted_class_id, predicted_class_name,
        confidence, true_confidence, true_rank, correct. Pairs without a prediction have no row.
        """
        return dict(self._answers(self.generation, tuple(map(str, models)), tuple(_integers(image_ids))))

    def _read_answers(self, generation: int, models: tuple[str, ...], image_ids: tuple[int, ...]) -> Columns:
        return self._read_only(
            generation,
            "SELECT p.model, m.label, p.image_id, p.class_id, c.class_name, p.predicted_class_id,"
            " g.class_name AS predicted_class_name, p.confidence, p.true_confidence, p.true_rank, p.correct"
            " FROM predictions AS p JOIN models AS m ON m.model = p.model"
            " JOIN classes AS c ON c.class_id = p.class_id"
            " JOIN classes AS g ON g.class_id = p.predicted_class_id"
            " WHERE list_contains(?::VARCHAR[], p.model) AND list_contains(?::INTEGER[], p.image_id)"
            " ORDER BY p.image_id, p.model",
            (list(models), list(image_ids)),
        )


def _integers(values: Iterable[int]) -> list[int]:
    return [int(value) for value in values]
