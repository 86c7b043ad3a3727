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
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._images: dict[int, int] = {}

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
        y, p = np.asarray(_to_numpy(labels)), np.asarray(_to_numpy(confidences), np.float64)
        if p.shape != (len(y), self.classes):
            raise ValueError(f"confidences must have the shape {(len(y), self.classes)}, not {p.shape}")
        if len(y) == 0:
            return
        if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= self.classes:
            raise ValueError(f"labels must be integers from 0 to {self.classes - 1}")
        if np.any(np.diff(y) < 0):
            order = np.argsort(y, kind="stable")
            y, p = y[order], p[order]
        starts = np.flatnonzero(np.diff(y, prepend=-1))
        counts = np.diff(starts, append=len(y))
        for c, images, total in zip(y[starts].tolist(), counts.tolist(), np.add.reduceat(p, starts), strict=True):
            self._accumulate(c, images, total)

    def distances(self) -> NDArray[np.float64]:
        """Return the distance matrix; see :func:`class_distances`."""
        mean = np.full((self.classes, self.classes), np.nan)
        for c, total in self._sums.items():
            mean[c] = total / self._images[c]
        distance = 1.0 - mean
        present = sorted(self._sums)
        distance[present, present] = 0.0
        return (distance + distance.T) / 2

    def to_arrow(self) -> pa.Table:
        """Columns class_id (int32), images (int64), sum_confidence (list of N float64); classes with images only."""
        present = sorted(self._sums)
        flat = np.concatenate([self._sums[c] for c in present]) if present else np.empty(0)
        offsets = np.arange(0, len(flat) + 1, max(1, self.classes), dtype=np.int32)
        return pa.table(
            {
                "class_id": pa.array(present, pa.int32()),
                "images": pa.array([self._images[c] for c in present], pa.int64()),
                "sum_confidence": pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float64())),
            }
        )

    @classmethod
    def from_arrow(cls, classes: int, tables: Iterable[pa.Table]) -> ConfidenceSums:
        """Add up what :meth:`to_arrow` gave for several shards, in the order given."""
        sums = cls(classes)
        for table in tables:
            column = table.column("sum_confidence").combine_chunks()
            rows = column.flatten().to_numpy().reshape(-1, classes)
            ids, images = table.column("class_id").to_pylist(), table.column("images").to_pylist()
            for c, n, total in zip(ids, images, rows, strict=True):
                sums._accumulate(c, n, total)
        return sums

    def _accumulate(self, c: int, images: int, total: NDArray[np.float64]) -> None:
        self._images[c] = self._images.get(c, 0) + images
        if c in self._sums:
            self._sums[c] += total
        else:
            self._sums[c] = total.copy()


def _to_numpy(values: ArrayLike) -> NDArray[np.generic]:
    """Arrays, lists, and tensors on any device."""
    detach = getattr(values, "detach", None)
    return np.asarray(detach().cpu().numpy() if detach is not None else values)
