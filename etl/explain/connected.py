"""Large fully connected layers of few images, two to three times faster on a CPU, forwards and backwards.

A matrix product with few rows should take as long as reading the matrix. PyTorch gives it to its BLAS, which arranges
the whole matrix anew beforehand; oneDNN, which PyTorch has for convolutions, does not. AlexNet and VGG consist mostly
of such layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LARGE = 1 << 21
"""Weights from which a layer has been found faster."""

_FEW = 64
"""Rows up to which it has been."""

_REACHED, _COPIED = 0.4, 24 << 20
"""Share of outputs with a gradient, and bytes of their weights, up to which copying these is faster than reading all.
Behind a ReLU no gradient comes from units that are silent, which are the same for all classes of an image."""


def quicken_connections(module: nn.Module) -> None:
    """Let large fully connected layers multiply by ``linear`` of oneDNN, in place.

    Parameters
    ----------
    module
        A copy that nobody else uses. Names, hooks and parameters stay as they are.
    """
    for part in module.modules():
        if type(part) is nn.Linear and part.weight.numel() >= _LARGE:
            part.__class__ = _Large


class _Large(nn.Linear):
    def forward(self, rows: Tensor) -> Tensor:
        few = 0 < rows.numel() <= _FEW * self.in_features
        if few and rows.device.type == "cpu" and rows.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            product: Tensor = _Connected.apply(rows, self.weight, self.bias)
            return product
        return super().forward(rows)


class _Connected(torch.autograd.Function):
    """``linear`` of rows (..., C) by oneDNN, with frozen float32 weights (D, C) on a CPU."""

    @staticmethod
    def forward(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(rows.to_mkldnn(), weight, bias).to_dense()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch's signature
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Gradient.apply(gradients[0], *ctx.saved_tensors), None, None

    @staticmethod
    def vmap(_info: object, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return _Connected.apply(_first(inputs[0], in_dims), *inputs[1:]), 0


class _Gradient(torch.autograd.Function):
    """Gradients (..., D) of the outputs of a fully connected layer brought to its inputs, (..., C)."""

    @staticmethod
    def forward(gradient: Tensor, weight: Tensor) -> Tensor:
        if gradient.numel() == len(weight):  # a single row, for which BLAS leaves the matrix as it is
            return gradient @ weight
        size = (*gradient.shape[:-1], weight.shape[1])
        reached = gradient.flatten(0, -2).any(dim=0).nonzero()[:, 0]
        if not len(reached):
            return gradient.new_zeros(size)
        share = len(reached) / len(weight)
        if share <= _REACHED and share * weight.nbytes <= _COPIED:
            gradient, weight = gradient.index_select(-1, reached), weight.index_select(0, reached)
        return torch.ops.aten.mkldnn_linear_backward_input(size, gradient.to_mkldnn(), weight).to_dense()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch's signature
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Connected.apply(gradients[0], *ctx.saved_tensors, None), None

    @staticmethod
    def vmap(_info: object, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return _Gradient.apply(_first(inputs[0], in_dims), inputs[1]), 0


def _first(rows: Tensor, in_dims: tuple[int | None, ...]) -> Tensor:
    """Bring the dimension that is mapped over to the front, where it only makes more rows; weights have none."""
    assert in_dims[0] is not None
    assert not any(dim is not None for dim in in_dims[1:])
    return rows.movedim(in_dims[0], 0)


NODE = f"{_Connected.__name__}Backward"
"""Name of the node that such a layer leaves in a graph; its ``saved_tensors`` are the weights, (D, C)."""
