"""A method: any attribution of captum takes a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etl.explain.captum_method import CaptumMethod

if TYPE_CHECKING:
    from etl.explain.captum_method import Classifier


class Saliency(CaptumMethod):
    """Which pixels would change the score of the class most."""

    name = "saliency"
    title = "Saliency"
    description = "Shows which pixels would change the score of the class most. Fast; grainy."
    paper = "K. Simonyan et al., Deep Inside Convolutional Networks, 2013, arXiv:1312.6034"

    def attribution(self, classifier: Classifier) -> Any:
        """Make captum's attribution."""
        from captum.attr import Saliency as Captum

        return Captum(classifier)
