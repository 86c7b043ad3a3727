"""Convolutions with weights that are packed once, by oneDNN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Bounds = tuple[float, float]
"""What results are clamped to; (0, inf) is a ReLU."""


@dataclass(frozen=True)
class Geometry:
    """Arguments of a convolution beside images and weights, of rows and columns."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, call: Mapping[str, Any]) -> Geometry:
        """Take it from the arguments of ``torch.conv2d``; padding is a number or two."""
        stride, padding, dilation = (_pair(call[name]) for name in ("stride", "padding", "dilation"))
        return cls(stride, padding, dilation, call["groups"])

    def shape(self, images: Tensor, weight: Tensor) -> torch.Size:
        """Return the shape of the result."""
        size = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                images.shape[2:], self.padding, self.dilation, weight.shape[2:], self.stride, strict=True
            )
        ]
        return torch.Size((len(images), len(weight), *size))


class Convolution(Protocol):
    """A convolution with what follows it."""

    def __call__(self, images: Tensor, other: Tensor | None, bounds: Bounds | None, *, into: bool) -> Tensor:
        """Convolve, add and clamp.

        Parameters
        ----------
        images
            (B, C, H, W), channels last.
        other
            (B, K, h, w), channels last, what is added.
        bounds
            What the sum is clamped to.
        into
            Whether to write the result over ``other``, which shares no memory with ``images``.

        Returns
        -------
        torch.Tensor
            (B, K, h, w), channels last; ``other`` if ``into``.
        """


class FrozenConvolution(Convolution, Protocol):
    """One whose weights do not change, of images of any shape.

    Attributes
    ----------
    nbytes : int
        Memory of its own copy of the weights.
    """

    nbytes: int

    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry, shape: torch.Size) -> None:
        """Prepare it for images of this shape, and less well of others."""


class Packed:
    """The convolution of oneDNN; PyTorch packs the weights anew in every call.

    Parameters
    ----------
    weight, bias, geometry
        Of the convolution.
    shape
        Of the first images.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry, shape: torch.Size) -> None:
        how = (geometry.padding, geometry.stride, geometry.dilation, geometry.groups)
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *how, shape)
        self.nbytes = weight.nbytes
        self._arguments = (packed, bias, *how)

    def __call__(self, images: Tensor, other: Tensor | None, bounds: Bounds | None, *, into: bool) -> Tensor:
        """Convolve, add and clamp: see :class:`Convolution`."""
        is_relu = bounds == (0.0, math.inf)
        if other is None:
            kind, limits = ("relu", []) if is_relu else ("hardtanh", [*bounds]) if bounds else ("none", [])
            made: Tensor = torch.ops.mkldnn._convolution_pointwise(images, *self._arguments, kind, limits, "")
            return made
        after: tuple[Any, ...] = ("add", 1.0, "relu" if is_relu else None, [], "")
        if into:
            torch.ops.mkldnn._convolution_pointwise_.binary(other, images, *self._arguments, *after)
            made = other
        else:
            made = torch.ops.mkldnn._convolution_pointwise.binary(images, other, *self._arguments, *after)
        return made.clamp_(*bounds) if bounds and not is_relu else made  # after a sum oneDNN has ReLU alone


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
