"""How alike explanation maps are: the similarity matrix of the paper's Algorithm 2."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = NDArray[np.floating[Any]]

_HASH_SIDE = 8
_DCT_SIDE = 32


@dataclass(frozen=True)
class Similarity:
    """A way to compare maps.

    Parameters
    ----------
    name
        As passed to :func:`similarity`.
    title
        For people.
    best
        The value of two equal maps, on the diagonal of the matrix.
    worst
        The value of maps in [0, 1] that differ as much as they can.
    description
        One sentence with the formula.
    compare
        (L, H, W) float64 in [0, 1], at least one map, to (L, L) float64.
    """

    name: str
    title: str
    best: float
    worst: float
    description: str
    compare: Callable[[Floats], Floats]


def similarity(maps: Any, measure: str = "l1") -> Floats:
    """Compare every explanation map with every other (Algorithm 2, section 4.4).

    The matrix holds the measure itself, not a rescaled score: for ``"l1"``, ``"mse"`` and ``"hash"`` 0 means equal and
    larger means less alike; for ``"ssim"`` 1 means equal. :data:`MEASURES` tells which.

    Parameters
    ----------
    maps
        (L, H, W), attention in [0, 1]: a NumPy array, a tensor on any device, or a list of maps of one size.
    measure
        ``"l1"``: mean absolute difference, in [0, 1], the paper's default.
        ``"mse"``: mean squared difference, in [0, 1].
        ``"ssim"``: mean structural similarity of scikit-image (7 x 7 window, data range 1), in [-1, 1].
        ``"hash"``: share of differing bits of 64-bit perceptual hashes, in [0, 1].

    Returns
    -------
    numpy.ndarray
        (L, L) float64, symmetric.

    Raises
    ------
    UserError
        If the measure is unknown, or the maps are not L finite maps of one size.
    """
    if measure not in MEASURES:
        raise UserError(f"There is no similarity measure {measure!r}; there are {', '.join(MEASURES)}.")
    array = _as_maps(maps)
    return MEASURES[measure].compare(array) if len(array) else np.zeros((0, 0))


def _as_maps(maps: Any) -> Floats:
    if hasattr(maps, "detach"):
        maps = maps.detach().cpu()
    elif isinstance(maps, (list, tuple)):
        maps = [m.detach().cpu() if hasattr(m, "detach") else m for m in maps]
        if len({np.shape(m) for m in maps}) > 1:
            raise UserError(
                "Explanation maps must have one size to be compared; upsample them to the size of the image."
            )
    array = np.asarray(maps, dtype=np.float64)
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise UserError(f"Explanation maps must have shape (maps, height, width), not {array.shape}.")
    if not np.isfinite(array).all():
        raise UserError("Explanation maps must hold finite numbers; leave out maps whose method failed.")
    return array


def _l1(maps: Floats) -> Floats:
    return _distances(maps, "cityblock")


def _mse(maps: Floats) -> Floats:
    return _distances(maps, "sqeuclidean")


def _distances(maps: Floats, metric: str) -> Floats:
    """Mean distance per pixel of all pairs; SciPy sums differences, so nothing cancels as in a Gram matrix."""
    from scipy.spatial.distance import pdist, squareform

    flat = maps.reshape(len(maps), -1)
    matrix: Floats = squareform(pdist(flat, metric)) / flat.shape[1]
    return matrix


def _ssim(maps: Floats) -> Floats:
    from skimage.metrics import structural_similarity

    window = min(7, *maps.shape[1:])
    window -= 1 - window % 2  # an odd window no larger than the map
    if window < 3:
        raise UserError("SSIM needs maps of at least 3 x 3 pixels; upsample them to the size of the image.")
    matrix = np.eye(len(maps))
    for i, j in itertools.combinations(range(len(maps)), 2):
        matrix[i, j] = matrix[j, i] = structural_similarity(maps[i], maps[j], data_range=1.0, win_size=window)
    return matrix


def _hash(maps: Floats) -> Floats:
    bits = perceptual_hash(maps).reshape(len(maps), _HASH_SIDE**2)
    return (bits[:, None] != bits[None]).mean(axis=2)


def perceptual_hash(images: Floats) -> NDArray[np.bool_]:
    """Hash images by their low frequencies (DCT hash, pHash): 64 bits, one where a frequency is above the median.

    Each image is resized to 32 x 32 (bilinear, anti-aliased), its two-dimensional type-II discrete cosine transform
    taken, and of its 8 x 8 lowest frequencies those above the median are ones.

    Parameters
    ----------
    images
        (..., H, W).

    Returns
    -------
    numpy.ndarray
        (..., 8, 8) bool.
    """
    images = np.asarray(images, dtype=np.float64)
    height, width = images.shape[-2:]
    low = _to_low_frequencies(height) @ images @ _to_low_frequencies(width).T
    # Frequencies that are zero but for rounding must not decide bits at random.
    largest = np.abs(low).max(axis=(-2, -1), keepdims=True)
    low = np.where(np.abs(low) > 1e-9 * largest, low, 0.0)
    return low > np.median(low, axis=(-2, -1), keepdims=True)


@lru_cache(maxsize=16)
def _to_low_frequencies(side: int) -> Floats:
    """Return the matrix (8, side) that resizes a side to 32 pixels and takes its lowest cosine frequencies.

    Resizing is linear and works on each side alone, so the identity's columns, resized, are its matrix.
    """
    from skimage.transform import resize

    resized = resize(np.eye(side), (_DCT_SIDE, side), order=1, anti_aliasing=True)
    frequencies = np.arange(_HASH_SIDE)[:, None] * (2 * np.arange(_DCT_SIDE) + 1)
    transform = np.cos(np.pi * frequencies / (2 * _DCT_SIDE)) * np.sqrt(2 / _DCT_SIDE)
    transform[0] /= np.sqrt(2)
    return transform @ resized


MEASURES: dict[str, Similarity] = {
    entry.name: entry
    for entry in (
        Similarity("l1", "L1", 0.0, 1.0, "Mean absolute difference of attention; 0 for equal maps.", _l1),
        Similarity("mse", "MSE", 0.0, 1.0, "Mean squared difference of attention; 0 for equal maps.", _mse),
        Similarity("ssim", "SSIM", 1.0, -1.0, "Mean structural similarity; 1 for equal maps.", _ssim),
        Similarity("hash", "Hash", 0.0, 1.0, "Share of differing bits of perceptual hashes; 0 for equal maps.", _hash),
    )
}
