from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree
from skimage.measure import find_contours
from skimage.transform import resize

from vacpanel import render


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))


def test_upsampling_is_torch_bilinear_without_aligned_corners():
    attention = np.random.default_rng(1).random((6, 5)).astype(np.float32)
    ours = render.upsample(attention, (80, 96))
    theirs = torch.nn.functional.interpolate(torch.from_numpy(attention)[None, None], (96, 80), mode="bilinear")
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_lines_run_along_the_contours_of_scikit_image(seed):
    attention = resize(np.random.default_rng(seed).random((6, 7)), (192, 224), order=1).astype(np.float32)
    keep, add = render.line_layer(attention, [0.5])
    assert keep.shape == add.shape == attention.shape
    assert keep.min() >= 0
    assert keep.max() <= 1
    points = np.concatenate(find_contours(attention, 0.5))
    y, x = np.mgrid[: attention.shape[0], : attention.shape[1]]
    distance = cKDTree(points).query(np.stack([y, x], axis=-1))[0]
    cover = add / render.level_shade(0.5)
    # Nothing far from the contours, and close to them a line as wide as it should be, but for corners and saddles.
    assert (cover[distance > render.LINE] > 0.35).mean() < 0.002
    assert (keep[distance > render.SEAM] < 1).mean() < 0.01
    close = np.clip(render.LINE / 2 + 0.5 - distance, 0, 1)
    assert np.abs(cover - close).mean() < 0.01
    assert np.quantile(np.abs(cover - close), 0.99) < 0.15


def test_a_flat_map_has_no_lines_whatever_its_level():
    for level in (0.0, 0.5, 1.0):
        keep, add = render.line_layer(np.full((40, 50), level, np.float32), [0.0, 0.5, 1.0])
        assert (keep == 1).all()
        assert (add == 0).all()


def test_a_map_of_single_pixels_costs_no_more_than_a_smooth_one():
    keep, add = render.line_layer(np.random.default_rng(0).random((224, 224), dtype=np.float32))
    assert np.isfinite(keep).all()
    assert add.max() <= 255


def test_the_overlay_draws_the_chosen_lines():
    attention = np.tile(np.linspace(0, 1, 240, dtype=np.float32), (240, 1))
    gray = Image.new("RGB", (240, 240), (128, 128, 128))
    plain = np.asarray(render.overlay(gray, attention, 0.0, []), dtype=float)
    lined = np.asarray(render.overlay(gray, attention, 0.0, [0.3, 0.8]), dtype=float)
    changed = np.flatnonzero(np.abs(lined - plain).max(axis=(0, 2)) > 2)
    assert set(changed) <= {*range(69, 75), *range(188, 195)}
    # A grey that grows with the level, on a dark seam.
    low, high = (lined[100, column - 2 : column + 3].min(axis=1).max() for column in (72, 191))
    assert render.level_shade(0.3) - 60 < low < render.level_shade(0.3) < high <= render.level_shade(0.8)
    assert lined[100, 188:195].sum(axis=1).min() < plain[100, 188:195].sum(axis=1).min() - 60


def test_a_map_that_shows_nothing_is_words_not_an_empty_heatmap(picture):
    out = np.asarray(render.unexplained(picture, "constant map"), dtype=float)
    assert out.shape == (192, 192, 3)
    assert np.ptp(out, axis=2).max() == 0  # no colour at all
    assert (out[80:112] < 60).any()  # letters
    assert out[:60].min() > 150


def test_the_masked_picture_keeps_the_region_and_greys_the_rest(picture):
    attention = np.zeros((96, 96), dtype=np.float32)
    attention[:48] = 1
    big = picture.resize((192, 192), Image.Resampling.BICUBIC)
    out = np.asarray(render.masked(picture, attention, 0.5))
    np.testing.assert_array_equal(out[:90], np.asarray(big)[:90])
    assert (out[100:] == 128).all()


def test_a_higher_threshold_dims_more(picture):
    attention = np.linspace(0, 1, 96 * 96, dtype=np.float32).reshape(96, 96)
    low = np.asarray(render.overlay(picture, attention, 0.1), dtype=float)
    high = np.asarray(render.overlay(picture, attention, 0.9), dtype=float)
    changed = np.abs(low - high).sum(axis=2) > 0
    rows = np.flatnonzero(changed.any(axis=1))
    assert 0.08 <= rows.min() / 192 <= 0.15
    assert 0.85 <= rows.max() / 192 <= 0.95


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_encoding_gives_a_picture_of_that_kind(picture, kind):
    import io

    assert Image.open(io.BytesIO(render.encode(picture, kind))).format == kind
