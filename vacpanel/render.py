"""Maps made visible: heatmap with contour lines over a desaturated picture, and the picture masked to its ROI.

Paper section 4.3: contour lines add quantities to the heatmap, the threshold removes regions of little attention.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np
from bokeh.palettes import Inferno256
from contourpy import LineType, contour_generator
from PIL import Image, ImageDraw

from vacpanel.lettering import font, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVELS = (0.25, 0.5, 0.75)
SHORTEST_SIDE = 192  # px; smaller pictures are enlarged so that lines stay thin
DIM = 0.35  # how much colour is left where attention is below the threshold
LINE, SEAM = 1.25, 2.75  # px; widths of a contour line and of the dark seam below it
SMOOTH = 3  # lines are drawn so many times larger and reduced


@cache
def _lookup_table() -> np.ndarray:
    """Return Bokeh's Inferno (perceptually uniform) as (256, 3) uint8."""
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
    picture = _enlarged(picture)
    attention = upsample(attention, picture.size)
    gray = np.asarray(picture.convert("L"), dtype=np.float32)[..., None].repeat(3, axis=2)
    color = _lookup_table()[np.round(attention * 255).astype(np.uint8)].astype(np.float32)
    strength = np.where(attention >= threshold, 0.6, 0.6 * DIM)[..., None]
    base = np.where((attention >= threshold)[..., None], gray, gray * 0.75)
    return _with_contours(np.round(base * (1 - strength) + color * strength), contours(attention, levels))


def unexplained(picture: Image.Image, reason: str) -> Image.Image:
    """Return the faint picture with a reason written over it, for a map that shows nothing: no empty heatmap.

    Parameters
    ----------
    picture
        What the model saw.
    reason
        Why there is no map, in a few words.
    """
    picture = _enlarged(picture)
    image = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, "white"), 0.7)
    letters = font(max(13, picture.width // 16))
    place = (picture.width / 2, picture.height / 2)
    text = wrapped(reason, letters, picture.width - 16)
    ImageDraw.Draw(image).multiline_text(place, text, fill="black", font=letters, anchor="mm", align="center")
    return image


def masked(picture: Image.Image, attention: np.ndarray, threshold: float = 0.5) -> Image.Image:
    """Return the picture with everything below the threshold greyed out: the region of interest (paper section 4.5)."""
    picture = _enlarged(picture.convert("RGB"))
    inside = upsample(attention, picture.size) >= threshold
    return Image.fromarray(np.where(inside[..., None], np.asarray(picture), np.uint8(128)))


def contours(attention: np.ndarray, levels: Sequence[float] = LEVELS) -> list[tuple[float, np.ndarray]]:
    """Return the lines along which attention has the given levels.

    Parameters
    ----------
    attention
        (H, W), as `upsample` or `Explanation.attention` gives it.
    levels
        In [0, 1].

    Returns
    -------
    list of (float, numpy.ndarray)
        Level and points (n, 2) float64 of each line, x and y in px, whole numbers at the centres of pixels. A line
        that closes ends on its first point; others end at the border. `plot(*points.T)` draws one over `imshow`.
    """
    generator = contour_generator(z=attention, line_type=LineType.Separate)
    # contourpy's annotation is the union over all line types; Separate gives a list of (n, 2) arrays.
    return [(level, line) for level in levels for line in cast("list[np.ndarray]", generator.lines(level))]


def level_shade(level: float) -> int:
    """Return the grey, 0 to 255, in which the contour line of a level is drawn: the higher, the brighter."""
    return int(120 + 135 * level)


def _with_contours(pixels: np.ndarray, lines: Sequence[tuple[float, np.ndarray]]) -> Image.Image:
    """Draw contour lines, each in its shade, over a dark seam that keeps them visible on bright ground."""
    pixels = _with_lines(pixels, [points for _, points in lines], SEAM, 0, 0.45)
    for level in sorted({level for level, _ in lines}):
        pixels = _with_lines(pixels, [points for at, points in lines if at == level], LINE, level_shade(level), 1.0)
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def _with_lines(
    pixels: np.ndarray, lines: Sequence[np.ndarray], width: float, shade: int, strength: float
) -> np.ndarray:
    """Return float pixels (H, W, 3) with smooth lines of one grey on them."""
    mask = Image.new("L", (pixels.shape[1] * SMOOTH, pixels.shape[0] * SMOOTH))
    draw = ImageDraw.Draw(mask)
    for points in lines:
        fine = (points + 0.5) * SMOOTH - 0.5
        draw.line([(x, y) for x, y in fine.tolist()], fill=255, width=round(width * SMOOTH))
    cover = np.asarray(mask.reduce(SMOOTH), dtype=np.float32)[..., None] * (strength / 255)
    return pixels * (1 - cover) + shade * cover


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    """Return the image as PNG or JPEG bytes."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        image.convert("RGB").save(buffer, "JPEG", quality=88)
    else:
        image.save(buffer, kind, compress_level=3)
    return buffer.getvalue()


def _enlarged(picture: Image.Image) -> Image.Image:
    shortest = min(picture.size)
    if shortest >= SHORTEST_SIDE:
        return picture
    factor = -(-SHORTEST_SIDE // shortest)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
