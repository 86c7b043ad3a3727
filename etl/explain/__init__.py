"""Visual explanations: where on an image a classifier found its evidence for a class (paper, section 4.3)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from etl.explain.classes import attribute_classes
from etl.explain.layers import Layer
from etl.explain.one_pass import OnePassMethod, attribute_together
from etl.explain.postprocess import degenerate, normalise
from etl.explain.prepared import PreparedModel
from etl.explain.protocol import Attribution, Cancelled, Context, Method, canonical, parameters_of
from etl.explain.shadow import clean_torch, placement
from etl.explain.similarity import similarity
from etl.plugins import METHODS, load
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Attribution",
    "Cancelled",
    "Context",
    "DegenerateMapWarning",
    "Layer",
    "Method",
    "PreparedModel",
    "canonical",
    "explain",
    "explain_together",
    "load_method",
    "parameters_of",
    "similarity",
]

_LONG = 16.0
"""Forward passes from which on batch normalisations are folded and weights copied channels-last."""

_USUAL_CHANNELS = 512


class DegenerateMapWarning(UserWarning):
    """A map is zero everywhere because the method found no evidence or no finite number."""


def load_method(name: str | Method) -> Method:
    """Find an explanation method by name.

    Parameters
    ----------
    name
        ``"grad-cam"`` or any other entry point of the group ``vacpanel.methods``; a method object is returned as it is.

    Returns
    -------
    Method

    Raises
    ------
    UserError
        If there is no such method.
    """
    if not isinstance(name, str):
        return name
    found: Method = load(METHODS, name)()
    return found


def explain(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    method: str | Method = "grad-cam",
    layer: str | None = None,
    *,
    max_memory: int | None = None,
    **parameters: Any,
) -> Tensor:
    """Explain a classifier's decisions on a batch of images.

    Nothing of the model changes: hooks, training mode, gradients, buffers and random state stay as they are, also when
    an error is raised. It works whatever the caller has set: ``inference_mode``, ``no_grad``, autocast, frozen
    parameters.

    Parameters
    ----------
    model
        Any classifier: a module that maps (B, 3, H, W) to scores (B, N). Explained in evaluation mode, in float32
        (float64 if its parameters are).
    images
        (B, 3, H, W) floating point, normalised for the model.
    targets
        (B,) int64, the class to explain for each image; (B, K) for K classes of each image, which share passes where
        the method can; None explains each image's predicted class.
    method
        Name of a method, ``"grad-cam"``, or a method object.
    layer
        Dotted name of the submodule whose activation is explained; None finds the last spatial feature map.
    max_memory
        Bytes that a pass may take, besides the weights; the work is cut into passes that keep to it. None chooses
        passes that are fast. When memory runs out they are halved in any case.
    **parameters
        Parameters of the method that differ from the published ones.

    Returns
    -------
    torch.Tensor
        (B, H, W), or (B, K, H, W), float32 in [0, 1] on the device of ``images``; bilinearly upsampled, each map
        stretched to its minimum and maximum. A map without information is zero everywhere, and a
        :class:`DegenerateMapWarning` says so.

    Raises
    ------
    UserError
        If the images, targets, method, layer or parameters cannot be used; the sentence says what to do.
    """
    chosen = load_method(method)
    work = [(chosen, parameters_of(chosen, parameters))]
    return _maps(model, images, targets, work, layer, max_memory)[0]


def explain_together(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    methods: Sequence[str | Method] = ("grad-cam", "grad-cam++"),
    layer: str | None = None,
    *,
    max_memory: int | None = None,
) -> dict[str, Tensor]:
    """Explain with several methods and their published parameters, preparing the model once.

    Methods that need only the activations and gradients of one pass (Grad-CAM, Grad-CAM++) share it.

    Parameters
    ----------
    model, images, targets, layer, max_memory
        As in :func:`explain`.
    methods
        Names of methods, or method objects.

    Returns
    -------
    dict of str to torch.Tensor
        By name of the method, in the order asked, what :func:`explain` returns.
    """
    chosen = [load_method(method) for method in methods]
    work = [(method, method.Parameters()) for method in chosen]
    maps = _maps(model, images, targets, work, layer, max_memory)
    return {method.name: made for method, made in zip(chosen, maps, strict=True)}


def _maps(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None,
    work: Sequence[tuple[Method, Any]],
    layer: str | None,
    memory: int | None,
) -> list[Tensor]:
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        shown = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UserError(
            f"Images must be a floating-point tensor (B, channels, H, W), normalised for the model, not {shown}."
        )
    if len(images) == 0:
        return [images.new_zeros(images.shape[0], *images.shape[2:], dtype=torch.float32)] * len(work)
    if targets is not None and len(torch.as_tensor(targets)) != len(images):
        raise UserError(f"Targets must be one class index, or K of them, for each of {len(images)} images.")
    # For many passes it pays to bring the model into its fastest form.
    long = sum(method.cost(values, _USUAL_CHANNELS) for method, values in work) * len(images) > _LONG
    # Preparing runs the model, too: its random numbers, if it draws any, must leave no trace either.
    with clean_torch(placement(model)[0]):
        prepared = PreparedModel(model, images, layer, channels_last=long, fold=long)
        found = _attribute(prepared, prepared.images(images), targets, work, Context(memory=memory))
        return [_finished(result, images, method) for result, (method, _) in zip(found, work, strict=True)]


def _attribute(
    prepared: PreparedModel,
    images: Tensor,
    targets: Tensor | None,
    work: Sequence[tuple[Method, Any]],
    context: Context,
) -> list[Attribution]:
    """Run all methods; those that need but one pass share it."""
    quick = [method for method, _ in work if isinstance(method, OnePassMethod)]
    shared = iter(attribute_together(quick, prepared, images, targets, context) if quick else ())
    several = targets is not None and torch.as_tensor(targets).ndim > 1
    found = []
    for method, values in work:
        if isinstance(method, OnePassMethod):
            found.append(next(shared))
        elif several:
            found.append(attribute_classes(method, prepared, images, torch.as_tensor(targets), values, context))
        else:
            found.append(method.attribute(prepared, images, targets, values, context))
    return found


def _finished(result: Attribution, images: Tensor, method: Method) -> Tensor:
    """Make attention maps at the size of the images, and warn of those that say nothing."""
    flat = result.maps.flatten(0, -3)
    reasons = [reason for reason in degenerate(flat) if reason is not None]
    if reasons:
        warnings.warn(
            f"{len(reasons)} of {len(flat)} maps of {method.title} are zero everywhere: {reasons[0]}.",
            DegenerateMapWarning,
            stacklevel=4,
        )
    height, width = images.shape[2:]
    return normalise(flat, (height, width)).reshape(*result.maps.shape[:-2], height, width).to(images.device)
