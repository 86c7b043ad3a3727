"""What Grad-CAM and its kin share: one forward pass, one backward pass through the head, then arithmetic on maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from etl.explain.logits import choose_targets
from etl.explain.protocol import Attribution, Context, NoParameters

if TYPE_CHECKING:
    from etl.explain.prepared import PreparedModel


class OnePassMethod(ABC):
    """A method without parameters that needs only the explained layer's activations and their gradients."""

    Parameters: ClassVar[type[Any]] = NoParameters

    def cost(self, parameters: NoParameters, channels: int) -> float:  # noqa: ARG002 - part of the protocol
        """One forward pass; the head's backward pass is a small part of one."""
        return 1.0

    @abstractmethod
    def map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Turn activations and gradients, both (B, C, h, w), into maps (B, h, w)."""

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
            maps.append(self.map(cut.activations, cut.gradients(classes)))
            logits.append(cut.logits.detach())
            chosen.append(classes)
        return Attribution(torch.cat(maps).float(), torch.cat(logits), torch.cat(chosen))
