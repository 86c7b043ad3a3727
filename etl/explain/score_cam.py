"""Score-CAM (Wang et al., CVPR workshops 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from etl.explain.logits import choose_targets
from etl.explain.protocol import Attribution, Context
from warehouse.errors import UserError

if TYPE_CHECKING:
    from etl.explain.prepared import PreparedModel


@dataclass(frozen=True)
class ScoreCAMParameters:
    """Parameters of Score-CAM.

    Parameters
    ----------
    weight
        ``"logit-softmax"``: Algorithm 1 of the paper, a softmax over the channels of the class scores of the masked
        images. ``"probability"``: the probability of the class, as in the authors' code.
    channels
        None scores every channel. A number scores only that many, those of the largest variance, which is faster and an
        approximation, and flagged so.
    """

    weight: Literal["logit-softmax", "probability"] = "logit-softmax"
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.weight not in {"logit-softmax", "probability"}:
            raise UserError(f"weight must be 'logit-softmax' or 'probability', not {self.weight!r}.")
        if self.channels is not None and (not isinstance(self.channels, int) or self.channels < 1):
            raise UserError(f"channels must be a positive whole number or None, not {self.channels!r}.")


class ScoreCAM:
    """Class activation mapping weighted by scores instead of gradients.

    With A the last convolutional map, X the image, f_c the score of class c before the softmax and s the stretching of
    a map to [0, 1], Algorithm 1 of the paper:

    .. code-block:: text

        M_k     = s( Upsample( A_k ) )
        alpha_k = softmax over k of ( f_c( X * M_k ) - f_c( X_b ) )      (the baseline's score cancels)
        L       = ReLU( sum_k alpha_k A_k )

    Cost: one forward pass, and one for every channel that is scored. Channels that are constant over the image have no
    mask and get no weight; channels with equal masks are scored once. Both are exact.

    Deviations: none from Algorithm 1. Masks are upsampled bilinearly with ``align_corners=False``, as in the authors'
    code. What a mask removes becomes zero in the normalised image, a mid-grey for usual normalisations.
    """

    name: ClassVar[str] = "score-cam"
    title: ClassVar[str] = "Score-CAM"
    description: ClassVar[str] = (
        "Shows the model only what one of its feature maps highlights, notes how sure it still is of the class, and "
        "does so for every feature map. Needs no gradients; takes long."
    )
    paper: ClassVar[str] = (
        "H. Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, CVPR "
        "Workshops 2020, arXiv:1910.01279"
    )
    version: ClassVar[int] = 1
    Parameters: ClassVar[type[Any]] = ScoreCAMParameters

    def cost(self, parameters: ScoreCAMParameters, channels: int) -> float:
        """One forward pass per channel at most, and one of the whole image."""
        return 1.0 + (channels if parameters.channels is None else min(channels, parameters.channels))

    def attribute(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor | None,
        parameters: ScoreCAMParameters,
        context: Context,
    ) -> Attribution:
        """Explain a batch: see :class:`etl.explain.protocol.Method`."""
        maps, logits, chosen = [], [], []
        flags: list[tuple[str, ...]] = []
        for i in range(len(images)):
            image = images[i : i + 1]
            cut = model.cut(image)
            target = choose_targets(cut.logits.detach(), None if targets is None else targets[i : i + 1])
            activations = cut.activations[0]
            order = _by_variance(activations)
            flags.append(())
            if parameters.channels is not None and parameters.channels < len(order):
                order = order[: parameters.channels]
                flags[-1] = (f"approximation: {len(order)} channels of largest variance",)
            maps.append(
                _score_map(model, image, int(target), activations[order], parameters, context, (i, len(images)))
            )
            logits.append(cut.logits.detach())
            chosen.append(target)
        return Attribution(torch.stack(maps).float(), torch.cat(logits), torch.cat(chosen), tuple(flags))


def _by_variance(activations: Tensor) -> Tensor:
    """Sort the channels that are not constant, the largest variance first; returns their indices."""
    flat = activations.flatten(1)
    order = flat.var(dim=1, correction=0).argsort(descending=True, stable=True)
    return order[(flat.amax(dim=1) > flat.amin(dim=1))[order]]


def _score_map(
    model: PreparedModel,
    image: Tensor,
    target: int,
    activations: Tensor,
    parameters: ScoreCAMParameters,
    context: Context,
    position: tuple[int, int],
) -> Tensor:
    """Make the map (h, w) of one image (1, 3, H, W) from the channels (K, h, w) that are to be scored."""
    if len(activations) == 0:
        return image.new_zeros(activations.shape[1:])
    # Channels that differ by scale and offset, such as those of one active pixel, have one mask.
    masks, mask_of = torch.unique(_stretched(activations), dim=0, return_inverse=True)
    scores = []
    for start in range(0, len(masks), context.chunk):
        context.step((position[0] + start / len(masks)) / position[1])
        large = F.interpolate(
            masks[start : start + context.chunk, None], size=image.shape[2:], mode="bilinear", align_corners=False
        )
        logits = model.scores(image * _stretched(large[:, 0])[:, None])
        scores.append((logits if parameters.weight == "logit-softmax" else logits.softmax(dim=1))[:, target])
    weights = torch.cat(scores)[mask_of]
    if parameters.weight == "logit-softmax":
        weights = weights.softmax(dim=0)
    return (weights[:, None, None] * activations).sum(dim=0).relu()


def _stretched(maps: Tensor) -> Tensor:
    """Each map (K, h, w) to [0, 1]; none is constant."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
