from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

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
