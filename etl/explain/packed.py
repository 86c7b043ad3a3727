"""Convolutions with weights that are packed once, by oneDNN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Bounds = tuple[float, float]
"""What results are clamped to; (0, inf) is a ReLU."""


class Geometry(NamedTuple):
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
    """One whose weights do not change, of images of any shape."""

    @property
    def nbytes(self) -> int:
        """Memory of its own copies of the weights, in bytes."""

    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry, shape: torch.Size) -> None:
        """Prepare it for images of this shape first."""


def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN packs weights of this type on this machine: bfloat16 takes AVX-512."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


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
        self._weight, self._bias = weight, bias
        self._how = (geometry.padding, geometry.stride, geometry.dilation, geometry.groups)
        self._packed: dict[torch.Size, Tensor] = {}
        self._orders: dict[bytes, Tensor] = {}
        self._for(shape)

    @property
    def nbytes(self) -> int:
        """Memory of the packed weights, in bytes."""
        return self._weight.nbytes * len(self._orders)

    def _for(self, shape: torch.Size) -> Tensor:
        """Pack the weights as oneDNN prefers for images of a shape: from another order it takes up to 20 times as long.

        What is preferred for one image is often not what is for many.
        """
        if shape not in self._packed:
            packed = torch.ops.mkldnn._reorder_convolution_weight(self._weight, *self._how, shape)
            order = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()
            self._packed[shape] = self._orders.setdefault(order, packed)
        return self._packed[shape]

    def __call__(self, images: Tensor, other: Tensor | None, bounds: Bounds | None, *, into: bool) -> Tensor:
        """Convolve, add and clamp: see :class:`Convolution`."""
        arguments = (self._for(images.shape), self._bias, *self._how)
        is_relu = bounds == (0.0, math.inf)
        if other is None:
            kind, limits = ("relu", []) if is_relu else ("hardtanh", [*bounds]) if bounds else ("none", [])
            made: Tensor = torch.ops.mkldnn._convolution_pointwise(images, *arguments, kind, limits, "")
            return made
        after: tuple[Any, ...] = ("add", 1.0, "relu" if is_relu else None, [], "")
        if into:
            torch.ops.mkldnn._convolution_pointwise_.binary(other, images, *arguments, *after)
            made = other
        else:
            made = torch.ops.mkldnn._convolution_pointwise.binary(images, other, *arguments, *after)
        return made.clamp_(*bounds) if bounds and not is_relu else made  # after a sum oneDNN has ReLU alone


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
