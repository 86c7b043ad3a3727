"""What a browser gets of a map: exact at every whole percent of the threshold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from etl.explain.measures import roi_area
from etl.explain.postprocess import normalise
from vacpanel import layers, render

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(7, 7), (5, 9), (96, 96)])
@pytest.mark.parametrize("size", [(96, 96), (224, 160)])
def test_a_map_at_picture_size_is_what_an_explanation_says(shape, size):
    small = RNG.random(shape).astype(np.float32)
    if size[0] < shape[1] or size[1] < shape[0]:
        return
    theirs = normalise(torch.from_numpy(small)[None], size[::-1])[0].numpy()
    np.testing.assert_allclose(layers.at_size(small, size), theirs, atol=1e-5)


def test_a_constant_map_stays_empty():
    assert not layers.at_size(np.full((7, 7), 0.3, np.float32), (96, 96)).any()


def test_steps_and_areas_are_exact_at_every_percent():
    attention = layers.at_size(RNG.random((7, 7)).astype(np.float32), (224, 224))
    # Values that stand exactly on a bound, too.
    attention[0, :101] = (np.arange(101) / 100).astype(np.float32)
    steps, areas = layers.steps(attention), layers.areas(attention)
    assert steps.max() <= layers.STEPS
    assert areas[0] == attention.size
    for percent in range(101):
        inside = attention >= percent / 100
        np.testing.assert_array_equal(steps >= 2 * percent, inside)
        assert areas[percent] == inside.sum()
        assert areas[percent] / areas[0] == pytest.approx(roi_area(attention, percent / 100))


def test_layers_hold_attention_and_what_lines_do_to_a_picture():
    attention = layers.at_size(RNG.random((7, 7)).astype(np.float32), (192, 192))
    made = np.asarray(layers.layers(attention))
    assert made.shape == (192, 192, 3)
    np.testing.assert_array_equal(made[..., 0], layers.steps(attention))
    keep, add = render.line_layer(attention)
    np.testing.assert_allclose(1 - made[..., 1] / 255, keep, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(made[..., 2], add, atol=0.5)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((96, 96), (192, 192)),
        ((224, 224), (224, 224)),
        ((600, 600), (384, 384)),
        ((64, 800), (64 * 3 * 384 // 2400, 384)),
    ],
)
def test_pictures_are_shown_neither_tiny_nor_huge(size, shown):
    assert layers.shown_size(size) == shown
    assert layers.shown(Image.new("RGB", size)).size == shown
