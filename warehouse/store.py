"""The questions that dashboards and notebooks ask a published warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warehouse.errors import WarehouseError
from warehouse.reader import Reader
from warehouse.rows import ImageRow, ModelRow, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from warehouse.reader import Columns


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

    # Models and classes ------------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """Return what the warehouse holds, in numbers."""
        return Summary(*self._row("SELECT models, classes, images, skipped_images, generation FROM dataset"))

    def models(self) -> Columns:
        """Return the models by name.

        Columns: model, label, family, source, parameters, flops (float64), input_size, latency_ms, precision,
        images, top1, top5. Accuracies of a model without predictions are NaN.
        """
        return self._columns(
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
        row = self._row(
            "SELECT m.model, label, family, source, parameters, flops, input_size, latency_ms, images_per_second,"
            " precision, weights_sha256, preprocess, layer, key, created_at, coalesce(images, 0), top1, top5"
            " FROM models AS m LEFT JOIN model_accuracy AS a ON a.model = m.model WHERE m.model = ?",
            [model],
        )
        if row is None:
            raise WarehouseError(f"This warehouse has no model {model!r}.")
        return ModelRow(*row)

    def classes(self) -> Columns:
        """Return the class table: class_id, wnid, class_name, root_class, and images (their number)."""
        return self._columns(
            "SELECT c.class_id, wnid, class_name, root_class, coalesce(n, 0) AS images FROM classes AS c"
            " LEFT JOIN (SELECT class_id, count(*) AS n FROM images GROUP BY class_id) AS i"
            " ON i.class_id = c.class_id ORDER BY c.class_id"
        )

    def roots(self) -> list[str]:
        """Return the root classes, sorted by name."""
        return list(self._columns("SELECT DISTINCT root_class FROM classes ORDER BY root_class")["root_class"])

    # Accuracies --------------------------------------------------------------------------------------------

    def root_accuracy(self) -> Columns:
        """Return the accuracy of every model on every root class with images.

        Columns: model, label, root_class, images, top1, top5.
        """
        return self._columns(
            "SELECT a.model, label, root_class, images, top1, top5"
            " FROM root_accuracy AS a JOIN models AS m ON m.model = a.model ORDER BY a.model, root_class"
        )

    def class_accuracy(self, model: str) -> Columns:
        """Return the accuracy of a model on every class with images, best first.

        Columns: class_id, class_name, root_class, images, top1, top5.
        """
        return self._columns(
            "SELECT class_id, class_name, root_class, images, top1, top5 FROM class_accuracy"
            " WHERE model = ? ORDER BY top1 DESC, class_id",
            [model],
        )

    def class_accuracy_of(self, class_ids: Sequence[int]) -> Columns:
        """Return the accuracy of all models on some classes.

        Columns: model, label, class_id, class_name, root_class, images, top1, top5.
        """
        return self._columns(
            "SELECT a.model, label, class_id, class_name, root_class, images, top1, top5"
            " FROM class_accuracy AS a JOIN models AS m ON m.model = a.model"
            " WHERE list_contains(?::INTEGER[], class_id) ORDER BY a.model, class_id",
            [_integers(class_ids)],
        )

    def root_class_accuracy(self, root: str) -> Columns:
        """Return the accuracy on the classes of one root class over all models, best mean first.

        Columns: class_id, class_name, images, models, mean_top1, min_top1, max_top1.
        """
        return self._columns(
            "SELECT class_id, class_name, max(images) AS images, count(*) AS models, avg(top1) AS mean_top1,"
            " min(top1) AS min_top1, max(top1) AS max_top1 FROM class_accuracy WHERE root_class = ?"
            " GROUP BY class_id, class_name ORDER BY mean_top1 DESC, class_id",
            [root],
        )

    def class_spread(self) -> Columns:
        """Return how the models differ on each class with images, by class id.

        Columns: class_id, class_name, root_class, models, min_top1, max_top1, range_top1, mean_top1.
        """
        return self._columns("SELECT * FROM class_spread ORDER BY class_id")

    # Distances ---------------------------------------------------------------------------------------------

    def class_layout(self, model: str) -> Columns:
        """Return where a model's classes lie in the plane (t-SNE of their distances).

        Columns: class_id, class_name, root_class, x, y, images, top1 (NaN for a class without images).
        """
        return self._columns(
            "SELECT l.class_id, c.class_name, c.root_class, l.x, l.y, coalesce(a.images, 0) AS images, a.top1"
            " FROM class_layout AS l JOIN classes AS c ON c.class_id = l.class_id"
            " LEFT JOIN class_accuracy AS a ON a.class_id = l.class_id AND a.model = l.model"
            " WHERE l.model = ? ORDER BY l.class_id",
            [model],
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

    def images_of(self, class_id: int, limit: int | None = None) -> Columns:
        """Return the images of a class by id: image_id, root, path, class_id, width, height."""
        return self._columns(
            "SELECT image_id, root, path, class_id, width, height FROM images WHERE class_id = ?"
            " ORDER BY image_id LIMIT ?",
            [int(class_id), 2**62 if limit is None else int(limit)],
        )

    def image(self, image_id: int) -> ImageRow:
        """Return all about one image.

        Raises
        ------
        WarehouseError
            If the warehouse has no such image, or it was skipped.
        """
        row = self._row(
            "SELECT image_id, root, path, i.class_id, class_name, root_class, width, height, sha256"
            " FROM images AS i JOIN classes AS c ON c.class_id = i.class_id WHERE image_id = ?",
            [int(image_id)],
        )
        if row is None:
            raise WarehouseError(f"This warehouse has no image {image_id}.")
        return ImageRow(*row)

    def predictions(self, models: Sequence[str], image_ids: Sequence[int]) -> Columns:
        """Return what some models say about some images, by image and model.

        Columns: model, label, image_id, class_id, class_name, predicted_class_id, predicted_class_name,
        confidence, true_confidence, true_rank, correct. Pairs without a prediction have no row.
        """
        return self._columns(
            "SELECT p.model, m.label, p.image_id, p.class_id, c.class_name, p.predicted_class_id,"
            " g.class_name AS predicted_class_name, p.confidence, p.true_confidence, p.true_rank, p.correct"
            " FROM predictions AS p JOIN models AS m ON m.model = p.model"
            " JOIN classes AS c ON c.class_id = p.class_id"
            " JOIN classes AS g ON g.class_id = p.predicted_class_id"
            " WHERE list_contains(?::VARCHAR[], p.model) AND list_contains(?::INTEGER[], p.image_id)"
            " ORDER BY p.image_id, p.model",
            [[str(model) for model in models], _integers(image_ids)],
        )


def _integers(values: Iterable[int]) -> list[int]:
    return [int(value) for value in values]
