"""Any attribution of captum as an explanation method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from etl.explain.chunks import in_chunks, is_out_of_memory
from etl.explain.logits import choose_targets
from etl.explain.protocol import Attribution, Context, NoParameters
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.explain.layers import Layer
    from etl.explain.prepared import PreparedModel

_MOST = 64
_FULL_BACKWARD = 1.5


class Classifier(nn.Module):
    """What an attribution works on: the prepared model as a module that can be stopped before every pass.

    Parameters
    ----------
    model
        The classifier; passes are counted in its ``forwards`` and ``backwards``.
    before_pass
        Called with the number of images of each pass.
    """

    def __init__(self, model: PreparedModel, before_pass: Callable[[int], None]) -> None:
        super().__init__()
        self.module = model.module  # as a submodule, for attributions that put hooks on all of them
        self._model = model
        self._before_pass = before_pass
        self._layer: Layer | None = None
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (B, N) of images (B, 3, H, W)."""
        self._before_pass(len(images))
        return self._model.differentiable_scores(images)

    @property
    def layer(self) -> nn.Module:
        """The submodule whose activation is explained, for captum's layer attributions.

        Raises
        ------
        UserError
            If the activation is not what a submodule returns the first time it runs.
        """
        self._layer = layer = self._model.layer
        if layer.function or layer.call > 1:
            raise UserError(
                f"Attributions of captum cannot explain {layer}, only submodules that run once; name another layer."
            )
        return self.module.get_submodule(layer.name)

    def maps(self, attributions: Tensor) -> Tensor:
        """Bring attributions of the images, or of the layer if it was asked for, into the form (B, C, h, w)."""
        return attributions if self._layer is None else self._layer.maps(attributions)


class CaptumMethod(ABC):
    """An attribution of captum behind the protocol of explanation methods (:class:`etl.explain.protocol.Method`).

    A subclass names itself and makes the attribution; captum is imported there, because that takes a second:

    .. code-block:: python

        class Saliency(CaptumMethod):
            name = "saliency"
            title = "Saliency"
            description = "Shows which pixels would change the score of the class most."
            paper = "K. Simonyan et al., Deep Inside Convolutional Networks, 2013, arXiv:1312.6034"

            def attribution(self, classifier):
                from captum.attr import Saliency
                return Saliency(classifier)

    The rest is here: targets, one image after the other, counted passes that can be stopped, progress, memory. What is
    attributed is the score of the class before the softmax. Layer attributions get ``classifier.layer``.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    paper: ClassVar[str]
    version: ClassVar[int] = 1
    Parameters: ClassVar[type[Any]] = NoParameters

    differentiates: ClassVar[bool] = True
    """Whether the attribution takes gradients with respect to the image; their passes need more memory."""

    @abstractmethod
    def attribution(self, classifier: Classifier) -> Any:
        """Make the attribution, an instance of a class of ``captum.attr``."""

    def passes(self, parameters: Any, size: tuple[int, int]) -> int:  # noqa: ARG002 - for subclasses
        """Count the altered copies of an image of this size, (H, W), that the attribution sends through the model."""
        return 1

    def arguments(self, image: Tensor, parameters: Any, chunk: int) -> dict[str, Any]:  # noqa: ARG002 - for subclasses
        """Choose further arguments of the attribution's ``attribute``.

        Parameters
        ----------
        image
            (1, 3, H, W), normalised for the model.
        parameters
            An instance of ``Parameters``.
        chunk
            Most copies of the image in one pass.
        """
        return {}

    def map(self, attributions: Tensor) -> Tensor:
        """Turn attributions (B, C, h, w) into maps (B, h, w): the positive part of the sum over colours or channels."""
        return attributions.sum(dim=1).relu()

    def cost(self, parameters: Any, channels: int) -> float:  # noqa: ARG002 - part of the protocol
        """One pass for the scores, and those of the attribution, for an image of 224 x 224 pixels."""
        return 1.0 + self.passes(parameters, (224, 224)) * (1.0 + _FULL_BACKWARD * self.differentiates)

    def attribute(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor | None,
        parameters: Any,
        context: Context,
    ) -> Attribution:
        """Explain a batch: see :class:`etl.explain.protocol.Method`."""
        passes = self.passes(parameters, (images.shape[2], images.shape[3]))

        def explain(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            image, done = images[part], 0

            def before_pass(count: int) -> None:
                nonlocal done
                context.step((part.start + min(1.0, done / passes)) / len(images))
                done += count

            scores = model.scores(image)
            classes = choose_targets(scores, None if targets is None else targets[part])
            size = model.pass_size(image, passes, context, _MOST, graph=self.differentiates)
            while True:
                try:
                    found = self._explain(Classifier(model, before_pass), image, int(classes), parameters, size)
                except RuntimeError as error:
                    if size == 1 or not is_out_of_memory(error):
                        raise
                else:
                    return found, scores, classes
                size //= 2

        maps, logits, chosen = zip(*in_chunks(len(images), 1, explain), strict=True)
        return Attribution(torch.cat(maps), torch.cat(logits), torch.cat(chosen))

    def _explain(self, classifier: Classifier, image: Tensor, target: int, parameters: Any, chunk: int) -> Tensor:
        attribution = self.attribution(classifier)
        start = image.detach().clone().requires_grad_(self.differentiates)
        found = attribution.attribute(start, target=target, **self.arguments(start, parameters, chunk))
        return self.map(classifier.maps(found.detach())).float()
