"""How far apart a model's predictions hold two classes: the paper's Algorithm 1, streamed.

Algorithm 1 (Xuan et al., VAC-CNN, section 4.2) averages ``1 - P[b]`` over the images of class ``a``, sets the diagonal
to zero and symmetrises. With ``S[a, b]`` the sum of the confidences in ``b`` over the ``n[a]`` images of class ``a``
this is::

    D[a, b] = ((1 - S[a, b] / n[a]) + (1 - S[b, a] / n[b])) / 2,    D[a, a] = 0

so that the sums ``S`` are all that has to be kept, and they can be added up shard by shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray


def class_distances(labels: ArrayLike, confidences: ArrayLike) -> NDArray[np.float64]:
    """Distance of each pair of classes in the predictions of one model (Algorithm 1).

    Parameters
    ----------
    labels
        True class of each image, integers in ``range(N)``, shape (M,).
    confidences
        Softmax output for each image, shape (M, N).

    Returns
    -------
    ndarray of float64, shape (N, N)
        Symmetric, zero diagonal, in [0, 1]; rows and columns of classes without images are NaN.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a label is not a class.

    Examples
    --------
    >>> class_distances([0, 1], [[0.75, 0.25], [0.5, 0.5]])
    array([[0.   , 0.625],
           [0.625, 0.   ]])
    """
    y, rows = _to_numpy(labels), _to_numpy(confidences)
    if rows.ndim != 2:
        raise ValueError(f"confidences must have the shape (images, classes), not {rows.shape}")
    if y.shape != rows.shape[:1]:
        raise ValueError(f"{len(rows)} rows of confidences need as many labels, not the shape {y.shape}")
    sums = ConfidenceSums(rows.shape[1])
    # In steps, so that the float64 copy of what may be many gigabytes stays small.
    for start in range(0, len(rows), 4096):
        sums.add(y[start : start + 4096], rows[start : start + 4096])
    return sums.distances()


class ConfidenceSums:
    """Sums of confidence vectors per true class, in float64: what Algorithm 1 needs of any number of images.

    Parameters
    ----------
    classes
        Number of classes, N. Memory is N * 8 bytes for each class that has an image.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._images = np.zeros(classes, np.int64)
        self._row_of = np.full(classes, -1, np.int64)  # rows are given to classes as they come
        self._rows = 0
        self._sums = np.zeros((0, classes))
        self._exact = np.empty((0, classes))  # a batch as float64; a new one each time would have to be cleared

    def add(self, labels: ArrayLike, confidences: ArrayLike) -> None:
        """Add images.

        Parameters
        ----------
        labels
            True classes, integers in ``range(N)``, shape (B,).
        confidences
            Shape (B, N).

        Raises
        ------
        ValueError
            If the shapes do not fit, or a label is not a class.
        """
        y, p = np.asarray(_to_numpy(labels)), np.asarray(_to_numpy(confidences))
        if p.shape != (len(y), self.classes):
            raise ValueError(f"confidences must have the shape {(len(y), self.classes)}, not {p.shape}")
        if len(y) == 0:
            return
        if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= self.classes:
            raise ValueError(f"labels must be integers from 0 to {self.classes - 1}")
        if p.dtype != np.float64:
            if len(self._exact) < len(p):
                self._exact = np.empty((len(p), self.classes))
            np.copyto(self._exact[: len(p)], p)
            p = self._exact[: len(p)]
        self._accumulate(y.astype(np.int64, copy=False), np.bincount(y, minlength=self.classes), p)

    @property
    def present(self) -> NDArray[np.int64]:
        """Ids of the classes with images, ascending."""
        return np.flatnonzero(self._images)

    def distances(self, among: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return the distance matrix; see :func:`class_distances`.

        Parameters
        ----------
        among
            Class ids whose rows and columns are wanted, ascending; all by default.
        """
        ids = np.arange(self.classes) if among is None else among
        known = np.flatnonzero(self._images[ids])
        rows = self._sums[self._row_of[ids[known]]]
        # In place: clearing the pages of new matrices would take longer than computing them.
        means = rows if among is None else rows[:, ids]
        means /= self._images[ids[known], None]
        np.subtract(1.0, means, out=means)
        means[np.arange(len(known)), known] = 0.0
        distance = means
        if len(known) < len(ids):
            distance = np.full((len(ids), len(ids)), np.nan)
            distance[known] = means
        both = distance + distance.T
        both /= 2
        return both

    def to_arrow(self) -> pa.Table:
        """Columns class_id (int32), images (int64), sum_confidence (list of N float64); classes with images only."""
        present = self.present
        flat = self._sums[self._row_of[present]].ravel()
        offsets = np.arange(0, len(flat) + 1, max(1, self.classes), dtype=np.int32)
        return pa.table(
            {
                "class_id": pa.array(present, pa.int32()),
                "images": pa.array(self._images[present], pa.int64()),
                "sum_confidence": pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float64())),
            }
        )

    @classmethod
    def from_arrow(cls, classes: int, tables: Iterable[pa.Table]) -> ConfidenceSums:
        """Add up what :meth:`to_arrow` gave for several shards, in the order given."""
        sums = cls(classes)
        for table in tables:
            ids = table.column("class_id").to_numpy().astype(np.int64)
            images = np.bincount(ids, weights=table.column("images").to_numpy(), minlength=classes)
            totals = table.column("sum_confidence").combine_chunks().flatten().to_numpy().reshape(-1, classes)
            sums._accumulate(ids, images.astype(np.int64), totals)
        return sums

    def _accumulate(self, labels: NDArray[np.int64], images: NDArray[np.int64], rows: NDArray[np.float64]) -> None:
        """Add rows (B, N) to the sums of their classes, and to each class its number of images."""
        import torch

        new = np.unique(labels[self._row_of[labels] < 0])
        if len(new):
            self._row_of[new] = np.arange(self._rows, self._rows + len(new))
            self._rows += len(new)
            if self._rows > len(self._sums):
                room = min(self.classes, max(self._rows, 2 * len(self._sums)))
                self._sums = np.concatenate([self._sums, np.zeros((room - len(self._sums), self.classes))])
        self._images += images
        # A thousand times as fast as a loop; in the order of the rows, so that the sums are the same in every run.
        target = torch.from_numpy(self._row_of[labels])
        torch.from_numpy(self._sums).index_add_(0, target, torch.from_numpy(np.require(rows, requirements=["C", "W"])))


def _to_numpy(values: ArrayLike) -> NDArray[np.generic]:
    """Arrays, lists, and tensors on any device."""
    detach = getattr(values, "detach", None)
    return np.asarray(detach().cpu().numpy() if detach is not None else values)
