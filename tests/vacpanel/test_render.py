from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
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


def test_contours_run_where_the_map_has_their_level():
    y, x = np.mgrid[0:64, 0:64]
    cone = np.clip(1 - np.hypot(x - 32, y - 32) / 32, 0, 1)
    lines = render.contours(cone)
    assert [level for level, _ in lines] == [0.25, 0.5, 0.75]
    for level, line in lines:
        np.testing.assert_allclose(np.hypot(line[:, 0] - 32, line[:, 1] - 32), 32 * (1 - level), atol=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_contours_are_those_of_scikit_image(seed):
    attention = resize(np.random.default_rng(seed).random((7, 6)), (61, 47), order=1)
    levels = (0.2, 0.31, 0.5, 0.77)
    ours = render.contours(attention, levels)
    assert {level for level, _ in ours} == set(levels)
    for level in levels:
        lines = [line for at, line in ours if at == level]
        theirs = [line[:, ::-1] for line in find_contours(attention, level)]
        # Where four lines could meet the two may join them differently; on which points they run is never in doubt.
        np.testing.assert_allclose(_points(lines), _points(theirs), atol=1e-9)
        assert sum(map(_length, lines)) == pytest.approx(sum(map(_length, theirs)), rel=0.02)


def _points(lines):
    """All points of some lines, each once, in order."""
    return np.unique(np.round(np.concatenate(lines), 9), axis=0)


def _length(line):
    return np.hypot(*np.diff(line, axis=0).T).sum()


def test_contours_close_or_end_at_the_border():
    y, x = np.mgrid[0:40, 0:50]
    attention = np.clip(np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 50) + np.exp(-(x**2 + y**2) / 50), 0, 1)
    (_, closed), (_, ended) = sorted(render.contours(attention, [0.5]), key=lambda found: -found[1].min())
    np.testing.assert_array_equal(closed[0], closed[-1])
    assert sorted((ended[0].min(), ended[-1].min())) == [0, 0]
    assert render.contours(np.zeros((5, 5)), [0.5]) == []
    assert render.contours(attention, []) == []


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
