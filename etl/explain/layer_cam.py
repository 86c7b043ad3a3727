"""LayerCAM (Jiang et al., IEEE Transactions on Image Processing 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from etl.explain.one_pass import OnePassMethod

if TYPE_CHECKING:
    from torch import Tensor


class LayerCAM(OnePassMethod):
    """Class activation mapping with a weight for every pixel of every feature map.

    With A the last convolutional map and y_c the score of class c before the softmax:

    .. code-block:: text

        w_k,ij = ReLU( d y_c / d A_k,ij )
        L      = ReLU( sum_k w_k,ij A_k,ij )

    Cost: one forward pass and one backward pass through the head only. Parameters: none. Deviations: none for one
    layer; the paper's fusion of several layers, and the scaling of shallow ones that goes with it, are left out. The
    method is sensible for early layers, too: name one.
    """

    name: ClassVar[str] = "layer-cam"
    title: ClassVar[str] = "LayerCAM"
    description: ClassVar[str] = (
        "Like Grad-CAM, but asks at every place by itself which feature maps raise the score of the class there. Also "
        "gives sharp maps for earlier, finer layers."
    )
    paper: ClassVar[str] = (
        "P.-T. Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, IEEE "
        "Transactions on Image Processing 30, 2021"
    )
    version: ClassVar[int] = 1

    def map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Apply the equations above: (B, C, h, w) activations and gradients to (B, h, w)."""
        return (gradients.relu() * activations).sum(dim=1).relu()
