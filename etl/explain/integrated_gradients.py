"""Integrated Gradients (Sundararajan et al., ICML 2017), by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from etl.explain.captum_method import CaptumMethod
from warehouse.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from etl.explain.captum_method import Classifier


@dataclass(frozen=True)
class IntegratedGradientsParameters:
    """Parameters of Integrated Gradients.

    Parameters
    ----------
    steps
        Points on the way from the baseline to the image; the paper finds 20 to 300 sufficient.
    """

    steps: int = 50

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 1:
            raise UserError(f"steps must be a positive whole number, not {self.steps!r}.")


class IntegratedGradients(CaptumMethod):
    """What every pixel adds to the score on the way from a grey image to this one.

    With x the normalised image, x' = 0 the baseline and F_c the score of class c before the softmax, for pixel i of
    each colour (section 3 of the paper):

    .. code-block:: text

        IG_i = (x_i - x'_i)  integral over a from 0 to 1 of  d F_c( x' + a (x - x') ) / d x_i
        L    = ReLU( sum of IG over the three colours )

    Before the ReLU the values of all pixels add up to F_c(x) - F_c(x'): what speaks for the class and what speaks
    against it. The map shows what speaks for it.

    Cost: ``steps`` forward passes and as many backward passes down to the image, and one forward pass. Deviations: the
    integral is taken by Gauss-Legendre quadrature, captum's default, which is closer to it than the paper's Riemann
    sum of as many steps. The baseline, black in the paper, is zero in the normalised image, the mean colour for usual
    normalisations.
    """

    name: ClassVar[str] = "integrated-gradients"
    title: ClassVar[str] = "Integrated Gradients"
    description: ClassVar[str] = (
        "Lets the image appear step by step out of plain grey and adds up how each pixel raises the score of the class "
        "on the way. Shows single pixels, not regions."
    )
    paper: ClassVar[str] = (
        "M. Sundararajan, A. Taly and Q. Yan, Axiomatic Attribution for Deep Networks, ICML 2017, arXiv:1703.01365"
    )
    Parameters: ClassVar[type[Any]] = IntegratedGradientsParameters

    def attribution(self, classifier: Classifier) -> Any:
        """Make captum's attribution."""
        from captum.attr import IntegratedGradients as Captum

        return Captum(classifier)

    def passes(self, parameters: IntegratedGradientsParameters, size: tuple[int, int]) -> int:  # noqa: ARG002
        """One pass a step."""
        return parameters.steps

    def arguments(
        self,
        image: Tensor,  # noqa: ARG002 - part of the base
        parameters: IntegratedGradientsParameters,
        chunk: int,
    ) -> dict[str, Any]:
        """Give the number of steps, and how many of them share a pass."""
        return {"n_steps": parameters.steps, "internal_batch_size": chunk}
