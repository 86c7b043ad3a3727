"""Colour-intensity histograms of what a model looked at (paper, section 4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from warehouse.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ColourHistogram:
    """Histogram of the pixels inside a region of interest, one line per colour channel.

    Parameters
    ----------
    edges
        (bins + 1,) float64, intensities 0 to 256.
    counts
        (3, bins) int64, pixels per bin of red, green and blue.
    pixels
        Number of pixels in the region; each row of ``counts`` adds up to it.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    pixels: int


def colour_histogram(
    image: NDArray[np.uint8], attention: NDArray[np.floating[Any]], threshold: float = 0.5, bins: int = 32
) -> ColourHistogram:
    """Count the colour intensities of the region that an explanation highlights.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB, as the model saw it.
    attention
        (H, W) in [0, 1].
    threshold
        Pixels with at least this attention are counted; the others are removed, not counted as black.
    bins
        Number of equal bins over the 256 intensities, 1 to 256.

    Returns
    -------
    ColourHistogram

    Raises
    ------
    UserError
        If image and map do not have one size or the number of bins is out of range.
    """
    image, attention = np.asarray(image), np.asarray(attention)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(
            f"A colour histogram needs an RGB image (H, W, 3) of uint8, not {image.shape} of {image.dtype}."
        )
    if attention.shape != image.shape[:2]:
        raise UserError(f"Image and map must have one size, not {image.shape[:2]} and {attention.shape}.")
    if not 1 <= bins <= 256:
        raise UserError(f"A colour histogram has 1 to 256 bins, not {bins}.")
    inside = image[attention >= threshold]
    edges = np.linspace(0.0, 256.0, bins + 1)
    counts = np.stack([np.histogram(inside[:, channel], bins=edges)[0] for channel in range(3)])
    return ColourHistogram(edges, counts.astype(np.int64), len(inside))
