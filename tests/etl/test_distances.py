"""Algorithm 1 against the loops that the paper prints."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.distances import ConfidenceSums, class_distances


def printed_algorithm(image_classes, confidence_matrix):
    """The pseudo-code of Algorithm 1, line by line, in Python floats."""
    n = len(confidence_matrix[0])
    dist = [[0.0] * n for _ in range(n)]
    count = [[0] * n for _ in range(n)]
    for image, row in enumerate(confidence_matrix):
        current = image_classes[image]
        for compared in range(n):
            count[current][compared] += 1
            if compared != current:
                dist[current][compared] += 1 - row[compared]
    for a in range(n):
        for b in range(n):
            dist[a][b] = dist[a][b] / count[a][b] if count[a][b] else float("nan")
    return np.array([[(dist[a][b] + dist[b][a]) / 2 for b in range(n)] for a in range(n)])


def random_case(seed, images, classes, known=None):
    rng = np.random.default_rng(seed)
    labels = rng.choice(known if known is not None else classes, images)
    logits = rng.normal(size=(images, classes)) * rng.uniform(0.1, 8)
    confidences = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, confidences


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 40),
    classes=st.integers(1, 12),
    present=st.integers(1, 12),
)
def test_equals_the_printed_loops(seed, images, classes, present):
    labels, confidences = random_case(seed, images, classes, known=np.arange(min(present, classes)))
    expected = printed_algorithm(labels.tolist(), confidences.tolist())
    np.testing.assert_allclose(class_distances(labels, confidences), expected, rtol=0, atol=1e-12)


def test_float32_confidences_do_not_cost_precision():
    labels, confidences = random_case(0, 300, 20)
    single = confidences.astype(np.float32)
    expected = printed_algorithm(labels.tolist(), single.astype(float).tolist())
    np.testing.assert_allclose(class_distances(labels, single), expected, rtol=0, atol=1e-12)


def test_one_image_per_class_and_absent_classes():
    distances = class_distances([0, 2], [[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]])
    assert distances[0, 2] == (0.75 + 1.0) / 2
    assert distances[0, 0] == distances[2, 2] == 0
    assert np.isnan(distances[1]).all()
    assert np.isnan(distances[:, 1]).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_shards_add_up_to_the_whole(seed, cuts):
    labels, confidences = random_case(seed, 60, 7)
    bounds = [0, *sorted(cuts), 60]
    tables = []
    for start, stop in pairwise(bounds):
        sums = ConfidenceSums(7)
        sums.add(labels[start:stop], confidences[start:stop])
        tables.append(sums.to_arrow())
    streamed = ConfidenceSums.from_arrow(7, tables).distances()
    np.testing.assert_allclose(streamed, class_distances(labels, confidences), rtol=0, atol=1e-12)


def test_more_images_than_one_step():
    labels, confidences = random_case(1, 9000, 3)
    whole = ConfidenceSums(3)
    whole.add(labels, confidences)
    np.testing.assert_allclose(class_distances(labels, confidences), whole.distances(), rtol=0, atol=1e-12)


def test_takes_tensors():
    labels, confidences = random_case(2, 50, 5)
    tensors = class_distances(torch.from_numpy(labels), torch.from_numpy(confidences).requires_grad_())
    assert np.array_equal(tensors, class_distances(labels, confidences))


@pytest.mark.parametrize(
    ("labels", "confidences", "message"),
    [
        ([0, 1], [[1.0, 0.0]], "labels"),
        ([0], [[1.0, 0.0], [0.0, 1.0]], r"shape|fit"),
        ([2], [[1.0, 0.0]], "from 0 to 1"),
        ([-1], [[1.0, 0.0]], "from 0 to 1"),
        ([0.5], [[1.0, 0.0]], "integers"),
        ([0], [1.0, 0.0], "shape"),
    ],
)
def test_wrong_input_is_named(labels, confidences, message):
    with pytest.raises(ValueError, match=message):
        class_distances(labels, confidences)
