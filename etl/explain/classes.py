"""Several classes of the same images, explained at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from etl.explain.protocol import Attribution, Context

if TYPE_CHECKING:
    from torch import Tensor

    from etl.explain.prepared import PreparedModel
    from etl.explain.protocol import Method


@runtime_checkable
class ExplainsClasses(Protocol):
    """A method that explains several classes for less than one after the other; optional for methods."""

    def attribute_classes(
        self, model: PreparedModel, images: Tensor, targets: Tensor, parameters: Any, context: Context
    ) -> Attribution:
        """Explain a batch as in :meth:`Method.attribute`, with targets (B, K); the maps are (B, K, h, w)."""
        ...


def attribute_classes(
    method: Method, model: PreparedModel, images: Tensor, targets: Tensor, parameters: Any, context: Context
) -> Attribution:
    """Explain several classes of each image.

    Methods that can share passes among classes (Grad-CAM one forward pass, Score-CAM all of them) do so; the others are
    run once a class.

    Parameters
    ----------
    method, model, images, parameters, context
        As in :meth:`etl.explain.protocol.Method.attribute`.
    targets
        (B, K) int64 class indices, K at least 1.

    Returns
    -------
    Attribution
        Maps (B, K, h, w); flags per image, of all its classes.
    """
    if isinstance(method, ExplainsClasses):
        return method.attribute_classes(model, images, targets, parameters, context)
    count = targets.shape[1]
    found = [
        method.attribute(model, images, column, parameters, context.part(k, count))
        for k, column in enumerate(targets.unbind(dim=1))
    ]
    flags = tuple(
        tuple(dict.fromkeys(flag for one in image for flag in one))
        for image in zip(*(one.flags for one in found), strict=True)
    )
    return Attribution(
        torch.stack([one.maps for one in found], dim=1),
        found[0].logits,
        torch.stack([one.targets for one in found], dim=1),
        flags,
    )
