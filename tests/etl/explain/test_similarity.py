"""Algorithm 2 against its pseudo-code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from skimage.metrics import structural_similarity
from skimage.transform import resize

from etl.explain import similarity
from etl.explain.similarity import MEASURES
from warehouse.errors import UserError


@pytest.fixture
def maps():
    random = np.random.default_rng(0)
    smooth = np.stack([resize(random.random((7, 7)), (48, 40), order=1) for _ in range(5)])
    return (smooth - smooth.min((1, 2), keepdims=True)) / np.ptp(smooth, axis=(1, 2), keepdims=True)


def _l1(a, b):
    return sum(abs(float(x) - float(y)) for x, y in zip(a.flat, b.flat, strict=True)) / a.size


def _mse(a, b):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a.flat, b.flat, strict=True)) / a.size


def _ssim(a, b):
    return structural_similarity(a, b, data_range=1.0)


def _hash(a, b):
    def bits(image):
        low = dctn(resize(image, (32, 32), order=1, anti_aliasing=True), norm="ortho")[:8, :8]
        return (low > np.median(low)).ravel()

    return float(np.count_nonzero(bits(a) != bits(b))) / 64


def _algorithm_2(results, similarity_function):
    length = len(results)
    matrix = np.zeros((length, length))
    for i in range(length):
        for j in range(length):
            matrix[i, j] = similarity_function(results[i], results[j])
    return matrix


@pytest.mark.parametrize(("measure", "function"), [("l1", _l1), ("mse", _mse), ("ssim", _ssim), ("hash", _hash)])
def test_equals_the_double_loop(maps, measure, function):
    matrix = similarity(maps, measure)
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(matrix, _algorithm_2(maps, function), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(224, 224), (7, 7), (20, 50), (33, 8)])
def test_hashes_equal_those_of_single_maps_of_any_size(shape):
    random = np.random.default_rng(2)
    maps = np.stack([resize(random.random((5, 5)), shape, order=1) for _ in range(6)])
    np.testing.assert_array_equal(similarity(maps, "hash"), _algorithm_2(maps, _hash))


@pytest.mark.parametrize(("measure", "function"), [("l1", _l1), ("mse", _mse)])
def test_maps_that_hardly_differ_lose_no_digits(maps, measure, function):
    nearly = maps[0] + 1e-7 * np.random.default_rng(3).random(maps[0].shape)
    pair = np.stack([maps[0], nearly])
    np.testing.assert_allclose(similarity(pair, measure), _algorithm_2(pair, function), rtol=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_symmetric_with_the_best_value_on_the_diagonal(maps, measure):
    matrix = similarity(maps, measure)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), MEASURES[measure].best, atol=1e-12)
    others = matrix[~np.eye(len(matrix), dtype=bool)]
    low, high = sorted((MEASURES[measure].best, MEASURES[measure].worst))
    assert ((others >= low) & (others <= high) & (others != MEASURES[measure].best)).all()


def test_l1_is_the_default(maps):
    np.testing.assert_array_equal(similarity(maps), similarity(maps, "l1"))


def test_opposite_maps_are_worst():
    maps = np.stack([np.zeros((9, 9)), np.ones((9, 9))])
    for measure in ("l1", "mse"):
        assert similarity(maps, measure)[0, 1] == 1.0


@pytest.mark.parametrize("measure", MEASURES)
def test_a_hash_or_any_other_measure_ranks_a_slight_change_before_another_map(maps, measure):
    nearly = np.clip(maps[0] + 0.01 * np.random.default_rng(1).standard_normal(maps[0].shape), 0, 1)
    matrix = similarity(np.stack([maps[0], nearly, maps[1]]), measure)
    best = MEASURES[measure].best
    assert abs(matrix[0, 1] - best) < abs(matrix[0, 2] - best)


def test_takes_tensors_and_lists(maps):
    expected = similarity(maps)
    np.testing.assert_array_equal(similarity(torch.from_numpy(maps)), expected)
    np.testing.assert_array_equal(similarity([torch.from_numpy(m) for m in maps]), expected)
    np.testing.assert_array_equal(similarity(list(maps)), expected)


@pytest.mark.parametrize("measure", MEASURES)
def test_one_map_and_constant_maps(measure):
    assert similarity(np.zeros((1, 8, 8)), measure).tolist() == [[MEASURES[measure].best]]
    assert similarity(np.zeros((0, 8, 8)), measure).shape == (0, 0)


def test_wrong_input_is_refused(maps):
    with pytest.raises(UserError, match="no similarity measure 'cosine'"):
        similarity(maps, "cosine")
    with pytest.raises(UserError, match="one size"):
        similarity([maps[0], maps[1][:-1]])
    with pytest.raises(UserError, match="shape"):
        similarity(maps[0])
    with pytest.raises(UserError, match="finite"):
        similarity(np.full((2, 4, 4), np.nan))
    with pytest.raises(UserError, match="3 x 3"):
        similarity(np.zeros((2, 2, 2)), "ssim")
