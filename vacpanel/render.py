"""Maps made visible: heatmap with contour lines over a desaturated picture, and the picture masked to its ROI.

Paper section 4.3: contour lines add quantities to the heatmap, the threshold removes regions of little attention.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.palettes import Inferno256
from PIL import Image, ImageDraw

from vacpanel.lettering import font, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVELS = (0.25, 0.5, 0.75)
SHORTEST_SIDE = 192  # px; smaller pictures are enlarged so that lines stay thin
COLOR = 0.6  # share of the heatmap's colour over the picture
DIM = 0.35  # how much of that is left where attention is below the threshold
SHADOW = 0.75  # how bright the picture is there
OUTSIDE = 128  # grey of what is outside the region of interest
LINE, SEAM = 1.25, 2.75  # px; widths of a contour line and of the dark seam below it
SEAM_STRENGTH = 0.45
FLAT = 1e-4  # attention a px; where it changes less there is no line, whatever its level


@cache
def color_scale() -> np.ndarray:
    """Return the colours of attention 0 to 1, Bokeh's Inferno (perceptually uniform): (256, 3) uint8."""
    return np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in Inferno256], dtype=np.uint8)


def upsample(attention: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the map at picture size, bilinear with ``align_corners=False``, clipped to [0, 1].

    Parameters
    ----------
    attention
        (h, w) float map in [0, 1], as the explanation layer gives it.
    size
        (width, height) of the picture in px.

    Returns
    -------
    numpy.ndarray
        (height, width) float32.
    """
    image = Image.fromarray(np.ascontiguousarray(attention, dtype=np.float32), mode=None)
    if size[0] >= image.width and size[1] >= image.height:
        image = image.resize(size, Image.Resampling.BILINEAR)
    else:  # never blur a map that is larger than the picture
        image = image.resize(size, Image.Resampling.BOX)
    return np.clip(np.asarray(image), 0.0, 1.0)


def overlay(
    picture: Image.Image, attention: np.ndarray, threshold: float = 0.5, levels: Sequence[float] = LEVELS
) -> Image.Image:
    """Return the heatmap over the desaturated picture, with contour lines.

    Parameters
    ----------
    picture
        What the model saw, RGB.
    attention
        (h, w) map in [0, 1].
    threshold
        Attention below it is dimmed.
    levels
        Where contour lines run.
    """
    picture = enlarged(picture)
    attention = upsample(attention, picture.size)
    inside = (attention >= threshold)[..., None]
    gray = np.asarray(picture.convert("L"), dtype=np.float32)[..., None].repeat(3, axis=2)
    color = color_scale()[np.round(attention * 255).astype(np.uint8)].astype(np.float32)
    strength = np.where(inside, COLOR, COLOR * DIM)
    pixels = np.round(np.where(inside, gray, gray * SHADOW) * (1 - strength) + color * strength)
    keep, add = line_layer(attention, levels)
    return Image.fromarray(np.round(pixels * keep[..., None] + add[..., None]).astype(np.uint8))


def unexplained(picture: Image.Image, reason: str) -> Image.Image:
    """Return the faint picture with a reason written over it, for a map that shows nothing: no empty heatmap.

    Parameters
    ----------
    picture
        What the model saw.
    reason
        Why there is no map, in a few words.
    """
    picture = enlarged(picture)
    image = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, "white"), 0.7)
    letters = font(max(13, picture.width // 16))
    place = (picture.width / 2, picture.height / 2)
    text = wrapped(reason, letters, picture.width - 16)
    ImageDraw.Draw(image).multiline_text(place, text, fill="black", font=letters, anchor="mm", align="center")
    return image


def masked(picture: Image.Image, attention: np.ndarray, threshold: float = 0.5) -> Image.Image:
    """Return the picture with everything below the threshold greyed out: the region of interest (paper section 4.5)."""
    picture = enlarged(picture.convert("RGB"))
    inside = upsample(attention, picture.size) >= threshold
    return Image.fromarray(np.where(inside[..., None], np.asarray(picture), np.uint8(OUTSIDE)))


def level_shade(level: float) -> int:
    """Return the grey, 0 to 255, in which the contour line of a level is drawn: the higher, the brighter."""
    return int(120 + 135 * level)


def line_layer(attention: np.ndarray, levels: Sequence[float] = LEVELS) -> tuple[np.ndarray, np.ndarray]:
    """Return what contour lines do to the picture below: ``pixel * keep + add``.

    Each line has its shade over a dark seam that keeps it visible on bright ground. How far a pixel is from a line
    follows from its attention and the slope there (as in shaders): the cost does not depend on how the lines wind,
    which they do without end in the maps of methods that score single pixels.

    Parameters
    ----------
    attention
        (H, W) float in [0, 1].
    levels
        Where lines run.

    Returns
    -------
    keep, add
        (H, W) float32 each: in [0, 1], and in [0, 255].
    """
    attention = np.asarray(attention, dtype=np.float32)
    keep, add = np.ones_like(attention), np.zeros_like(attention)
    if not len(levels):
        return keep, add
    slope = np.hypot(*np.gradient(attention))
    slope[slope < FLAT] = np.nan
    distances = {level: np.nan_to_num(np.abs(attention - level) / slope, nan=np.inf) for level in sorted(levels)}
    keep -= SEAM_STRENGTH * _cover(np.min(list(distances.values()), axis=0), SEAM)
    for level, distance in distances.items():
        cover = _cover(distance, LINE)
        keep *= 1 - cover
        add = add * (1 - cover) + level_shade(level) * cover
    return keep, add


def _cover(distance: np.ndarray, width: float) -> np.ndarray:
    """Return how much of each pixel a line of this width covers, by the pixel's distance from its middle."""
    return np.clip(width / 2 + 0.5 - distance, 0.0, 1.0)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the image as PNG or JPEG bytes; options are Pillow's."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        image.convert("RGB").save(buffer, "JPEG", **({"quality": 88} | options))
    else:
        image.save(buffer, kind, **({"compress_level": 3} | options))
    return buffer.getvalue()


def enlarged(picture: Image.Image) -> Image.Image:
    """Return the picture, so many times larger that its shortest side has `SHORTEST_SIDE` px at least."""
    size = enlarged_size(picture.size)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC)


def enlarged_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of an `enlarged` picture, in px."""
    factor = max(1, -(-SHORTEST_SIDE // min(size)))
    return size[0] * factor, size[1] * factor
