"""Small pictures for images that were never taken, so that thumbnails have something to show."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIDE = 192  # px of the longer side
MOST_LINKS = 60_000  # a file system has its limits


class Picture(NamedTuple):
    """What decoding a picture's file tells."""

    bytes: int
    width: int
    height: int
    sha256: str


def draw(folder: Path, paths: Sequence[str], count: int, seed: int) -> list[Picture]:
    """Write the first pictures, all different, and let the other paths lead to them in turn.

    Parameters
    ----------
    folder
        The image folder.
    paths
        Of all images, relative to it.
    count
        Pictures that are drawn.
    seed
        Same seed, same files.

    Returns
    -------
    list of Picture
        One a path.
    """
    if len(paths) > MOST_LINKS * count:
        raise ValueError(f"Draw a picture for every {MOST_LINKS:,} images at least.")
    rng = np.random.default_rng([seed, 4])
    drawn: list[Picture] = []
    for number, path in enumerate(paths):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if number < count:
            _picture(rng).save(file, "JPEG", quality=85)
            content = file.read_bytes()
            with Image.open(file) as image:
                drawn.append(Picture(len(content), *image.size, hashlib.sha256(content).hexdigest()))
        else:
            file.hardlink_to(folder / paths[number % count])
    return [drawn[number % count] for number in range(len(paths))]


def _picture(rng: np.random.Generator) -> Image.Image:
    """Draw a blurred background with some shapes on it."""
    size = (SIDE, int(rng.integers(SIDE // 2, SIDE)))
    background = Image.fromarray(rng.integers(40, 216, (4, 4, 3), dtype=np.uint8))
    image = background.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 4))):
        left, top = rng.random(2) * 0.6 * np.array(size)
        width, height = (0.15 + 0.3 * rng.random(2)) * np.array(size)
        shape = (pen.ellipse, pen.rectangle)[int(rng.integers(2))]
        shape((left, top, left + width, top + height), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image
