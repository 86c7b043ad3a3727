"""A map as a browser paints it: one small picture of numbers, from which every threshold follows without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vacpanel import render

if TYPE_CHECKING:
    from collections.abc import Sequence

STEPS = 200
"""Attention travels in half percents, rounded down: every whole percent of the threshold is met exactly."""
LONGEST_SIDE = 384
"""px; a larger picture is reduced for the page: some hundreds of px wide there and painted many times a second."""

_BOUNDS = (np.arange(STEPS + 1) / STEPS).astype(np.float32)  # as NumPy compares a map with a threshold
_BOUNDS_ABOVE = np.append(_BOUNDS[1:], np.float32(np.inf))


def shown(picture: Image.Image) -> Image.Image:
    """Return the picture in the size in which the page shows it, see `shown_size`."""
    size = shown_size(picture.size)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC)


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return in which size, in px, the page shows a picture: enlarged as `render.overlay` does, or reduced."""
    enlarged = render.enlarged_size(size)
    longest = max(enlarged)
    if longest <= LONGEST_SIDE:
        return enlarged
    return max(1, enlarged[0] * LONGEST_SIDE // longest), max(1, enlarged[1] * LONGEST_SIDE // longest)


def at_size(attention: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the map at picture size, stretched to [0, 1] there: as `etl.explain.requests.Explanation.attention`.

    Parameters
    ----------
    attention
        (h, w) float in [0, 1].
    size
        (width, height) in px.

    Returns
    -------
    numpy.ndarray
        (height, width) float32; all zero where the map is the same everywhere.
    """
    large = render.upsample(attention, size)
    low, high = large.min(), large.max()
    return (large - low) / (high - low) if high > low else np.zeros_like(large)


def layers(attention: np.ndarray, levels: Sequence[float] = render.LEVELS) -> Image.Image:
    """Return what a browser needs of a map beside the picture, as `vac-map` paints it.

    Parameters
    ----------
    attention
        (H, W) float32 in [0, 1], as `at_size` gives it.
    levels
        Where contour lines run.

    Returns
    -------
    PIL.Image.Image
        Red is attention in `STEPS`; green how much of the pixel contour lines and their seams leave out, blue what they
        add to it (`render.line_layer`).
    """
    keep, add = render.line_layer(attention, levels)
    channels = (steps(attention), np.round(255 * (1 - keep)), np.round(add))
    return Image.fromarray(np.stack([channel.astype(np.uint8) for channel in channels], axis=-1))


def steps(attention: np.ndarray) -> np.ndarray:
    """Return attention in `STEPS`, rounded down: ``steps(a) >= 2 * k`` where ``a >= k / 100``."""
    attention = attention.astype(np.float32, copy=False)
    near = (attention * np.float32(STEPS)).astype(np.uint8)  # right, but for rounding: a step more or less
    near -= attention < _BOUNDS[near]
    near += attention >= _BOUNDS_ABOVE[near]
    return near


def areas(attention: np.ndarray) -> list[int]:
    """Return the size of the region of interest, in pixels, at thresholds of 0, 1, ... 100 %.

    The first is the number of all pixels.

    Parameters
    ----------
    attention
        (H, W) float32 in [0, 1], as `at_size` gives it.
    """
    counts = np.bincount(steps(attention).ravel(), minlength=STEPS + 1)
    below = np.concatenate([[0], np.cumsum(counts)])
    return [int(attention.size - below[2 * percent]) for percent in range(101)]
