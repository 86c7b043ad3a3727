"""Grad-CAM++ (Chattopadhay et al., WACV 2018)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from etl.explain.one_pass import OnePassMethod


class GradCAMPlusPlus(OnePassMethod):
    """Grad-CAM with pixel-wise weights, so that every instance of an object counts.

    With A the last convolutional map, S_c the score of class c before the softmax, g = d S_c / d A, and the class score
    Y_c = exp(S_c) of the paper, whose derivatives are exp(S_c) g, exp(S_c) g^2 and exp(S_c) g^3 for a piecewise linear
    head, equations 19, 15 and 2 of the paper become

    .. code-block:: text

        alpha_k,ij = g_k,ij^2 / ( 2 g_k,ij^2 + sum_ab A_k,ab  g_k,ij^3 )
                   = 1 / ( 2 + g_k,ij sum_ab A_k,ab )         where g_k,ij != 0, else 0
        w_k        = sum_ij alpha_k,ij ReLU( g_k,ij )
        L          = ReLU( sum_k w_k A_k )

    The factor exp(S_c), one positive constant per image, is left out: it cancels when the map is stretched to [0, 1].

    Cost: one forward pass and one backward pass through the head only. Parameters: none. Deviations from other
    implementations: no epsilon is added to the denominator (g^2 is often smaller than a usual epsilon), and the sum
    over (a, b) runs over A alone, as printed.
    """

    name: ClassVar[str] = "grad-cam++"
    title: ClassVar[str] = "Grad-CAM++"
    description: ClassVar[str] = (
        "Like Grad-CAM, but weighs every pixel of a feature map by itself, so that several objects of the class, or "
        "all parts of a large one, show."
    )
    paper: ClassVar[str] = (
        "A. Chattopadhay et al., Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional "
        "Networks, WACV 2018, arXiv:1710.11063"
    )
    version: ClassVar[int] = 1

    def map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Apply the equations above: see :func:`grad_cam_pp_map`."""
        return grad_cam_pp_map(activations, gradients)


def grad_cam_pp_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Apply the equations above: (B, C, h, w) activations and gradients to (B, h, w)."""
    return weighted_map(activations, gradients, gradients)


def weighted_map(activations: Tensor, gradients: Tensor, third_over_second: Tensor) -> Tensor:
    """Equations 19, 15 and 2 with the ratio of the third to the second derivative given.

    Parameters
    ----------
    activations
        A, (B, C, h, w).
    gradients
        First derivatives, (B, C, h, w).
    third_over_second
        (B, C, h, w); zero where the second derivative is zero.

    Returns
    -------
    torch.Tensor
        (B, h, w), not negative.
    """
    denominator = 2 + third_over_second * activations.sum(dim=(2, 3), keepdim=True)
    # Where activations can be negative, as in ConvNeXt, the denominator can vanish.
    usable = (third_over_second != 0) & (denominator.abs() > 1e-12)
    alpha = torch.where(usable, 1 / torch.where(usable, denominator, 1.0), 0.0)
    weights = (alpha * gradients.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1).relu()
