"""Text on pictures: the font that comes with Pillow, and lines that fit."""

from __future__ import annotations

from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def font(size: int) -> Font:
    """Return Pillow's own font at `size` px; the same on every machine."""
    return ImageFont.load_default(size)


def wrapped(text: str, font: Font, width: int) -> str:
    """Break a text into lines of at most `width` px; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)
