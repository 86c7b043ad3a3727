"""What a pictogram is composed of: noise, distractors, the placed glyph, its colour and what covers it.

Only integer arithmetic, Pillow's fixed-point operations and the four basic floating-point operations are used, on
the raw stream of PCG64 (the one stream NumPy promises to keep), so that a drawing does not depend on the processor,
the operating system or the NumPy version.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from etl.demo.glyphs import GLYPH_CANVAS, GLYPH_EXTENT, glyph

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 96
"""Side of an image, in pixels."""

Colour = tuple[int, int, int]

_SUPERSAMPLING = 3
_LEAST_VISIBLE = 0.6


class Draws:
    """Random numbers that never change: the raw 64-bit stream of PCG64."""

    def __init__(self, *seed: int) -> None:
        self._source = np.random.PCG64(np.random.SeedSequence(seed))
        self._floats = iter((self._source.random_raw(192) >> np.uint64(11)).tolist())

    def uniform(self, low: float, high: float) -> float:
        """Draw a number in [low, high)."""
        return low + (high - low) * (next(self._floats) / 9007199254740992.0)

    def integer(self, low: int, high: int) -> int:
        """Draw an integer in [low, high]."""
        return low + next(self._floats) * (high - low + 1) // 9007199254740992

    def colour(self) -> Colour:
        """Draw a colour of moderate saturation: channels within 64 of a common level."""
        level = self.integer(40, 170)
        red, green, blue = (min(255, max(0, level + self.integer(-64, 64))) for _ in range(3))
        return red, green, blue

    def pixels(self, *shape: int) -> NDArray[np.uint8]:
        """Draw an array of bytes."""
        count = math.prod(shape)
        raw = self._source.random_raw(-(-count // 8)).astype("<u8")
        return raw.view(np.uint8)[:count].reshape(shape)


def noise(draws: Draws, base: Colour, octaves: int, amplitude: float) -> NDArray[np.uint8]:
    """Draw colour noise around a base: each octave has twice the frequency and 5/8 of the strength of the last."""
    total = np.empty((SIZE, SIZE, 3), np.int32)
    total[:] = np.array(base, np.int32) << 8
    grid, strength = 3, int(amplitude * 2)
    for _ in range(octaves):
        octave = Image.fromarray(draws.pixels(grid, grid, 3)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        total += (np.asarray(octave, np.int32) - 128) * strength
        grid, strength = grid * 2, strength * 5 // 8
    return np.clip(total >> 8, 0, 255).astype(np.uint8)


def scatter(scene: Image.Image, draws: Draws, count: int) -> None:
    """Draw distractors: half-transparent to opaque bars, discs, boxes, rings and triangles."""
    pen = ImageDraw.Draw(scene, "RGBA")
    for _ in range(count):
        x, y = draws.integer(-8, SIZE + 8), draws.integer(-8, SIZE + 8)
        w, h = draws.integer(3, 18), draws.integer(3, 18)
        fill = (*draws.colour(), draws.integer(96, 255))
        kind = draws.integer(0, 4)
        if kind == 0:
            pen.line((x - 2 * w, y - h, x + 2 * w, y + h), fill=fill, width=draws.integer(1, 5))
        elif kind == 1:
            pen.ellipse((x - w, y - h, x + w, y + h), fill=fill)
        elif kind == 2:
            pen.rectangle((x - w, y - h, x + w, y + h), fill=fill)
        elif kind == 3:
            pen.ellipse((x - w, y - w, x + w, y + w), outline=fill, width=draws.integer(1, 4))
        else:
            pen.polygon((x - w, y + h, x + w, y + h, x + draws.integer(-w, w), y - h), fill=fill)


def place(draws: Draws, class_id: int) -> Image.Image:
    """Return the glyph's coverage (mode "L", 96 x 96) after mirroring, stretching, tilting and moving it."""
    extent = draws.uniform(42.0, 76.0)
    stretch = draws.uniform(0.85, 1.15)
    # Tilt by the rational parametrisation of the circle: exact operations only; +-0.22 is +-25 degrees.
    t = draws.uniform(-0.22, 0.22)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    room = max(0.0, (SIZE - extent) / 2 - 2)
    x = SIZE / 2 + draws.uniform(-room, room)
    y = SIZE / 2 + draws.uniform(-room, room)
    mirror = -1.0 if draws.integer(0, 1) else 1.0
    scale = GLYPH_EXTENT / (extent * _SUPERSAMPLING)
    a, b = mirror * scale * stretch * cosine, mirror * scale * stretch * sine
    d, e = -scale / stretch * sine, scale / stretch * cosine
    x, y, middle = x * _SUPERSAMPLING, y * _SUPERSAMPLING, GLYPH_CANVAS / 2
    side = SIZE * _SUPERSAMPLING
    return (
        glyph(class_id)
        .transform(
            (side, side),
            Image.Transform.AFFINE,
            (a, b, middle - a * x - b * y, d, e, middle - d * x - e * y),
            Image.Resampling.NEAREST,
        )
        .reduce(_SUPERSAMPLING)
    )


def contrasting(draws: Draws, scene: Image.Image) -> Colour:
    """Draw a colour whose channels differ from the scene's mean by some amount, four times in five brighter."""
    red, green, blue = scene.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
    brighter = draws.integer(1, 5) > 1
    step = draws.integer(56, 150) * (1 if brighter else -1)
    r, g, b = (
        min(255, max(0, channel + step + draws.integer(-36, 36))) for channel in (int(red), int(green), int(blue))
    )
    return r, g, b


def cover(scene: Image.Image, draws: Draws, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cover part of the glyph in most images; returns what is covered, never so much that too little is left."""
    covered = np.zeros_like(mask)
    if draws.uniform(0.0, 1.0) < 0.4:
        return covered
    shape = Image.new("1", (SIZE, SIZE))
    pen = ImageDraw.Draw(shape)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x = draws.integer(int(columns[0]), int(columns[-1]))
    y = draws.integer(int(rows[0]), int(rows[-1]))
    w, h = draws.integer(4, 11), draws.integer(4, 11)
    kind = draws.integer(0, 2)
    if kind == 0:
        pen.ellipse((x - w, y - h, x + w, y + h), fill=1)
    elif kind == 1:
        pen.rectangle((x - w, y - h, x + w, y + h), fill=1)
    else:
        dx, dy = draws.integer(-SIZE, SIZE), draws.integer(-SIZE, SIZE)
        pen.line((x - dx, y - dy, x + dx, y + dy), fill=1, width=draws.integer(3, 9))
    colour = draws.colour()
    covered = np.asarray(shape)
    if (mask & ~covered).sum() < _LEAST_VISIBLE * mask.sum():
        return np.zeros_like(mask)
    scene.paste(colour, (0, 0), shape)
    return covered
