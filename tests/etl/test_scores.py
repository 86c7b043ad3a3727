"""Rows of predictions against sorting in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.scores import feature_rows, prediction_rows, softmax
from warehouse.schema import PART_SCHEMAS


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 8), classes=st.integers(1, 9))
def test_ranks_as_sorting_does(seed, images, classes):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (images, classes)).astype(np.float32)  # many ties
    labels = rng.integers(0, classes, images).astype(np.int32)
    confidences = softmax(logits)
    table = prediction_rows(np.arange(images, dtype=np.int32), labels, logits, confidences)
    assert set(table.column_names) == set(PART_SCHEMAS["predictions"].names)
    for row, y, p, c in zip(table.to_pylist(), logits, confidences, labels, strict=True):
        order = sorted(range(classes), key=lambda k: (-y[k], k))
        assert row["predicted_class_id"] == order[0]
        assert row["true_rank"] == order.index(c) + 1
        assert (row["true_rank"] == 1) == (row["predicted_class_id"] == c)
        assert row["confidence"] == p[order[0]]
        assert row["true_confidence"] == p[c]
        for k in range(2, 6):
            expected = order[k - 1] if k <= classes else None
            assert row[f"class_id_{k}"] == expected
            assert row[f"confidence_{k}"] == (None if expected is None else p[expected])


def test_saturated_confidences_still_rank_by_logit():
    logits = np.array([[0.0, 300.0, 150.0]], np.float32)
    row = prediction_rows(np.zeros(1, np.int32), np.array([0], np.int32), logits, softmax(logits)).to_pylist()[0]
    assert (row["predicted_class_id"], row["class_id_2"], row["true_rank"]) == (1, 2, 3)
    assert row["confidence_2"] == row["true_confidence"] == 0


def test_softmax_survives_large_logits():
    assert softmax(np.array([[1e4, 0], [-1e4, -1e4]], np.float32)).tolist() == [[1, 0], [0.5, 0.5]]


def test_features_are_half_precision_and_finite():
    table = feature_rows(np.array([4, 7], np.int32), np.array([[1e9, -1e9], [0.5, 2]], np.float32))
    assert table["image_id"].to_pylist() == [4, 7]
    assert table["vector"].to_pylist() == [[65504, -65504], [0.5, 2]]


@pytest.mark.parametrize("images", [0, 1])
def test_empty_shards_have_the_columns(images):
    ids, logits = np.zeros(images, np.int32), np.zeros((images, 2), np.float32)
    assert len(prediction_rows(ids, ids, logits, logits)) == images
    assert len(feature_rows(ids, np.zeros((images, 1), np.float32))) == images
