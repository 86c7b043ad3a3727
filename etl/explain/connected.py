"""Large fully connected layers of few images, two to five times faster on a CPU, forwards and backwards.

A matrix product with few rows should take as long as reading the matrix. PyTorch gives it to its BLAS, which arranges
the whole matrix anew beforehand; oneDNN, which PyTorch has for convolutions, does not. Loops of our own
(:mod:`etl.explain.loops.connected`) are faster still for the fewest rows, and backwards they read only the weights of
outputs that a gradient reaches: behind a ReLU none comes from units that are silent, which are the same for all classes
of an image. AlexNet and VGG consist mostly of such layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etl.explain.loops import flat, load

_LARGE = 1 << 21
"""Weights from which a layer has been found faster."""

_FEW = 64
"""Rows up to which it has been."""

_FEWEST = 4
"""Rows up to which loops are faster than oneDNN forwards."""

_TOGETHER = 4
"""Outputs that loops compute at once."""


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
    """``linear`` of rows (..., C), with frozen float32 weights (D, C) on a CPU."""

    @staticmethod
    def forward(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if rows.numel() <= _FEWEST * rows.shape[-1] and len(weight) >= _TOGETHER and _can_loop(weight):
            product = _forwards(rows.detach().contiguous(), weight)
            return product if bias is None else product.add_(bias)
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
        rows = gradient.detach().reshape(-1, len(weight))
        reached = rows.any(dim=0).nonzero()[:, 0]
        if len(rows) * len(reached) <= _FEW * len(weight) and _can_loop(weight):
            made = _backwards(rows, reached, weight)
        else:
            size = (len(rows), weight.shape[1])
            made = torch.ops.aten.mkldnn_linear_backward_input(size, rows.to_mkldnn(), weight).to_dense()
        return made.view(*gradient.shape[:-1], -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch's signature
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Connected.apply(gradients[0], *ctx.saved_tensors, None), None

    @staticmethod
    def vmap(_info: object, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return _Gradient.apply(_first(inputs[0], in_dims), inputs[1]), 0


def _can_loop(weight: Tensor) -> bool:
    return weight.is_contiguous() and load("connected", weight.dtype) is not None


def _forwards(rows: Tensor, weight: Tensor) -> Tensor:
    from etl.explain.loops.openmp import in_parallel  # a compiler, which is there by now

    made = rows.new_empty(*rows.shape[:-1], len(weight))
    numbers = np.array([rows.numel() // rows.shape[-1], *weight.shape])
    in_parallel(load("connected", weight.dtype)[0], [numbers, flat(rows), flat(weight), flat(made)])
    return made


def _backwards(rows: Tensor, reached: Tensor, weight: Tensor) -> Tensor:
    from etl.explain.loops.connected import TOGETHER
    from etl.explain.loops.openmp import in_parallel

    made = rows.new_empty(len(rows), weight.shape[1])
    gradients = F.pad(rows.index_select(1, reached), (0, -len(reached) % TOGETHER))
    reached = F.pad(reached, (0, gradients.shape[1] - len(reached)), value=int(reached[0]) if len(reached) else 0)
    numbers = np.array([*gradients.shape, weight.shape[1], len(weight)])
    in_parallel(
        load("connected", weight.dtype)[1], [numbers, flat(gradients), reached.numpy(), flat(weight), flat(made)]
    )
    return made


def _first(rows: Tensor, in_dims: tuple[int | None, ...]) -> Tensor:
    """Bring the dimension that is mapped over to the front, where it only makes more rows; weights have none."""
    assert in_dims[0] is not None
    assert not any(dim is not None for dim in in_dims[1:])
    return rows.movedim(in_dims[0], 0)


NODE = f"{_Connected.__name__}Backward"
"""Name of the node that such a layer leaves in a graph; its ``saved_tensors`` are the weights, (D, C)."""
