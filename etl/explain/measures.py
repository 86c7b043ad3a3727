"""Numbers that describe one explanation map; each becomes a column of the relation ``explanations``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Measure:
    """One number of a map.

    Parameters
    ----------
    name
        Column name.
    unit
        What the number counts.
    description
        One sentence, the comment of the column.
    function
        Map (H, W), attention in [0, 1], to the number.
    """

    name: str
    unit: str
    description: str
    function: Callable[[Floats], float]


def roi_area(attention: Floats, threshold: float = 0.5) -> float:
    """Share of the image inside the region of interest.

    Parameters
    ----------
    attention
        (H, W) in [0, 1].
    threshold
        Attention from which a pixel belongs to the region (paper, section 4.3).

    Returns
    -------
    float
        In [0, 1].
    """
    return float(np.mean(np.asarray(attention) >= threshold))


def entropy(attention: Floats) -> float:
    """Spread of attention: Shannon entropy of the map taken as a distribution over pixels, over its maximum.

    Dividing by log(H W) makes maps of different sizes comparable.

    Parameters
    ----------
    attention
        (H, W), not negative.

    Returns
    -------
    float
        0 when all attention is on one pixel, 1 when it is uniform; NaN for a map of zeros, which attends to nothing.
    """
    flat = np.asarray(attention, dtype=np.float64).ravel()
    total = flat.sum()
    if total <= 0 or flat.size < 2:
        return float("nan")
    p = flat[flat > 0] / total
    return float(max(0.0, -(p * np.log(p)).sum() / np.log(flat.size)))


def total_variation(attention: Floats) -> float:
    """Roughness: anisotropic total variation (Rudin, Osher and Fatemi 1992) of the map on the unit square.

    The sum of absolute differences between neighbours, each direction divided by the number of pixels across it, so
    that it does not depend on the resolution: a map that is 0 on one half of the image and 1 on the other has 1.

    Parameters
    ----------
    attention
        (H, W) in [0, 1].

    Returns
    -------
    float
        Not negative; 0 for a constant map.
    """
    array = np.asarray(attention, dtype=np.float64)
    height, width = array.shape
    return float(np.abs(np.diff(array, axis=0)).sum() / width + np.abs(np.diff(array, axis=1)).sum() / height)


MEASURES: dict[str, Measure] = {
    entry.name: entry
    for entry in (
        Measure("roi_area", "share of the image", "Share of pixels with attention of at least 0.5.", roi_area),
        Measure(
            "entropy",
            "share of the maximum",
            "Spread of attention: Shannon entropy over pixels divided by log(pixels); 0 one pixel, 1 uniform.",
            entropy,
        ),
        Measure(
            "total_variation",
            "image sides",
            "Roughness: anisotropic total variation on the unit square; 0 constant, 1 one straight step across.",
            total_variation,
        ),
    )
}
"""All measures, in the order of the columns. Adding one here adds the column."""


def measure(attention: Floats) -> dict[str, float]:
    """Evaluate all measures on a map.

    Parameters
    ----------
    attention
        (H, W) in [0, 1], at the resolution at which the model saw the image.

    Returns
    -------
    dict of str to float
        In the order of :data:`MEASURES`; NaN where a measure is not defined, as the entropy of a map of zeros.
    """
    return {name: entry.function(attention) for name, entry in MEASURES.items()}
