"""A model's predictions as counts, made while they are at hand: what a dashboard asks then needs no predictions.

Counted by true class and by level of the confidence, a filter on whole percents of the confidence is a sum; and with a
byte for every model, what an image was taken for by all models is one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LEVELS = 202
"""Of the confidence: 2 k is k % exactly, 2 k + 1 lies between k % and k + 1 %."""

PREDICTED, RIGHT1, RIGHT5 = 1, 2, 4
"""Bits of a model's byte about an image: it predicted it; rightly; the true class is among its first five."""


def levels_of(confidence: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the levels of confidences in [0, 1]; comparing with whole percents comes to the same as in SQL."""
    exact = confidence.astype(np.float64)
    percent = np.floor(exact * 100)
    # The product is rounded: what counts is the comparison with the double that k / 100 is.
    percent += (percent + 1) / 100 <= exact
    percent -= percent / 100 > exact
    return np.clip(2 * percent + (percent / 100 < exact), 0, LEVELS - 1).astype(np.int64)


def level_of_bound(bound: float) -> int | None:
    """Return the level that a bound of the confidence stands for; None where it is no whole percent."""
    percent = round(bound * 100)
    return 2 * percent if 0 <= percent <= 100 and percent / 100 == bound else None


def answer_counts(predictions: pa.Table) -> pa.Table:
    """Count a model's predictions by true class and level: class_id, level, images, right1, right5; sorted."""
    column = _columns(predictions)
    key = column["class_id"].astype(np.int64) * LEVELS + levels_of(column["confidence"])
    images = np.bincount(key)
    (at,) = np.nonzero(images)
    right1 = np.bincount(key[_right1(column)], minlength=len(images))
    right5 = np.bincount(key[_right5(column)], minlength=len(images))
    return pa.table(
        {
            "class_id": pa.array(at // LEVELS, pa.int32()),
            "level": pa.array(at % LEVELS, pa.int16()),
            "images": pa.array(images[at], pa.int32()),
            "right1": pa.array(right1[at], pa.int32()),
            "right5": pa.array(right5[at], pa.int32()),
        }
    )


def confusions(predictions: pa.Table) -> pa.Table:
    """Count a model's predictions by true and predicted class: class_id, predicted_class_id, images; sorted."""
    column = _columns(predictions)
    wide = int(column["predicted_class_id"].max(initial=0)) + 1
    keys, images = np.unique(
        column["class_id"].astype(np.int64) * wide + column["predicted_class_id"], return_counts=True
    )
    return pa.table(
        {
            "class_id": pa.array(keys // wide, pa.int32()),
            "predicted_class_id": pa.array(keys % wide, pa.int32()),
            "images": pa.array(images, pa.int64()),
        }
    )


def image_codes(predictions: pa.Table, image_ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return a model's byte about every image, 0 where it did not predict it.

    Parameters
    ----------
    predictions
        Of one model.
    image_ids
        (M,), sorted.
    """
    column = _columns(predictions)
    codes = np.zeros(len(image_ids), np.uint8)
    at = np.searchsorted(image_ids, column["image_id"])
    there = at < len(image_ids)
    there[there] = image_ids[at[there]] == column["image_id"][there]
    bits = PREDICTED + RIGHT1 * _right1(column).astype(np.uint8) + RIGHT5 * _right5(column).astype(np.uint8)
    codes[at[there]] = bits[there]
    return codes


def images_table(
    image_ids: NDArray[np.integer], class_ids: NDArray[np.integer], codes: list[NDArray[np.uint8]]
) -> pa.Table:
    """Put the bytes of all models together, in their order: image_id, class_id, answers."""
    together = np.ascontiguousarray(np.stack(codes, axis=1)) if codes else np.empty((len(image_ids), 0), np.uint8)
    wide = together.shape[1]
    if not wide:
        image_ids, class_ids = image_ids[:0], class_ids[:0]
    answers = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(wide), len(image_ids), [None, pa.py_buffer(together.tobytes() if wide else b"")]
    )
    return pa.table({"image_id": image_ids, "class_id": class_ids, "answers": answers})


def count_images(class_ids: NDArray[np.integer], answers: NDArray[Any], models: int, classes: int) -> NDArray[np.int64]:
    """Count over images: (3, models, classes), of images, right1 and right5.

    Parameters
    ----------
    class_ids, answers
        (n,), columns of `images_table`.
    models, classes
        How many there are.
    """
    codes = np.frombuffer(b"".join(answers.tolist()), np.uint8).reshape(len(class_ids), models)
    counts = np.zeros((3, models, classes), np.int64)
    for count, bit in zip(counts, (PREDICTED, RIGHT1, RIGHT5), strict=True):
        image, model = np.nonzero(codes & bit)
        np.add.at(count, (model, class_ids[image]), 1)
    return counts


def _columns(predictions: pa.Table) -> Mapping[str, NDArray[Any]]:
    names = ("image_id", "class_id", "predicted_class_id", "confidence", "true_rank")
    return {name: predictions[name].to_numpy() for name in names}


def _right1(column: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    return column["predicted_class_id"] == column["class_id"]


def _right5(column: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    return column["true_rank"] <= 5
