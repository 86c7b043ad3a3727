"""What a classifier returns, and the class that is explained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from warehouse.errors import UserError


def logits_of(output: object, batch: int, classes: int | None = None) -> Tensor:
    """Take the class scores out of a model's output.

    Parameters
    ----------
    output
        A tensor; or a tuple, list, mapping or record of several outputs, as of GoogLeNet, Inception or Hugging Face
        models: then its ``logits``, else the first floating-point tensor of the right shape.
    batch
        Number of images that went in, B.
    classes
        Number of classes, N, where it is known.

    Returns
    -------
    torch.Tensor
        (B, N) scores before the softmax.

    Raises
    ------
    UserError
        If there is no tensor of that shape.
    """
    for candidate in _candidates(output):
        if not isinstance(candidate, Tensor) or not candidate.is_floating_point():
            continue
        if candidate.ndim == 2 and candidate.shape[0] == batch and classes in {None, candidate.shape[1]}:
            return candidate
    shown = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise UserError(
        f"The model returns {shown} for {batch} images; a classifier returns class scores of shape "
        f"({batch}, {classes or 'classes'})."
    )


def choose_targets(logits: Tensor, targets: Tensor | None) -> Tensor:
    """Choose the class to explain for each image.

    Parameters
    ----------
    logits
        (B, N).
    targets
        (B,) class indices, (B, K) for several classes of each image, or None for each image's predicted class.

    Returns
    -------
    torch.Tensor
        (B,) or (B, K) int64 on the device of the logits.

    Raises
    ------
    UserError
        If the targets are not integers in [0, N), one or K per image, or a prediction is asked of scores that are no
        numbers.
    """
    batch, classes = logits.shape
    if targets is None:
        if not bool(torch.isfinite(logits).all()):
            raise UserError("The model returns scores that are not finite numbers, so it predicts no class to explain.")
        return logits.argmax(dim=1)
    targets = torch.as_tensor(targets, device=logits.device)
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise UserError(f"Targets must be class indices (int64), not {str(targets.dtype).removeprefix('torch.')}.")
    if targets.ndim not in {1, 2} or len(targets) != batch or 0 in targets.shape:
        raise UserError(
            f"Targets must be one class index for each of {batch} images, not shape {tuple(targets.shape)}."
        )
    targets = targets.long()
    outside = targets[(targets < 0) | (targets >= classes)]
    if len(outside):
        raise UserError(f"Target {int(outside[0])} is not a class of this model, which has classes 0 to {classes - 1}.")
    return targets


def _candidates(output: object) -> list[object]:
    if isinstance(output, Tensor):
        return [output]
    named = getattr(output, "logits", None)
    if isinstance(output, Mapping):
        return [output.get("logits"), named, *output.values()]
    if isinstance(output, (tuple, list)):
        return [named, *output]
    return [named]
