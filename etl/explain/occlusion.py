"""Occlusion (Zeiler and Fergus, ECCV 2014), by captum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from etl.explain.captum_method import CaptumMethod
from warehouse.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from etl.explain.captum_method import Classifier


@dataclass(frozen=True)
class OcclusionParameters:
    """Parameters of Occlusion; the paper leaves them open, these are the defaults of MATLAB's ``occlusionSensitivity``.

    Parameters
    ----------
    window
        Side of the covered rectangle, as a share of that of the image.
    stride
        How far the window moves from one pass to the next, as a share of the side of the image; at most ``window``.
    """

    window: float = 0.2
    stride: float = 0.1

    def __post_init__(self) -> None:
        for name, value in (("window", self.window), ("stride", self.stride)):
            if not isinstance(value, (int, float)) or not 0 < value <= 1:
                raise UserError(f"{name} must be a share of the image's side, above 0 and at most 1, not {value!r}.")
        if self.stride > self.window:
            raise UserError(
                f"stride must be at most window, so that every pixel is covered, not {self.stride!r} for a window of "
                f"{self.window!r}."
            )


class Occlusion(CaptumMethod):
    """How much the score falls when a place is covered.

    With x the normalised image, F_c the score of class c before the softmax and x - W the image with the window W set
    to zero (mid-grey for usual normalisations), the map at pixel i is the mean over all windows that cover it:

    .. code-block:: text

        O_i = mean over W with i in W of ( F_c(x) - F_c(x - W) )
        L   = ReLU( O )

    Cost: one forward pass for every position of the window, 81 or 100 by default, and two of the whole image.
    Deviations: the paper plots the probability of the class for every position of a grey square; here it is the score,
    as with the other methods, which still moves where the model is certain, and what covers the same pixel is averaged.
    """

    name: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion"
    description: ClassVar[str] = (
        "Covers one part of the image after the other with a grey rectangle and notes how much the score of the class "
        "falls. Treats the model as a black box; easy to understand, coarse."
    )
    paper: ClassVar[str] = (
        "M. D. Zeiler and R. Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, arXiv:1311.2901"
    )
    Parameters: ClassVar[type[Any]] = OcclusionParameters
    differentiates: ClassVar[bool] = False

    def attribution(self, classifier: Classifier) -> Any:
        """Make captum's attribution."""
        from captum.attr import Occlusion as Captum

        return Captum(classifier)

    def passes(self, parameters: OcclusionParameters, size: tuple[int, int]) -> int:
        """One pass for the whole image and one for every position of the window."""
        steps = (math.ceil((side - window) / stride) + 1 for side, window, stride in _pixels(parameters, size))
        return 1 + math.prod(steps)

    def arguments(self, image: Tensor, parameters: OcclusionParameters, chunk: int) -> dict[str, Any]:
        """Give window and stride in pixels, through all colours at once, and how many windows share a pass."""
        rows, columns = _pixels(parameters, (image.shape[2], image.shape[3]))
        colours = image.shape[1]
        return {
            "sliding_window_shapes": (colours, rows[1], columns[1]),
            "strides": (colours, rows[2], columns[2]),
            "perturbations_per_eval": chunk,
        }


def _pixels(parameters: OcclusionParameters, size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """For rows and columns the side of the image, the window and the stride, in pixels."""
    sides = []
    for side in size:
        window = max(1, round(parameters.window * side))
        sides.append((side, window, min(window, max(1, round(parameters.stride * side)))))
    return sides
