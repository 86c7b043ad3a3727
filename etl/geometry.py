"""Which part of an image a model sees; needs no torch, so that a dashboard can show it at once."""

from __future__ import annotations

import json
from dataclasses import dataclass

from PIL import Image

INTERPOLATIONS: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Names of the resampling filters, torchvision's."""


_MOST_PIXELS = 1 << 24
"""An image that would be larger after resizing, such as one of 20,000 x 1 pixels, is cropped while it is resized."""


@dataclass(frozen=True)
class Geometry:
    """Resize the shorter side, crop the centre: torchvision's ``Resize`` and ``CenterCrop``, pixel for pixel.

    Parameters
    ----------
    resize
        Length of the shorter side after resizing, in pixels; None keeps the image's size.
    crop
        Side of the central square that is cut out, in pixels (smaller images are padded with black); None keeps all.
    interpolation
        A key of :data:`INTERPOLATIONS`; always antialiased, as Pillow does it.
    """

    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"

    def view(self, image: Image.Image) -> Image.Image:
        """Resize and crop an image of mode ``"RGB"``."""
        if self.resize is not None:
            size = _short_side(image.size, self.resize)
            if self.crop is not None and size[0] * size[1] > _MOST_PIXELS:
                image = _resize_centre(image, size, self.crop, INTERPOLATIONS[self.interpolation])
            elif size != image.size:
                image = image.resize(size, INTERPOLATIONS[self.interpolation])
        if self.crop is not None and image.size != (self.crop, self.crop):
            image = _center_crop(image, self.crop)
        return image


def described(preprocess: str) -> Geometry | None:
    """Read the geometry from the column ``models.preprocess``.

    Parameters
    ----------
    preprocess
        JSON of :class:`etl.preprocess.Preprocess`.

    Returns
    -------
    Geometry or None
        None for a user's own transform, which is not described there.
    """
    try:
        values = json.loads(preprocess)
        return Geometry(values["resize"], values["crop"], values["interpolation"])
    except (ValueError, KeyError, TypeError):
        return None


def _short_side(size: tuple[int, int], short: int) -> tuple[int, int]:
    """Width and height after resizing the shorter side to ``short``; the longer is rounded down, as in torchvision."""
    width, height = size
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def _resize_centre(
    image: Image.Image, size: tuple[int, int], side: int, interpolation: Image.Resampling
) -> Image.Image:
    """Resize an image to ``size``, but only the part of it that a central square of this side shows."""
    starts = [round((length - side) / 2.0) if length > side else 0 for length in size]
    ends = [min(length, start + side) for length, start in zip(size, starts, strict=True)]
    scale = [old / new for old, new in zip(image.size, size, strict=True)]
    box = (starts[0] * scale[0], starts[1] * scale[1], ends[0] * scale[0], ends[1] * scale[1])
    return image.resize((ends[0] - starts[0], ends[1] - starts[1]), interpolation, box=box)


def _center_crop(image: Image.Image, side: int) -> Image.Image:
    """Crop as torchvision's ``CenterCrop``: pads with black, the odd pixel right and below, and rounds to even."""
    width, height = image.size
    if width < side or height < side:
        left, top = max(0, (side - width) // 2), max(0, (side - height) // 2)
        padded = Image.new("RGB", (max(width, side), max(height, side)))
        padded.paste(image, (left, top))
        image = padded
        width, height = image.size
        if (width, height) == (side, side):
            return image
    left, top = round((width - side) / 2.0), round((height - side) / 2.0)
    return image.crop((left, top, left + side, top + side))
