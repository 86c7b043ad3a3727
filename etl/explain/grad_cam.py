"""Grad-CAM (Selvaraju et al., ICCV 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from etl.explain.logits import choose_targets
from etl.explain.protocol import Attribution, Context, NoParameters

if TYPE_CHECKING:
    from etl.explain.prepared import PreparedModel


class GradCAM:
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
    Parameters: ClassVar[type[Any]] = NoParameters

    def cost(self, parameters: NoParameters, channels: int) -> float:  # noqa: ARG002 - part of the protocol
        """One forward pass; the head's backward pass is a small part of one."""
        return 1.0

    def attribute(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor | None,
        parameters: NoParameters,  # noqa: ARG002 - part of the protocol
        context: Context,
    ) -> Attribution:
        """Explain a batch: see :class:`etl.explain.protocol.Method`."""
        maps, logits, chosen = [], [], []
        for start in range(0, len(images), context.chunk):
            context.step(start / len(images))
            part = slice(start, start + context.chunk)
            cut = model.cut(images[part])
            classes = choose_targets(cut.logits.detach(), None if targets is None else targets[part])
            maps.append(grad_cam_map(cut.activations, cut.gradients(classes)))
            logits.append(cut.logits.detach())
            chosen.append(classes)
        return Attribution(torch.cat(maps).float(), torch.cat(logits), torch.cat(chosen))


def grad_cam_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equations 1 and 2: (B, C, h, w) activations and gradients to (B, h, w)."""
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1).relu()
