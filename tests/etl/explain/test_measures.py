"""Measures and histograms against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from etl.explain.histogram import colour_histogram
from etl.explain.measures import MEASURES, entropy, measure, roi_area, total_variation
from etl.explain.postprocess import CONSTANT, NOT_FINITE, degenerate, normalise
from warehouse.errors import UserError


def test_roi_area_counts_pixels_from_the_threshold_on():
    attention = np.array([[0.0, 0.5], [0.49, 1.0]])
    assert roi_area(attention) == 0.5
    assert roi_area(attention, 0.4) == 0.75
    assert roi_area(attention, 0.0) == 1.0
    assert roi_area(np.zeros((3, 3))) == 0.0


def test_entropy_of_known_distributions():
    assert entropy(np.ones((4, 8))) == pytest.approx(1.0)
    one = np.zeros((4, 4))
    one[1, 2] = 0.3
    assert entropy(one) == 0.0
    # Half of the pixels share all attention: log(8) / log(16).
    assert entropy(np.repeat([[1.0, 0.0]], 8, axis=0)) == pytest.approx(math.log(8) / math.log(16))
    # 1/4 and 3/4 on two of four pixels.
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(4)
    assert entropy(np.array([[1.0, 3.0], [0.0, 0.0]])) == pytest.approx(expected)
    assert math.isnan(entropy(np.zeros((4, 4))))


def test_total_variation_of_known_shapes():
    half = np.zeros((10, 6))
    half[:, 3:] = 1
    assert total_variation(half) == pytest.approx(1.0)
    assert total_variation(np.ones((5, 5))) == 0.0
    ramp = np.tile(np.linspace(0, 1, 9), (7, 1))
    assert total_variation(ramp) == pytest.approx(1.0)
    # A square that covers half of each side: each of its four edges is half an image side long.
    square = np.zeros((8, 16))
    square[2:6, 4:12] = 1
    assert total_variation(square) == pytest.approx(2.0)
    checkerboard = np.indices((2, 2)).sum(axis=0) % 2
    assert total_variation(checkerboard) == pytest.approx(2.0)


def test_measures_do_not_depend_on_the_resolution_of_blocks():
    coarse = np.random.default_rng(0).random((6, 6))
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)
    assert roi_area(fine) == roi_area(coarse)
    assert total_variation(fine) == pytest.approx(total_variation(coarse))


def test_all_measures_of_a_map():
    values = measure(np.eye(4))
    assert list(values) == ["roi_area", "entropy", "total_variation"] == list(MEASURES)
    assert values["roi_area"] == 0.25
    assert math.isnan(measure(np.zeros((4, 4)))["entropy"])
    assert all(entry.description and entry.unit for entry in MEASURES.values())


def test_histogram_counts_only_the_region():
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = (10, 20, 255)
    image[0, 1] = (10, 130, 0)
    image[1, 2] = (200, 200, 200)  # outside
    attention = np.array([[0.9, 0.5, 0.1], [0.0, 0.2, 0.4]])
    found = colour_histogram(image, attention, threshold=0.5, bins=2)
    assert found.pixels == 2
    assert found.edges.tolist() == [0, 128, 256]
    assert found.counts.tolist() == [[2, 0], [1, 1], [1, 1]]


def test_histogram_of_everything_is_the_images():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    found = colour_histogram(image, np.zeros((5, 7)), threshold=0.0, bins=256)
    for channel in range(3):
        np.testing.assert_array_equal(found.counts[channel], np.bincount(image[..., channel].ravel(), minlength=256))
    nothing = colour_histogram(image, np.zeros((5, 7)), threshold=0.5)
    assert nothing.pixels == 0
    assert not nothing.counts.any()


def test_histogram_refuses_what_does_not_fit():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(UserError, match="one size"):
        colour_histogram(image, np.zeros((4, 5)))
    with pytest.raises(UserError, match="uint8"):
        colour_histogram(image.astype(np.float32), np.zeros((4, 4)))
    with pytest.raises(UserError, match="bins"):
        colour_histogram(image, np.zeros((4, 4)), bins=0)


def test_normalise_stretches_each_map_and_flags_the_rest():
    maps = torch.stack(
        [
            torch.arange(6.0).reshape(2, 3) * 4 - 3,
            torch.full((2, 3), 0.7),
            torch.tensor([[0.0, 1.0, 2.0], [3.0, float("nan"), 5.0]]),
            torch.zeros(2, 3),
        ]
    )
    assert degenerate(maps) == (None, CONSTANT, NOT_FINITE, CONSTANT)
    out = normalise(maps)
    torch.testing.assert_close(out[0], torch.arange(6.0).reshape(2, 3) / 5)
    assert not out[1:].any()


def test_a_map_kept_at_low_resolution_loses_nothing():
    raw = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0)) * 7
    torch.testing.assert_close(normalise(normalise(raw), (50, 48)), normalise(raw, (50, 48)), rtol=0, atol=1e-6)
