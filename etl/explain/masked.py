"""The first convolution of an image under many masks, from a few convolutions of the image itself.

A mask that is upsampled bilinearly from a map m of few positions is the sum of hat functions b_j, one around each
position, times the map's values there, and a convolution is linear:

.. code-block:: text

    conv( X * sum_j m_j b_j ) = sum_j m_j conv( X * b_j )

A window of the convolution meets at most three hats in a row, and three in a column, so hats that are three apart share
one image: nine convolutions serve all masks, and each result is a sum of nine products. That is exact but for rounding,
and several times faster than to make the masked images and convolve them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from etl.explain.loops import flat, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.explain.packed import Bounds, Geometry

_APART = 3
"""Hats that a window meets at most, in a row or column."""

_BLOCK = 32
"""Filters are multiples of it: see :mod:`etl.explain.loops.masked`."""

_PLANES = 64 << 20
"""Bytes of the nine convolutions' results, at most; a pass reads all of them."""


class MaskedImages:
    """One image, to be seen through masks: maps of few positions that are upsampled bilinearly.

    Parameters
    ----------
    image
        (1, 3, H, W), float32.
    size
        (h, w) of the maps.
    """

    def __init__(self, image: Tensor, size: Sequence[int]) -> None:
        self.image = image
        self._size = size
        self._hats = [_hats(of, n) for of, n in zip(size, image.shape[2:], strict=True)]
        self._convolved: dict[int, tuple[Tensor, np.ndarray, np.ndarray]] = {}
        self._room = image.new_empty(0)

    def images(self, masks: Tensor) -> Tensor:
        """Make the images under masks (B, h, w): (B, 3, H, W)."""
        large = F.interpolate(masks[:, None], size=self.image.shape[2:], mode="bilinear", align_corners=False)
        return self.image * large

    def can_convolve(self, weight: Tensor, geometry: Geometry) -> bool:
        """Whether windows meet few enough hats, and the results are not too large."""
        if self.image.dtype != torch.float32 or weight.dtype not in {torch.float32, torch.bfloat16}:
            return False
        if (
            geometry.groups != 1
            or geometry.dilation != (1, 1)
            or len(weight) % _BLOCK
            or min(self._size) < _APART
            or _APART**2 * 4 * geometry.shape(self.image, weight).numel() > _PLANES
        ):
            return False
        if any(met.sum(dim=1).max() > _APART for met in self._met(weight, geometry)):
            return False
        return load("masked", weight.dtype) is not None

    def _met(self, weight: Tensor, geometry: Geometry) -> list[Tensor]:
        """Which hats the windows of each row, and of each column, meet; (results, hats), bool."""
        windows = zip(weight.shape[2:], geometry.stride, geometry.padding, strict=True)
        return [
            F.max_pool1d(F.pad(hats[None], (padding, padding)), kernel, stride)[0].T > 0
            for hats, (kernel, stride, padding) in zip(self._hats, windows, strict=True)
        ]

    def _planes(self, weight: Tensor, geometry: Geometry) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Convolve the image under hats that are three apart, and say which hats each row and column meets first."""
        if id(weight) not in self._convolved:
            down, across = (torch.stack([hats[i::_APART].sum(dim=0) for i in range(_APART)]) for hats in self._hats)
            hats = (down[:, None, :, None] * across[None, :, None, :]).flatten(0, 1)[:, None]
            how = (geometry.stride, geometry.padding)
            planes = torch.cat([F.conv2d(self.image * hat, weight.float(), None, *how) for hat in hats[:, None]])
            firsts = [
                met.int().argmax(dim=1).clamp_max(met.shape[1] - _APART).numpy() for met in self._met(weight, geometry)
            ]
            self._convolved[id(weight)] = (
                planes.permute(0, 2, 3, 1).to(weight.dtype, memory_format=torch.contiguous_format),
                firsts[0],
                firsts[1],
            )
        return self._convolved[id(weight)]

    def _room_for(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Where the results of this pass go; those of the last one are overwritten.

        The system fills new memory with zeros first, which takes as long as everything else.
        """
        count = math.prod(shape)
        if self._room.dtype != dtype or self._room.numel() < count:
            self._room = torch.empty(count, dtype=dtype)
        return self._room[:count].view(shape)


class MaskedConvolution:
    """The first convolution, of images under masks: see :class:`etl.explain.packed.Convolution`.

    Parameters
    ----------
    masked
        The image.
    masks
        (B, h, w).
    weight, bias, geometry
        Of the convolution.
    """

    def __init__(
        self, masked: MaskedImages, masks: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> None:
        self._planes, self._rows, self._columns = masked._planes(weight, geometry)
        self._masked, self._masks = masked, masks
        self._dtype = weight.dtype
        self._bias = (torch.zeros(len(weight)) if bias is None else bias.detach()).float().numpy()

    def __call__(self, images: Tensor, other: Tensor | None, bounds: Bounds | None, *, into: bool) -> Tensor:
        """Add up and clamp; what is empty is not read."""
        from etl.explain.loops.openmp import in_parallel  # a compiler, which is there by now

        assert images.numel() == 0
        assert other is None
        assert not into
        _, height, width, filters = self._planes.shape
        made = self._masked._room_for((len(self._masks), height, width, filters), self._dtype)
        results = flat(made)
        numbers = np.array([len(self._masks), height, width, filters, *self._masks.shape[1:]])
        limits = np.array(bounds or (-math.inf, math.inf), np.float32)
        masks = flat(self._masks.contiguous())
        job = [numbers, flat(self._planes), masks, results, self._bias, limits, self._rows, self._columns]
        in_parallel(load("masked", self._dtype), job)
        return made.permute(0, 3, 1, 2)


def _hats(positions: int, size: int) -> Tensor:
    """Upsample each position of a map of one dimension alone; (positions, size)."""
    return F.interpolate(torch.eye(positions)[None], size=size, mode="linear", align_corners=False)[0]
