"""The gradient of a strided first convolution with respect to the image, several times faster on a CPU.

Methods that optimise or vary the image differentiate down to its pixels. There a CPU spends five times as long in the
backward pass of a first convolution (7 x 7, stride 2, three channels) as in its forward pass.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    Pair = tuple[int, int]

_FEW_CHANNELS = 4
"""Input channels up to which the rearranged convolution has been found faster; images have three."""

_SMALL_KERNEL = 3
"""Rows or columns of a kernel up to which it has been found no faster."""


def quicken_stems(module: nn.Module) -> None:
    """Let strided convolutions of images take their gradient by :func:`image_gradient`, in place.

    Parameters
    ----------
    module
        A copy that nobody else uses. Forward passes, names, hooks and parameters stay as they are.
    """
    for part in module.modules():
        if type(part) is nn.Conv2d and _is_stem(part):
            part.__class__ = _Stem


def _is_stem(part: nn.Conv2d) -> bool:
    plain = part.groups == 1 and part.dilation == (1, 1) and part.padding_mode == "zeros"
    worth = part.in_channels <= _FEW_CHANNELS and max(part.stride) > 1 and max(part.kernel_size) > _SMALL_KERNEL
    return plain and worth and not isinstance(part.padding, str)


class _Stem(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        # Without a graph nothing of the images is read here: they may be made only when they are (`merging`).
        if torch.is_grad_enabled() and images.device.type == "cpu" and images.requires_grad and images.ndim == 4:
            return _StridedConvolution.apply(images, self.weight, self.bias, self.stride, self.padding)
        return super().forward(images)


class _StridedConvolution(torch.autograd.Function):
    """``conv2d`` of frozen weights whose gradient is :func:`image_gradient`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        return F.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch's signature
        images, weight, _, ctx.stride, ctx.padding = inputs
        ctx.size = images.shape[2:]
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        return image_gradient(gradients[0], weight, ctx.stride, ctx.padding, ctx.size), None, None, None, None


def image_gradient(gradient: Tensor, weight: Tensor, stride: Pair, padding: Pair, size: Pair) -> Tensor:
    """Differentiate a strided convolution with respect to its input, as a convolution without stride.

    With stride s and padding p, pixel u of the input lies at u + p = s q + r and meets tap s j + r of the kernel at
    output q - j, so

    .. code-block:: text

        dx[c, s q + r - p] = sum_j sum_o  W[o, c, s j + r] g[o, q - j]

    For each remainder r that is a convolution of g with every s-th tap. All s*s of them are computed as channels of one
    convolution, whose result the pixel shuffle of Shi et al. (CVPR 2016, arXiv:1609.05158, equation 4) puts in place.
    The sums are those of ``torch.nn.grad.conv2d_input``, in another order.

    Parameters
    ----------
    gradient
        g, (B, O, h, w), with respect to the convolution's output.
    weight
        W, (O, C, kh, kw).
    stride, padding
        The convolution's, of rows and columns; both strides may differ.
    size
        (H, W) of the input.

    Returns
    -------
    torch.Tensor
        (B, C, H, W).
    """
    out, channels, *kernel = weight.shape
    rows, columns = stride
    taps = [math.ceil(k / s) for k, s in zip(kernel, stride, strict=True)]
    filled = F.pad(weight, (0, columns * taps[1] - kernel[1], 0, rows * taps[0] - kernel[0]))
    by_remainder = filled.reshape(out, channels, taps[0], rows, taps[1], columns).flip(2, 4)
    kernels = by_remainder.permute(1, 3, 5, 0, 2, 4).reshape(channels * rows * columns, out, taps[0], taps[1])
    sums = F.conv2d(gradient, kernels, padding=(taps[0] - 1, taps[1] - 1))
    height, width = sums.shape[2] * rows, sums.shape[3] * columns
    if rows == columns:
        whole = F.pixel_shuffle(sums, rows)
    else:
        whole = (
            sums.unflatten(1, (channels, rows, columns)).permute(0, 1, 4, 2, 5, 3).reshape(-1, channels, height, width)
        )
    # The last pixels may lie beyond every window: their gradient is zero.
    missing = [max(0, p + n - have) for p, n, have in zip(padding, size, (height, width), strict=True)]
    if any(missing):
        whole = F.pad(whole, (0, missing[1], 0, missing[0]))
    return whole[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
