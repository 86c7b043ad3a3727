"""Score-CAM (Wang et al., CVPR workshops 2020)."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from etl.explain.chunks import in_chunks
from etl.explain.logits import choose_targets
from etl.explain.masked import MaskedImages
from etl.explain.protocol import Attribution, Context
from etl.heap import freed_memory_kept
from warehouse.errors import UserError

if TYPE_CHECKING:
    from etl.explain.prepared import PreparedModel

_PREVIEW = 128
"""Masks after which the map so far is shown: then it correlates with the exact one to 0.99 on a trained network."""

_MOST_ON_CPU = 8  # larger passes leave the caches
_MOST = 256
_SOME = 2  # passes from which on it is worth to keep freed memory from one to the next
_LOWER = {"float32": None, "bfloat16": torch.bfloat16}


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
    precision
        Of the scoring passes. ``"bfloat16"`` is faster on many machines and an approximation, and flagged so.
    """

    weight: Literal["logit-softmax", "probability"] = "logit-softmax"
    channels: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.weight not in {"logit-softmax", "probability"}:
            raise UserError(f"weight must be 'logit-softmax' or 'probability', not {self.weight!r}.")
        if self.channels is not None and (not isinstance(self.channels, int) or self.channels < 1):
            raise UserError(f"channels must be a positive whole number or None, not {self.channels!r}.")
        if self.precision not in _LOWER:
            raise UserError(f"precision must be 'float32' or 'bfloat16', not {self.precision!r}.")


class ScoreCAM:
    """Class activation mapping weighted by scores instead of gradients.

    With A the last convolutional map, X the image, f_c the score of class c before the softmax and s the stretching of
    a map to [0, 1], Algorithm 1 of the paper:

    .. code-block:: text

        M_k     = s( Upsample( A_k ) )
        alpha_k = softmax over k of ( f_c( X * M_k ) - f_c( X_b ) )      (the baseline's score cancels)
        L       = ReLU( sum_k alpha_k A_k )

    Cost: one forward pass, and one for every channel that is scored. Channels that are constant over the image have no
    mask and get no weight; channels with equal masks are scored once. Both are exact. Channels are scored in the order
    of their variance, so that the maps reported on the way, from 128 scored masks on, are good previews.

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
        maps: list[Tensor] = []
        logits, chosen = [], []
        flags: list[tuple[str, ...]] = []
        for i in range(len(images)):
            cut = model.cut(images[i : i + 1])
            scores = cut.logits.detach()
            classes = choose_targets(scores, None if targets is None else targets[i : i + 1])
            logits.append(scores)
            chosen.append(classes)
            activations = cut.activations[0]
            channels = _by_variance(activations)
            flags.append(_flags(parameters, len(channels)))
            activations = activations[channels[: parameters.channels]]
            report = _Report(context, tuple(maps), len(images), tuple(classes.shape[1:]))
            found = _score_maps(model, images[i : i + 1], classes.flatten(), activations, parameters, report)
            maps.append(report.shaped(found))
        return Attribution(torch.stack(maps), torch.cat(logits), torch.cat(chosen), tuple(flags))

    def attribute_classes(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor,
        parameters: ScoreCAMParameters,
        context: Context,
    ) -> Attribution:
        """Explain several classes of each image from the same scoring passes: see :mod:`etl.explain.classes`."""
        return self.attribute(model, images, targets, parameters, context)


def _flags(parameters: ScoreCAMParameters, channels: int) -> tuple[str, ...]:
    flags = []
    if parameters.channels is not None and parameters.channels < channels:
        flags.append(f"approximation: {parameters.channels} channels of largest variance")
    if parameters.precision != "float32":
        flags.append(f"approximation: {parameters.precision}")
    return tuple(flags)


@dataclass(frozen=True)
class _Report:
    """Progress of one image within the batch."""

    context: Context
    done: tuple[Tensor, ...]
    images: int
    classes: tuple[int, ...]

    def shaped(self, maps: Tensor) -> Tensor:
        """(K, h, w) to (h, w), unless several classes were asked."""
        return maps.reshape(*self.classes, *maps.shape[1:]).float()

    def step(self, fraction: float, maps: Tensor | None) -> None:
        """Show finished maps, the preview of this image's, and NaN for those that are to come."""
        so_far = None
        if maps is not None:
            current = self.shaped(maps)
            missing = [torch.full_like(current, torch.nan)] * (self.images - len(self.done) - 1)
            so_far = torch.stack([*self.done, current, *missing])
        self.context.step((len(self.done) + fraction) / self.images, so_far)


def _by_variance(activations: Tensor) -> Tensor:
    """Sort the channels that are not constant, the largest variance first; returns their indices."""
    flat = activations.flatten(1)
    order = flat.var(dim=1, correction=0).argsort(descending=True, stable=True)
    return order[(flat.amax(dim=1) > flat.amin(dim=1))[order]]


def _score_maps(
    model: PreparedModel,
    image: Tensor,
    targets: Tensor,
    activations: Tensor,
    parameters: ScoreCAMParameters,
    report: _Report,
) -> Tensor:
    """Make the maps (K, h, w) of K classes of an image (1, 3, H, W) from the channels (C, h, w) that are scored."""
    if len(activations) == 0:
        return image.new_zeros(len(targets), *activations.shape[1:])
    # Channels that differ by scale and offset, such as those of one active pixel, have one mask.
    masks, mask_of = _distinct(_stretched(activations))
    scores = image.new_empty(len(masks), len(targets))
    masked = MaskedImages(image, masks.shape[1:])

    def combine(scored: int) -> Tensor:
        known = mask_of < scored
        weights = scores[mask_of[known]]
        if parameters.weight == "logit-softmax":
            weights = weights.softmax(dim=0)
        return torch.einsum("ck,chw->khw", weights, activations[known]).relu()

    def score(part: slice) -> None:
        report.step(part.start / len(masks), combine(part.start) if part.start >= _PREVIEW else None)
        seen, dtype = _fitted(masks[part], image.shape[2:]), _LOWER[parameters.precision]
        if report.context.memory is None:
            logits = model.masked_scores(masked, seen, dtype)
        else:
            logits = model.scores(masked.images(seen), dtype)
        if parameters.weight == "probability":
            logits = logits.softmax(dim=1)
        scores[part] = logits[:, targets]

    on_cpu = model.device.type == "cpu"
    size = model.pass_size(image, len(masks), report.context, _MOST_ON_CPU if on_cpu else _MOST)
    with freed_memory_kept() if on_cpu and len(masks) > _SOME * size else nullcontext():
        for _ in in_chunks(len(masks), size, score):
            pass
    return combine(len(masks))


def _distinct(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Merge equal masks (C, h, w); returns the different ones, in the order they come, and which each one is."""
    unique, inverse = torch.unique(masks, dim=0, return_inverse=True)
    places = torch.arange(len(masks), device=masks.device)
    first = torch.full((len(unique),), len(masks), device=masks.device).scatter_reduce(0, inverse, places, "amin")
    order = first.argsort()
    return unique[order], order.argsort()[inverse]


def _fitted(maps: Tensor, size: torch.Size) -> Tensor:
    """Stretch maps (K, h, w) so that they are from 0 to 1 when upsampled, which commutes."""
    large = F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)
    low, high = large.amin(dim=(2, 3)), large.amax(dim=(2, 3))
    return (maps - low[:, None]) / (high - low)[:, None].clamp_min(torch.finfo(maps.dtype).tiny)


def _stretched(maps: Tensor) -> Tensor:
    """Each map (K, h, w) to [0, 1]; none is constant."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
