"""Right answers, counted: every accuracy that a dashboard shows comes from one small table of counts."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from warehouse.predicate import Predicate
    from warehouse.reader import Columns


@dataclasses.dataclass(frozen=True, eq=False)
class Tally:
    """How many images of every class each model predicted, and how many rightly.

    Where wrong answers are asked for (`Predicate.correct` is False), it counts those in place of the right ones: what
    is called accuracy below is the error then. Rates over several classes are sums of counts over sums of counts,
    never means of rates. Where there are no images a rate is NaN.

    Parameters
    ----------
    models
        (M,) object, names of the models, sorted.
    class_id, class_name, root_class
        (N,) int32, object, object: all classes of the class table, by id.
    images, right1, right5
        (M, N) int32, for many tallies are kept: predictions; those whose predicted class is right; those with the true
        class among the first five.
        Of wrong answers: those whose predicted class is wrong; those with the true class not among the first five.
    """

    models: NDArray[Any]
    class_id: NDArray[Any]
    class_name: NDArray[Any]
    root_class: NDArray[Any]
    images: NDArray[np.int32]
    right1: NDArray[np.int32]
    right5: NDArray[np.int32]

    def restricted(self, where: Predicate) -> Tally:
        """Return what is left with the models, roots and classes of a predicate; its other conditions are ignored."""
        if not (where.models or where.roots or where.classes):
            return self
        keep = np.ones(self.images.shape, dtype=bool)
        if where.models:
            keep &= np.isin(self.models, where.models)[:, None]
        if where.roots:
            keep &= np.isin(self.root_class, where.roots)
        if where.classes:
            keep &= np.isin(self.class_id, where.classes)
        counts = {name: np.where(keep, getattr(self, name), 0) for name in ("images", "right1", "right5")}
        return dataclasses.replace(self, **counts)

    def answered(self, *, correct: bool) -> Tally:
        """Return the counts of right answers, or of wrong ones: its rates are errors then, not accuracies."""
        if correct:
            return self
        return dataclasses.replace(self, right1=self.images - self.right1, right5=self.images - self.right5)

    @cached_property
    def roots(self) -> list[str]:
        """The root classes, sorted by name."""
        return sorted(set(map(str, self.root_class)))

    @cached_property
    def top1(self) -> NDArray[np.float64]:
        """(M, N) top-1 accuracy of every model on every class."""
        return _rate(self.right1, self.images)

    @cached_property
    def top5(self) -> NDArray[np.float64]:
        """(M, N) top-5 accuracy of every model on every class."""
        return _rate(self.right5, self.images)

    def row(self, model: str) -> int | None:
        """Return the row of a model, None if there is no such model."""
        return self._rows.get(model)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {str(model): i for i, model in enumerate(self.models)}

    def model_accuracy(self) -> Columns:
        """Return the accuracy of every model: model, images, top1, top5; one row a model."""
        images = self.images.sum(axis=1)
        return {
            "model": self.models,
            "images": images,
            "top1": _rate(self.right1.sum(axis=1), images),
            "top5": _rate(self.right5.sum(axis=1), images),
        }

    def root_accuracy(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return (M, R) top-1 accuracies by root class, and (R,) the most images of it that a model predicted."""
        member = np.array([self.root_class == root for root in self.roots], dtype=np.int64).reshape(len(self.roots), -1)
        images = self.images @ member.T
        return _rate(self.right1 @ member.T, images), images.max(axis=0, initial=0)

    def class_accuracy(self, model: str) -> Columns:
        """Return the accuracy of a model on every class with images, best first.

        Columns: class_id, class_name, root_class, images, top1, top5.
        """
        row = self.row(model)
        if row is None:
            none = np.empty(0, dtype=int)
            return self._of_classes(none) | {"images": none, "top1": np.empty(0), "top5": np.empty(0)}
        at = np.flatnonzero(self.images[row])
        at = at[np.argsort(-self.top1[row, at], kind="stable")]
        return self._of_classes(at) | {
            "images": self.images[row, at],
            "top1": self.top1[row, at],
            "top5": self.top5[row, at],
        }

    def on_class(self, class_id: int) -> Columns:
        """Return the accuracy of every model with images of a class, by model: model, images, top1, top5."""
        (column,) = np.flatnonzero(self.class_id == class_id)
        at = np.flatnonzero(self.images[:, column])
        return {
            "model": self.models[at],
            "images": self.images[at, column],
            "top1": self.top1[at, column],
            "top5": self.top5[at, column],
        }

    def class_spread(self, root: str | None = None) -> Columns:
        """Return how the models differ on each class with images, by class id.

        Parameters
        ----------
        root
            Only classes of this root class.

        Returns
        -------
        dict
            Columns class_id, class_name, root_class, images (of one model, the most), models, min_top1, max_top1,
            range_top1, mean_top1.
        """
        seen = self.images > 0
        wanted = seen.any(axis=0) if root is None else seen.any(axis=0) & (self.root_class == root)
        at = np.flatnonzero(wanted)
        rates, there = self.top1[:, at], seen[:, at]
        models = there.sum(axis=0)
        low = np.where(there, rates, np.inf).min(axis=0, initial=np.inf)
        high = np.where(there, rates, -np.inf).max(axis=0, initial=-np.inf)
        return self._of_classes(at) | {
            "images": self.images[:, at].max(axis=0, initial=0),
            "models": models,
            "min_top1": low,
            "max_top1": high,
            "range_top1": high - low,
            "mean_top1": np.where(there, rates, 0.0).sum(axis=0) / np.maximum(models, 1),
        }

    def _of_classes(self, at: NDArray[Any]) -> Columns:
        return {"class_id": self.class_id[at], "class_name": self.class_name[at], "root_class": self.root_class[at]}


def _rate(right: NDArray[np.integer], images: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.divide(right, images, out=np.full(images.shape, np.nan), where=images > 0)
