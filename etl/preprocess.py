"""Preprocessing: from a decoded image to the tensor that one model expects.

The work is split in two, so that images are decoded and resized once and shared: :meth:`Preprocess.pixels` (per image,
in threads, on Pillow) gives the 8-bit pixels that the model sees, :meth:`Preprocess.batch` (per batch, on any device)
normalises them. Together they equal torchvision's ``Resize -> CenterCrop -> ToTensor -> Normalize``, bit for bit.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from etl.geometry import INTERPOLATIONS, Geometry
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@runtime_checkable
class Preprocessing(Protocol):
    """What every model brings: :class:`Preprocess`, or :class:`CallablePreprocess` around the user's own code."""

    @property
    def input_size(self) -> int | None:
        """Side of the model's square input in pixels; None if it depends on the image."""

    def pixels(self, image: Image.Image) -> Tensor:
        """One RGB image -> (3, H, W), what is stored and shared between models."""

    def batch(self, pixels: Tensor) -> Tensor:
        """Stacked pixels (B, 3, H, W) -> the model's float32 input (B, 3, H, W), channels_last."""

    def view(self, image: Image.Image) -> Image.Image:
        """Cut out what the model sees, for people to look at; it has the input's size."""

    def fingerprint(self) -> str:
        """Equal for equal preprocessing, across processes and machines."""


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side, crop the centre, scale to [0, 1], normalise.

    Parameters
    ----------
    resize
        Length of the shorter side after resizing, in pixels; None keeps the image's size.
    crop
        Side of the central square that is cut out, in pixels (smaller images are padded with black); None keeps all,
        and then all images need one size.
    interpolation
        A key of :data:`etl.geometry.INTERPOLATIONS`; always antialiased, as Pillow does it.
    mean, std
        Per channel (RGB), of values in [0, 1].
    """

    resize: int | None = 256
    crop: int | None = 224
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def input_size(self) -> int | None:
        """Side of the model's square input in pixels; None if it depends on the image."""
        return self.crop

    def view(self, image: Image.Image) -> Image.Image:
        """Resize and crop.

        Parameters
        ----------
        image
            Mode ``"RGB"``.

        Returns
        -------
        PIL.Image.Image
            Exactly what the model sees, before normalisation.
        """
        return Geometry(self.resize, self.crop, self.interpolation).view(image)

    def pixels(self, image: Image.Image) -> Tensor:
        """Resize and crop one image.

        Parameters
        ----------
        image
            Mode ``"RGB"``.

        Returns
        -------
        torch.Tensor
            uint8, shape (3, H, W), channels_last in memory; owns its memory.
        """
        return torch.from_numpy(np.array(self.view(image), dtype=np.uint8)).permute(2, 0, 1)

    def batch(self, pixels: Tensor) -> Tensor:
        """Normalise.

        Parameters
        ----------
        pixels
            uint8, shape (B, 3, H, W), on any device.

        Returns
        -------
        torch.Tensor
            float32, shape (B, 3, H, W), channels_last, on the same device.
        """
        x = pixels.to(torch.float32, memory_format=torch.channels_last)
        if x is pixels:
            raise TypeError("pixels are uint8; this tensor is float32 already")
        # Row by row of an image as it lies in memory: three numbers at a time would take four times as long.
        width = x.shape[3]
        rows = x.permute(0, 2, 3, 1).view(-1, 3 * width)
        mean, std = (torch.tensor(values, device=x.device).repeat(width) for values in (self.mean, self.std))
        rows.div_(255).sub_(mean).div_(std)
        return x

    def fingerprint(self) -> str:
        """Equal for equal preprocessing: readable JSON of the parameters."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class CallablePreprocess:
    """A user's own transform, from a PIL image to a float tensor (3, H, W).

    Parameters
    ----------
    transform
        Called with an RGB image; safe to call from threads.
    identity
        Overrides :meth:`fingerprint`, for callables whose code or representation does not tell what they do.
    """

    transform: Callable[[Image.Image], Any]
    identity: str | None = None

    @property
    def input_size(self) -> int | None:
        """None: only the transform knows."""
        return None

    def pixels(self, image: Image.Image) -> Tensor:
        """Apply the transform.

        Returns
        -------
        torch.Tensor
            float32, shape (3, H, W).

        Raises
        ------
        UserError
            If the transform returns something else.
        """
        result = self.transform(image)
        if not isinstance(result, Tensor) or result.ndim != 3 or result.shape[0] != 3:
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise UserError(f"The model's transform must return a tensor of shape (3, H, W); it returned {got}.")
        return result.to(torch.float32)

    def batch(self, pixels: Tensor) -> Tensor:
        """Lay out in channels_last, as a copy that the model may write to; the transform has normalised already."""
        return pixels.to(torch.float32, copy=True, memory_format=torch.channels_last)

    def view(self, image: Image.Image) -> Image.Image:
        """Transform an image and stretch each channel to [0, 255], since its normalisation is not known."""
        x = self.pixels(image)
        low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
        scaled = ((x - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
        return Image.fromarray(scaled.permute(1, 2, 0).numpy(), "RGB")

    def fingerprint(self) -> str:
        """Hash of the transform's representation and, where it can be read, its source code."""
        if self.identity is not None:
            return self.identity
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(self.transform))
        try:
            text += inspect.getsource(self.transform)
        except (OSError, TypeError):
            text += repr(type(self.transform))
        return "callable " + hashlib.sha256(text.encode()).hexdigest()[:16]


def from_torchvision(transform: Any) -> Preprocessing:
    """Understand a torchvision transform, or wrap it.

    Parameters
    ----------
    transform
        ``weights.transforms()``, or a ``Compose`` of ``Resize``, ``CenterCrop``, ``ToTensor`` and ``Normalize``.

    Returns
    -------
    Preprocessing
        A :class:`Preprocess` if the transform is one of these, else a :class:`CallablePreprocess` around it.
    """
    from torchvision import transforms as T
    from torchvision.transforms._presets import ImageClassification

    if type(transform) is ImageClassification:
        steps: list[Any] = [
            T.Resize(transform.resize_size, transform.interpolation, antialias=transform.antialias),
            T.CenterCrop(transform.crop_size),
            T.ToTensor(),
            T.Normalize(transform.mean, transform.std),
        ]
    elif type(transform) is T.Compose:
        steps = list(transform.transforms)
    else:
        return CallablePreprocess(transform)
    understood = _understand(steps, T)
    return CallablePreprocess(transform) if understood is None else understood


def _understand(steps: list[Any], T: Any) -> Preprocess | None:
    """Read ``[Resize,] [CenterCrop,] ToTensor, Normalize``; None if it is anything else."""
    kinds = [type(step) for step in steps]
    if kinds[-2:] != [T.ToTensor, T.Normalize] or kinds[:-2] not in (
        [],
        [T.Resize],
        [T.CenterCrop],
        [T.Resize, T.CenterCrop],
    ):
        return None
    resize: int | None = None
    crop: int | None = None
    interpolation = "bilinear"
    for step in steps[:-2]:
        size = list(step.size) if isinstance(step.size, (tuple, list)) else [step.size]
        if isinstance(step, T.Resize):
            if len(size) != 1 or step.max_size is not None:
                return None
            resize, interpolation = int(size[0]), step.interpolation.value
        else:
            if len(set(size)) != 1:
                return None
            crop = int(size[0])
    mean, std = (tuple(float(v) for v in values) for values in (steps[-1].mean, steps[-1].std))
    if len(mean) != 3 or len(std) != 3 or interpolation not in INTERPOLATIONS:
        return None
    return Preprocess(resize, crop, interpolation, mean, std)
