"""From logits to rows: predicted classes, confidences, the rank of the true class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP = 5


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Confidences, shape (B, N), of logits of that shape."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def prediction_rows(
    image_ids: NDArray[np.int32],
    labels: NDArray[np.int32],
    logits: NDArray[np.float32],
    confidences: NDArray[np.float32],
) -> pa.Table:
    """One row per image, with the columns of the part kind ``predictions``.

    Classes are ranked by logit, since confidences round to equal numbers earlier; equal logits rank by class id: the
    rank of the true class is 1 exactly if it is predicted.

    Parameters
    ----------
    image_ids, labels
        Shape (B,).
    logits, confidences
        Shape (B, N).
    """
    rows = np.arange(len(labels))
    best = _top_classes(logits, TOP)
    true = logits[rows, labels][:, None]
    before = np.arange(logits.shape[1]) < labels[:, None]
    rank = 1 + np.count_nonzero((logits > true) | ((logits == true) & before), axis=1)
    columns: dict[str, pa.Array] = {
        "image_id": pa.array(image_ids, pa.int32()),
        "class_id": pa.array(labels, pa.int32()),
        "predicted_class_id": pa.array(best[:, 0], pa.int32()),
        "confidence": pa.array(confidences[rows, best[:, 0]], pa.float32()),
        "true_confidence": pa.array(confidences[rows, labels], pa.float32()),
        "true_rank": pa.array(rank, pa.int32()),
    }
    for k in range(2, TOP + 1):
        if k <= best.shape[1]:
            columns[f"class_id_{k}"] = pa.array(best[:, k - 1], pa.int32())
            columns[f"confidence_{k}"] = pa.array(confidences[rows, best[:, k - 1]], pa.float32())
        else:
            columns[f"class_id_{k}"] = pa.nulls(len(labels), pa.int32())
            columns[f"confidence_{k}"] = pa.nulls(len(labels), pa.float32())
    return pa.table(columns)


def feature_rows(image_ids: NDArray[np.int32], features: NDArray[np.float32]) -> pa.Table:
    """One row per image, with the columns of the part kind ``features``.

    Parameters
    ----------
    image_ids
        Shape (B,).
    features
        Shape (B, d); stored in float16, clipped to its range.
    """
    limit = np.finfo(np.float16).max
    flat = np.clip(features, -limit, limit).astype(np.float16).reshape(-1)
    offsets = np.arange(len(features) + 1, dtype=np.int32) * (features.shape[1] if features.ndim == 2 else 0)
    return pa.table(
        {
            "image_id": pa.array(image_ids, pa.int32()),
            "vector": pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float16())),
        }
    )


def _top_classes(logits: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Rank the ``k`` best classes of each row, best first, equal ones by class id; shape (B, min(k, N))."""
    remaining = logits.copy()
    rows = np.arange(len(logits))
    best = np.empty((len(logits), min(k, logits.shape[1])), np.intp)
    for i in range(best.shape[1]):
        best[:, i] = remaining.argmax(axis=1)  # the first of equal maxima
        remaining[rows, best[:, i]] = -np.inf
    return best
