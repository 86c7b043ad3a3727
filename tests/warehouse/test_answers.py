"""Counts of predictions against a plain loop over them."""

from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from warehouse import answers

CLASSES = 5


def predictions(count, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "image_id": pa.array(rng.permutation(3 * count)[:count], pa.int32()),
            "class_id": pa.array(rng.integers(0, CLASSES, count), pa.int32()),
            "predicted_class_id": pa.array(rng.integers(0, CLASSES, count), pa.int32()),
            "confidence": pa.array(np.round(rng.random(count), rng.integers(1, 4)).astype(np.float32), pa.float32()),
            "true_rank": pa.array(rng.integers(1, 9, count), pa.int32()),
        }
    )


CONFIDENCES = st.floats(0, 1, width=32) | st.integers(0, 100).map(lambda percent: float(np.float32(percent / 100)))


@given(arrays.arrays(np.float32, 20, elements=CONFIDENCES), st.integers(0, 100))
def test_levels_compare_as_confidences_do(confidence, percent):
    bound = percent / 100
    level, levels = answers.level_of_bound(bound), answers.levels_of(confidence)
    assert level == 2 * percent
    assert ((levels >= level) == (confidence.astype(float) >= bound)).all()
    assert ((levels <= level) == (confidence.astype(float) <= bound)).all()
    assert ((levels >= 0) & (levels < answers.LEVELS)).all()


@pytest.mark.parametrize("bound", [0.123, 1e-9, 0.29000000000000004, -0.5, 1.5])
def test_other_bounds_have_no_level(bound):
    assert answers.level_of_bound(bound) is None


@pytest.mark.parametrize("count", [0, 1, 400])
def test_counts_are_those_of_a_loop(count):
    table = predictions(count)
    rows = table.to_pylist()
    pairs = collections.Counter((row["class_id"], row["predicted_class_id"]) for row in rows)
    found = answers.confusions(table).to_pylist()
    assert [(row["class_id"], row["predicted_class_id"], row["images"]) for row in found] == [
        (*pair, images) for pair, images in sorted(pairs.items())
    ]
    found = answers.answer_counts(table).to_pylist()
    level = answers.levels_of(table["confidence"].to_numpy())
    expected = collections.defaultdict(lambda: [0, 0, 0])
    for row, at in zip(rows, level.tolist(), strict=True):
        hits = (1, row["class_id"] == row["predicted_class_id"], row["true_rank"] <= 5)
        expected[row["class_id"], at] = [a + b for a, b in zip(expected[row["class_id"], at], hits, strict=True)]
    assert [tuple(row.values()) for row in found] == [(*key, *counts) for key, counts in sorted(expected.items())]


def test_images_are_counted_by_all_models():
    tables = [predictions(60, seed) for seed in range(3)]
    ids = np.arange(0, 180, 2)  # some images are not published
    class_of = np.random.default_rng(9).integers(0, CLASSES, len(ids)).astype(np.int32)
    table = answers.images_table(ids.astype(np.int32), class_of, [answers.image_codes(t, ids) for t in tables])
    assert table["image_id"].to_pylist() == ids.tolist()
    chosen = np.arange(10, 40)
    found = answers.count_images(
        class_of[chosen], np.array(table["answers"].to_pylist(), object)[chosen], len(tables), CLASSES
    )
    expected = np.zeros((3, len(tables), CLASSES), int)
    wanted = dict(zip(ids[chosen].tolist(), class_of[chosen].tolist(), strict=True))
    for model, predicted in enumerate(tables):
        for row in predicted.to_pylist():
            if row["image_id"] in wanted:
                hits = (1, row["class_id"] == row["predicted_class_id"], row["true_rank"] <= 5)
                expected[:, model, wanted[row["image_id"]]] += hits
    assert found.tolist() == expected.tolist()
    assert found.sum() > 0


def test_without_a_model_no_image_has_answers():
    assert answers.images_table(np.arange(3, dtype=np.int32), np.zeros(3, np.int32), []).num_rows == 0
