"""What one forward pass tells about a model, before it runs over a data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from etl.cost import flops, parameters
from etl.explain.layers import find_layer
from etl.explain.logits import logits_of
from etl.features import last_layer
from etl.models import LoadedModel, ModelError
from etl.models.checkpoints import state_sha256
from warehouse.errors import UserError


@dataclass(frozen=True)
class Facts:
    """Measured facts about a model.

    Attributes
    ----------
    family
        Kind of architecture.
    parameters, flops
        See :mod:`etl.cost`.
    bytes
        Memory of parameters and buffers.
    input_size
        Longer side of the input, in pixels.
    weights_sha256
        See :func:`etl.models.checkpoints.state_sha256`.
    last_layer
        Whose input the penultimate features are, see :func:`etl.features.last_layer`.
    explanation_layer
        Where class activation maps are computed by default; None if no layer can serve.
    """

    family: str
    parameters: int
    flops: int
    bytes: int
    input_size: int
    weights_sha256: str
    last_layer: str | None
    explanation_layer: str | None


def probe(loaded: LoadedModel, pixels: Tensor) -> Facts:
    """Classify one image and look at the model while it does.

    Parameters
    ----------
    loaded
        The model, on the CPU.
    pixels
        One image, (1, 3, H, W), as ``loaded.preprocess.pixels`` gives it.

    Raises
    ------
    ModelError
        If the model fails, or does not return one number per class.
    """
    module = loaded.module
    try:
        example = loaded.preprocess.batch(pixels)
        with torch.no_grad():
            logits = logits_of(module(example), 1)
        _check_count(logits.shape[1], loaded.outputs)
        return Facts(
            family=loaded.family,
            parameters=parameters(module),
            flops=flops(module, example),
            bytes=sum(t.numel() * t.element_size() for t in module.state_dict().values()),
            input_size=max(pixels.shape[2:]),
            weights_sha256=state_sha256(module),
            last_layer=last_layer(module, example, loaded.outputs),
            explanation_layer=_explanation_layer(loaded, example),
        )
    except UserError:
        raise
    except Exception as error:
        raise ModelError(f"it failed on the first image: {type(error).__name__}: {error}") from error


def _check_count(returned: int, outputs: int) -> None:
    if returned != outputs:
        raise ModelError(f"it returns {returned} numbers for an image, but it is said to know {outputs} classes")


def _explanation_layer(loaded: LoadedModel, example: Tensor) -> str | None:
    try:
        return str(find_layer(loaded.module, example))
    except UserError:
        return None
