"""A colour-intensity histogram as a picture and as a table (paper, section 4.5)."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from vacpanel.lettering import font

if TYPE_CHECKING:
    from pathlib import Path

    from etl.explain.histogram import ColourHistogram

CHANNELS = ("red", "green", "blue")
SHADES = ((230, 20, 20), (20, 150, 20), (20, 60, 240))
SIZE = (480, 240)  # px
PLOT = (56, 34, 464, 204)  # px; left, top, right, bottom
FINE = 3  # drawn so many times larger and reduced
INK = (70, 70, 70)


def histogram_chart(histogram: ColourHistogram, title: str) -> Image.Image:
    """Draw the histogram of each channel: intensity to the right, share of the region's pixels upwards.

    Parameters
    ----------
    histogram
        Of the pixels in a region of interest; of at least one.
    title
        Written above.
    """
    shares = histogram.counts / max(histogram.pixels, 1)
    top = float(shares.max()) or 1.0
    image = Image.new("RGB", (SIZE[0] * FINE, SIZE[1] * FINE), "white")
    for share, shade in zip(shares, SHADES, strict=True):
        outline = _steps(histogram.edges, share / top)
        layer = Image.new("RGB", image.size, "white")
        draw = ImageDraw.Draw(layer)
        draw.polygon(outline, fill=tuple(round(0.3 * c + 0.7 * 255) for c in shade))
        draw.line(outline[1:-1], fill=shade, width=round(1.5 * FINE))
        # Multiplied, areas that overlap keep both of their colours.
        image = ImageChops.multiply(image, layer)
    image = image.reduce(FINE)
    _label(ImageDraw.Draw(image), title, top)
    return image


def write_histogram(histogram: ColourHistogram, file: Path) -> None:
    """Write a CSV file: intensities from (inclusive) and to (exclusive), and the pixels of each channel in between."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(["from", "to", *CHANNELS])
        edges = histogram.edges.tolist()
        table.writerows(zip(edges[:-1], edges[1:], *histogram.counts.tolist(), strict=True))


def _steps(edges: np.ndarray, heights: np.ndarray) -> list[tuple[float, float]]:
    """Return the outline of bars with heights in [0, 1], from the lower left corner to the lower right one."""
    left, top, right, bottom = PLOT
    x = left + np.repeat(edges, 2) / edges[-1] * (right - left)
    y = bottom - np.concatenate([[0], np.repeat(heights, 2), [0]]) * (bottom - top)
    return [(float(a) * FINE, float(b) * FINE) for a, b in zip(x, y, strict=True)]


def _label(draw: ImageDraw.ImageDraw, title: str, top_share: float) -> None:
    left, top, right, bottom = PLOT
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=INK)
    draw.text((left, 8), title, fill="black", font=font(13))
    for intensity in (0, 64, 128, 192, 255):
        x = left + intensity / 256 * (right - left)
        draw.line([(x, bottom), (x, bottom + 4)], fill=INK)
        draw.text((x, bottom + 6), str(intensity), fill=INK, font=font(11), anchor="mt")
    draw.text(((left + right) / 2, bottom + 20), "intensity", fill=INK, font=font(11), anchor="mt")
    for share, y in ((top_share, top), (0.0, bottom)):
        draw.text((left - 6, y), f"{share:.1%}" if share else "0", fill=INK, font=font(11), anchor="rm")
