"""Winograd's minimal filtering for 3 x 3 convolutions, F(4 x 4, 3 x 3), on a CPU: a quarter of the multiplications.

A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, arXiv:1509.09308, section 4. With g
a kernel, d a tile of 6 x 6 positions of one channel and * the product of elements,

.. code-block:: text

    Y = A^T [ (G g G^T) * (B^T d B) ] A                                                        (equation 8)

gives 4 x 4 results; tiles overlap by two. Summed over channels, the products at one of the 36 places are a product of
matrices (equation 12); oneDNN does all of them as one grouped convolution.

Deviation: the transforms interpolate at 0, +-sqrt(1/2), +-sqrt(2) and infinity instead of 0, +-1, +-2 and infinity.
They are as many operations and lose fewer digits: largest errors are 1.5 times those of the direct convolution instead
of ten times.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from etl.explain.loops import flat, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from etl.explain.packed import Bounds, Geometry

_CHANNELS, _FILTERS = 64, 32
"""What their numbers are multiples of: see :mod:`etl.explain.loops.winograd`."""

_NEAR = 4 << 20
"""Bytes of transformed tiles that are multiplied at once: they stay near the processor."""

_IMAGES = 8
"""Images of a pass, most often. How many tiles are multiplied at once, and so how sums are rounded, follows from this
and not from the first pass, which is another one where work goes on that was interrupted."""

_INSIDE, _MULTIPLY_ADDS = 0.6, 3e8
"""Share of the results of all tiles that lie within the map, and multiplications of the direct convolution, from which
it is faster: for less, transforms and reading the weights, which are four times as many, take too long."""

_REUSE = {torch.float32: 20, torch.bfloat16: 48}
"""Multiplications for each number that is transformed, C K / (C + K), from which it is faster: for fewer, transforms
take too long. The products take half the time in bfloat16."""

_A, _B = math.sqrt(0.5), math.sqrt(2.0)
_KERNEL = torch.tensor(
    [[1, 0, 0]]
    + [[1 / n, p / n, p * p / n] for p, n in ((_A, -1.5), (-_A, -1.5), (_B, 6.0), (-_B, 6.0))]
    + [[0, 0, 1]],
    dtype=torch.float64,
)
"""G: powers of a point over the product of its distances to the others."""


def suits(images: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether a convolution can be done so on this machine, and is faster."""
    if weight.shape[2:] != (3, 3) or geometry.groups != 1 or images.dtype not in _REUSE:
        return False
    if geometry.stride != (1, 1) or geometry.dilation != (1, 1):
        return False
    filters, channels = weight.shape[:2]
    if filters % _FILTERS or channels % _CHANNELS:
        return False
    if filters * channels < _REUSE[images.dtype] * (filters + channels):
        return False
    results = geometry.shape(images, weight)
    inside = math.prod(results[2:]) / math.prod(4 * math.ceil(n / 4) for n in results[2:])
    if inside < _INSIDE or results.numel() * weight[0].numel() < _MULTIPLY_ADDS:
        return False
    return load("winograd", images.dtype) is not None


class Winograd:
    """A 3 x 3 convolution with stride 1: see :class:`etl.explain.packed.Convolution`.

    Parameters
    ----------
    weight
        (K, C, 3, 3), float32; K is a multiple of 32, C of 64.
    bias
        (K,), or None.
    geometry
        Any padding; stride, dilation and groups are 1.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry, shape: torch.Size) -> None:
        filters, channels = weight.shape[:2]
        self._padding = geometry.padding
        self._bias = (torch.zeros(filters) if bias is None else bias.detach()).float().numpy()
        total = len(self._tiles((_IMAGES, *shape[1:])))
        parts = math.ceil(total * 36 * channels * weight.element_size() / _NEAR)
        self._at_once = math.ceil(total / parts)
        transformed = torch.einsum("ai,kcij,bj->abkc", _KERNEL, weight.double(), _KERNEL)
        matrices = transformed.reshape(36 * filters, channels, 1, 1).to(weight.dtype)
        self._how = ((0, 0), (1, 1), (1, 1), 36)
        self._matrices = torch.ops.mkldnn._reorder_convolution_weight(
            matrices, *self._how, (1, 36 * channels, self._at_once, 1)
        )
        self.nbytes = matrices.nbytes

    def _size(self, shape: Sequence[int]) -> tuple[int, int]:
        height, width = (n + 2 * p - 2 for n, p in zip(shape[2:], self._padding, strict=True))
        return height, width

    def _tiles(self, shape: Sequence[int]) -> range:
        return range(shape[0] * math.prod(math.ceil(n / 4) for n in self._size(shape)))

    def __call__(self, images: Tensor, other: Tensor | None, bounds: Bounds | None, *, into: bool) -> Tensor:
        """Convolve, add and clamp."""
        from etl.explain.loops.openmp import in_parallel  # a compiler, which is there by now

        batch, channels, *size = images.shape
        filters = len(self._bias)
        height, width = self._size(images.shape)
        if other is None:
            shape = (batch, filters, height, width)
            made = torch.empty(shape, dtype=images.dtype, memory_format=torch.channels_last)
        else:
            made = other if into else other.clone()
        across = (math.ceil(height / 4), math.ceil(width / 4))
        limits = np.array(bounds or (-math.inf, math.inf), np.float32)
        # Always as many as the matrices were packed for, though some be left over from before: oneDNN may need another
        # order of them for another number, and takes long to change it.
        transformed = images.new_zeros(self._at_once, 36, channels)
        columns = transformed.view(1, self._at_once, 1, 36 * channels).permute(0, 3, 1, 2)
        pixels, tiles, results = (flat(t) for t in (images.permute(0, 2, 3, 1), transformed, made.permute(0, 2, 3, 1)))
        total = len(self._tiles(images.shape))
        transform, put_back = load("winograd", images.dtype)
        for start in range(0, total, self._at_once):
            count = min(self._at_once, total - start)
            numbers = [count, pixels.size, tiles.size, *size, channels, *self._padding, *across, start]
            in_parallel(transform, [np.array(numbers), pixels, tiles])
            multiplied = torch.ops.mkldnn._convolution_pointwise(
                columns, self._matrices, None, *self._how, "none", [], ""
            )
            products = flat(multiplied.permute(0, 2, 3, 1))
            numbers = [count, products.size, results.size, height, width, filters, int(other is not None), 0]
            in_parallel(put_back, [np.array([*numbers, *across, start]), products, results, self._bias, limits])
        return made
