"""Grad-CAM (Selvaraju et al., ICCV 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from etl.explain.one_pass import OnePassMethod

if TYPE_CHECKING:
    from torch import Tensor


class GradCAM(OnePassMethod):
    """Gradient-weighted class activation mapping.

    With A the last convolutional map and y_c the score of class c before the softmax, equations 1 and 2 of the paper:

    .. code-block:: text

        alpha_k = 1/Z sum_ij  d y_c / d A_k,ij                          (1)
        L       = ReLU( sum_k alpha_k A_k )                             (2)

    Cost: one forward pass and one backward pass through the head only. Parameters: none. Deviations: none; A is taken
    after its activation function, as in the authors' code.
    """

    name: ClassVar[str] = "grad-cam"
    title: ClassVar[str] = "Grad-CAM"
    description: ClassVar[str] = (
        "Asks which of the model's internal feature maps raise the score of the class, and shows where on the image "
        "those features are."
    )
    paper: ClassVar[str] = (
        "R. R. Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, "
        "ICCV 2017, arXiv:1610.02391"
    )
    version: ClassVar[int] = 1
    averages: ClassVar[bool] = True

    def map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Apply equations 1 and 2: see :func:`grad_cam_map`."""
        return grad_cam_map(activations, gradients)


def grad_cam_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equations 1 and 2: (B, C, h, w) activations and gradients, or their means (B, C, 1, 1), to (B, h, w)."""
    return torch.einsum("bc,bchw->bhw", gradients.mean(dim=(2, 3)), activations).relu()
