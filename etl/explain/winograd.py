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

import logging
import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

    from etl.explain.packed import Bounds, Geometry

_BLOCK = 64
"""Channels are multiples of it: see :mod:`etl.explain.winograd_loops`."""

_NEAR = 4 << 20
"""Bytes of transformed tiles that are multiplied at once: they stay near the processor."""

_INSIDE, _MULTIPLY_ADDS = 0.6, 3e8
"""Share of the results of all tiles that lie within the map, and multiplications of the direct convolution, from which
it is faster: for less, transforms and reading the weights, which are four times as many, take too long."""

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
    if weight.shape[2:] != (3, 3) or geometry.groups != 1 or images.dtype != torch.float32:
        return False
    if geometry.stride != (1, 1) or geometry.dilation != (1, 1) or any(n % _BLOCK for n in weight.shape[:2]):
        return False
    results = geometry.shape(images, weight)
    inside = math.prod(results[2:]) / math.prod(4 * math.ceil(n / 4) for n in results[2:])
    if inside < _INSIDE or results.numel() * weight[0].numel() < _MULTIPLY_ADDS:
        return False
    return _loops() is not None


@cache
def _loops() -> ModuleType | None:
    """Import what is compiled, in some seconds when a machine does so first; None where that cannot be done."""
    try:
        from etl.explain import winograd_loops
    except Exception as error:  # noqa: BLE001 - no OpenMP, nowhere to keep what was compiled, another numba
        logging.getLogger(__name__).warning("3 x 3 convolutions take longer than they could: %s", error)
        return None
    return winograd_loops


class Winograd:
    """A 3 x 3 convolution with stride 1: see :class:`etl.explain.packed.Convolution`.

    Parameters
    ----------
    weight
        (K, C, 3, 3), float32; K and C are multiples of 64.
    bias
        (K,), or None.
    geometry
        Any padding; stride, dilation and groups are 1.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry, _shape: torch.Size) -> None:
        filters, channels = weight.shape[:2]
        transformed = torch.einsum("ai,kcij,bj->abkc", _KERNEL, weight.double(), _KERNEL)
        matrices = transformed.reshape(36 * filters, channels, 1, 1).to(weight.dtype)
        self._tiles = max(1, _NEAR // (36 * channels * weight.element_size()))
        self._how = ((0, 0), (1, 1), (1, 1), 36)
        self._matrices = torch.ops.mkldnn._reorder_convolution_weight(
            matrices, *self._how, (1, 36 * channels, self._tiles, 1)
        )
        self.nbytes = matrices.nbytes
        self._bias = (torch.zeros(filters) if bias is None else bias).numpy()
        self._padding = geometry.padding

    def __call__(self, images: Tensor, other: Tensor | None, bounds: Bounds | None, *, into: bool) -> Tensor:
        """Convolve, add and clamp."""
        loops = _loops()
        assert loops is not None
        batch, channels, *size = images.shape
        filters = len(self._bias)
        height, width = (n + 2 * p - 2 for n, p in zip(size, self._padding, strict=True))
        if other is None:
            shape = (batch, filters, height, width)
            made = torch.empty(shape, dtype=images.dtype, memory_format=torch.channels_last)
        else:
            made = other if into else other.clone()
        down, right = math.ceil(height / 4), math.ceil(width / 4)
        total = batch * down * right
        most = math.ceil(total / math.ceil(total / self._tiles))
        limits = np.array(bounds or (-math.inf, math.inf), np.float32)
        transformed = images.new_empty(most, 36, channels)
        pixels, results = (tensor.permute(0, 2, 3, 1).reshape(-1).numpy() for tensor in (images, made))
        for start in range(0, total, most):
            part = transformed[: total - start]
            tiles = part.view(-1).numpy()
            numbers = [len(part), pixels.size, tiles.size, *size, channels, *self._padding, down, right, start]
            loops.in_parallel(loops.transform_part, [np.array(numbers), pixels, tiles])
            columns = part.view(1, len(part), 1, 36 * channels).permute(0, 3, 1, 2)
            multiplied = torch.ops.mkldnn._convolution_pointwise(
                columns, self._matrices, None, *self._how, "none", [], ""
            )
            products = multiplied.permute(0, 2, 3, 1).reshape(-1).numpy()
            numbers = [len(part), products.size, results.size, height, width, filters]
            numbers += [int(other is not None), 0, down, right, start]
            loops.in_parallel(loops.put_back_part, [np.array(numbers), products, results, self._bias, limits])
        return made
