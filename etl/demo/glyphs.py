"""The demo's 64 classes and the Font Awesome glyph that draws each of them.

Eight root classes of eight leaf classes. The glyphs are the solid icons of Font Awesome Free (icons CC BY 4.0, font
SIL OFL 1.1, https://fontawesome.com), read from the PyPI package ``fontawesomefree``; none is copied into this project.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

GLYPH_CANVAS = 192
"""Side of the square on which :func:`glyph` draws, in pixels."""

GLYPH_EXTENT = 160
"""Nominal length of the drawn glyph's longer side on that square, in pixels."""

_FONT_IN_PACKAGE = "static/fontawesomefree/webfonts/fa-solid-900.ttf"


class DemoClass(NamedTuple):
    """One class of the demo."""

    class_id: int
    class_name: str
    root_class: str
    glyph: str
    """The character to draw, a code point of ``fa-solid-900.ttf``."""


_ROOTS: dict[str, tuple[tuple[str, int], ...]] = {
    "animal": (
        ("cat", 0xF6BE),
        ("dog", 0xF6D3),
        ("horse", 0xF6F0),
        ("fish", 0xF578),
        ("frog", 0xF52E),
        ("shrimp", 0xE448),
        ("dove", 0xF4BA),
        ("hippo", 0xF6ED),
    ),
    "plant": (
        ("tree", 0xF1BB),
        ("seedling", 0xF4D8),
        ("clover", 0xE139),
        ("hemp", 0xF55F),
        ("leaf", 0xF06C),
        ("wheat", 0xE2CD),
        ("lotus", 0xF5BB),
        ("holly", 0xF7AA),
    ),
    "food": (
        ("apple", 0xF5D1),
        ("carrot", 0xF787),
        ("pepper", 0xF816),
        ("pizza", 0xF818),
        ("burger", 0xF805),
        ("hot dog", 0xF80F),
        ("ice cream", 0xF810),
        ("cheese", 0xF7EF),
    ),
    "vehicle": (
        ("car", 0xF1B9),
        ("truck", 0xF0D1),
        ("bus", 0xF207),
        ("train", 0xF238),
        ("bicycle", 0xF206),
        ("motorcycle", 0xF21C),
        ("plane", 0xF072),
        ("ship", 0xF21A),
    ),
    "building": (
        ("house", 0xF015),
        ("church", 0xF51D),
        ("mosque", 0xF678),
        ("school", 0xF549),
        ("museum", 0xF66F),
        ("igloo", 0xF7AE),
        ("tent", 0xE57D),
        ("torii gate", 0xF6A1),
    ),
    "clothing": (
        ("shirt", 0xF553),
        ("socks", 0xF696),
        ("cowboy hat", 0xF8C0),
        ("wizard hat", 0xF6E8),
        ("mitten", 0xF7B5),
        ("vest", 0xE085),
        ("glasses", 0xF530),
        ("hard hat", 0xF807),
    ),
    "tool": (
        ("hammer", 0xF6E3),
        ("wrench", 0xF0AD),
        ("screwdriver", 0xF54A),
        ("paintbrush", 0xF1FC),
        ("scissors", 0xF0C4),
        ("broom", 0xF51A),
        ("trowel", 0xE589),
        ("ruler", 0xF545),
    ),
    "nature": (
        ("sun", 0xF185),
        ("moon", 0xF186),
        ("cloud", 0xF0C2),
        ("snowflake", 0xF2DC),
        ("mountain", 0xF6FC),
        ("fire", 0xF06D),
        ("lightning", 0xF0E7),
        ("volcano", 0xF770),
    ),
}

ROOT_CLASSES: tuple[str, ...] = tuple(_ROOTS)
"""The eight root classes, in class-id order."""

CLASSES: tuple[DemoClass, ...] = tuple(
    DemoClass(8 * r + i, name, root, chr(codepoint))
    for r, (root, leaves) in enumerate(_ROOTS.items())
    for i, (name, codepoint) in enumerate(leaves)
)
"""The 64 classes; ``CLASSES[i].class_id == i``."""


def font_path() -> Path:
    """Find ``fa-solid-900.ttf`` in the installed ``fontawesomefree`` package.

    Raises
    ------
    ImportError
        If the package is not installed, or does not hold the font.
    """
    spec = find_spec("fontawesomefree")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / _FONT_IN_PACKAGE
        if path.is_file():
            return path
    raise ImportError(
        "The demo draws its images with the font of the package fontawesomefree, which is not installed; "
        "run: pip install 'vacpanel[demo]'",
        name="fontawesomefree",
    )


@cache
def glyph(class_id: int) -> Image.Image:
    """Draw the glyph of a class, upright and centred.

    Parameters
    ----------
    class_id
        In ``range(64)``.

    Returns
    -------
    PIL.Image.Image
        Mode ``"L"``, ``GLYPH_CANVAS`` squared, 255 on the glyph; its longer side measures 140 to 162 pixels,
        as some glyphs do not fill their cell of the font. Shared between callers: do not draw on it.
    """
    path, character = str(font_path()), CLASSES[class_id].glyph
    probe = _font(path, GLYPH_EXTENT).getbbox(character)
    longer = max(probe[2] - probe[0], probe[3] - probe[1])
    font = _font(path, GLYPH_EXTENT * GLYPH_EXTENT // int(longer))
    left, top, right, bottom = (int(v) for v in font.getbbox(character))
    image = Image.new("L", (GLYPH_CANVAS, GLYPH_CANVAS))
    corner = ((GLYPH_CANVAS - left - right) // 2, (GLYPH_CANVAS - top - bottom) // 2)
    ImageDraw.Draw(image).text(corner, character, fill=255, font=font)
    return image


@lru_cache(maxsize=128)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout engine is part of Pillow; the other one depends on a system library.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
