from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from etl.demo import glyphs
from etl.demo.glyphs import CLASSES, GLYPH_CANVAS, GLYPH_EXTENT, ROOT_CLASSES


def test_there_are_eight_classes_in_each_of_eight_roots() -> None:
    assert ROOT_CLASSES == ("animal", "plant", "food", "vehicle", "building", "clothing", "tool", "nature")
    assert [c.class_id for c in CLASSES] == list(range(64))
    assert Counter(c.root_class for c in CLASSES) == dict.fromkeys(ROOT_CLASSES, 8)
    assert len({c.class_name for c in CLASSES}) == len({c.glyph for c in CLASSES}) == 64


def test_names_are_plain_words_that_can_name_a_folder() -> None:
    for known in CLASSES:
        assert known.class_name.replace(" ", "").isalpha()
        assert known.class_name == known.class_name.lower().strip()


def test_every_glyph_is_in_the_font() -> None:
    font = ImageFont.truetype(str(glyphs.font_path()), 64, layout_engine=ImageFont.Layout.BASIC)

    def drawn(character: str) -> bytes:
        image = Image.new("L", (128, 128))
        ImageDraw.Draw(image).text((16, 16), character, fill=255, font=font)
        return image.tobytes()

    missing = drawn("\U0010fffe")
    for known in CLASSES:
        assert drawn(known.glyph) != missing, known.class_name


@pytest.mark.parametrize("known", CLASSES, ids=lambda c: c.class_name)
def test_a_glyph_is_centred_whole_and_of_the_stated_size(known: glyphs.DemoClass) -> None:
    left, top, right, bottom = glyphs.glyph(known.class_id).getbbox()
    assert abs(left + right - GLYPH_CANVAS) <= 8
    assert abs(top + bottom - GLYPH_CANVAS) <= 8
    assert min(left, top) > 0
    assert max(right, bottom) < GLYPH_CANVAS
    assert 140 <= max(right - left, bottom - top) <= GLYPH_EXTENT + 2


def test_no_two_glyphs_look_the_same() -> None:
    pictures = np.stack([np.asarray(glyphs.glyph(c.class_id), np.float32).ravel() / 255 for c in CLASSES])
    difference = np.abs(pictures[:, None, ::16] - pictures[None, :, ::16]).mean(axis=2)
    assert difference[~np.eye(64, dtype=bool)].min() > 0.03


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"fontawesomefree.*pip install 'vacpanel\[demo\]'"):
        glyphs.font_path()
