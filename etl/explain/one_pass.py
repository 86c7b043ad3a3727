"""What Grad-CAM and its kin share: one forward pass, one backward pass through the head, then arithmetic on maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from etl.explain.chunks import in_chunks
from etl.explain.logits import choose_targets
from etl.explain.protocol import Attribution, Context, NoParameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.explain.prepared import PreparedModel

_MOST = 64
_CLASSES = 32  # gradients of so many classes are held at once


class OnePassMethod(ABC):
    """A method without parameters that needs only the explained layer's activations and their gradients."""

    Parameters: ClassVar[type[Any]] = NoParameters
    averages: ClassVar[bool] = False
    """Whether only the mean over positions of a channel's gradients counts, which may be had for less."""

    def cost(self, parameters: NoParameters, channels: int) -> float:  # noqa: ARG002 - part of the protocol
        """One forward pass; the head's backward pass is a small part of one."""
        return 1.0

    @abstractmethod
    def map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Turn activations and gradients, both (B, C, h, w), into maps (B, h, w).

        A method that ``averages`` may be given the averages in place of the gradients, (B, C, 1, 1).
        """

    def attribute(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor | None,
        parameters: NoParameters,  # noqa: ARG002 - part of the protocol
        context: Context,
    ) -> Attribution:
        """Explain a batch: see :class:`etl.explain.protocol.Method`."""
        return attribute_together([self], model, images, targets, context)[0]

    def attribute_classes(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor,
        parameters: NoParameters,  # noqa: ARG002 - part of the protocol
        context: Context,
    ) -> Attribution:
        """Explain several classes of each image from one forward pass: see :mod:`etl.explain.classes`."""
        return attribute_together([self], model, images, targets, context)[0]


def attribute_together(
    methods: Sequence[OnePassMethod], model: PreparedModel, images: Tensor, targets: Tensor | None, context: Context
) -> list[Attribution]:
    """Apply several methods to the activations and gradients of one pass.

    Parameters
    ----------
    methods
        What to make of them.
    model, images, context
        As in :meth:`etl.explain.protocol.Method.attribute`.
    targets
        (B,) class indices, (B, K) for several classes of each image, None for the predicted ones.

    Returns
    -------
    list of Attribution
        One a method; maps are (B, h, w), or (B, K, h, w).
    """

    def explain(part: slice) -> tuple[list[Tensor], Tensor, Tensor]:
        context.step(part.start / len(images))
        cut = model.cut(images[part])
        logits = cut.logits.detach()
        classes = choose_targets(logits, None if targets is None else targets[part])
        columns = classes.unsqueeze(1) if classes.ndim == 1 else classes
        maps: list[list[Tensor]] = [[] for _ in methods]
        differentiate = cut.mean_gradients_of if all(m.averages for m in methods) else cut.gradients_of
        for some in columns.split(_CLASSES, dim=1):
            for gradients in differentiate(some):
                for made, method in zip(maps, methods, strict=True):
                    made.append(method.map(cut.activations, gradients).float())
        if classes.ndim == 1:
            return [made[0] for made in maps], logits, classes
        return [torch.stack(made, dim=1) for made in maps], logits, classes

    size = model.pass_size(images, len(images), context, _MOST)
    parts = list(in_chunks(len(images), size, explain))
    logits, classes = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
    return [Attribution(torch.cat([part[0][i] for part in parts]), logits, classes) for i in range(len(methods))]
