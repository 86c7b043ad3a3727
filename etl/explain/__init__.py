"""Visual explanations: where on an image a classifier found its evidence for a class (paper, section 4.3)."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from etl.explain.layers import Layer
from etl.explain.postprocess import degenerate, normalise
from etl.explain.prepared import PreparedModel
from etl.explain.protocol import Attribution, Cancelled, Context, Method, canonical, parameters_of
from etl.explain.similarity import similarity
from etl.plugins import METHODS, load
from warehouse.errors import UserError

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
    "load_method",
    "parameters_of",
    "similarity",
]


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
        (B,) int64, the class to explain for each image; None explains each image's predicted class.
    method
        Name of a method, ``"grad-cam"``, or a method object.
    layer
        Dotted name of the submodule whose activation is explained; None finds the last spatial feature map.
    **parameters
        Parameters of the method that differ from the published ones.

    Returns
    -------
    torch.Tensor
        (B, H, W) float32 in [0, 1] on the device of ``images``; bilinearly upsampled, each map stretched to its minimum
        and maximum. A map without information is zero everywhere, and a :class:`DegenerateMapWarning` says so.

    Raises
    ------
    UserError
        If the images, targets, method, layer or parameters cannot be used; the sentence says what to do.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        shown = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UserError(
            f"Images must be a floating-point tensor (B, channels, H, W), normalised for the model, not {shown}."
        )
    chosen = load_method(method)
    values = parameters_of(chosen, parameters)
    if len(images) == 0:
        return images.new_zeros(images.shape[0], *images.shape[2:], dtype=torch.float32)
    prepared = PreparedModel(model, images, layer)
    with prepared.session():
        result = chosen.attribute(prepared, prepared.images(images), targets, values, Context())
        flat = [reason for reason in degenerate(result.maps) if reason is not None]
        maps = normalise(result.maps, (images.shape[2], images.shape[3])).to(images.device)
    if flat:
        warnings.warn(
            f"{len(flat)} of {len(images)} maps of {chosen.title} are zero everywhere: {flat[0]}.",
            DegenerateMapWarning,
            stacklevel=2,
        )
    return maps
