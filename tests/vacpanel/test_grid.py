"""Grids of pictures and texts as SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vacpanel.grid import Cell, Column, grid

SVG = "{http://www.w3.org/2000/svg}"


def _texts(drawing: str) -> list[str]:
    return [text.text for text in ET.fromstring(drawing).iter(f"{SVG}text")]


def test_what_is_given_stands_in_its_place():
    red = Image.new("RGB", (20, 10), "red")
    drawing = ET.fromstring(
        grid(
            "Title",
            [Column("Picture", 100), Column("Number", 60, numbers=True)],
            [[Cell("below", red), Cell("1.0", ground="#123456", ink="white")], [Cell("second"), Cell("2.0")]],
            "a note",
        )
    )
    assert [text.text for text in drawing.iter(f"{SVG}text")] == [
        *("Title", "Picture", "Number", "below", "1.0", "second", "2.0", "a note")
    ]
    [image] = drawing.iter(f"{SVG}image")
    assert (float(image.get("width")), float(image.get("height"))) == (100, 50)
    assert image.get("href").startswith("data:image/jpeg;base64,")
    tops = {text.text: float(text.get("y")) for text in drawing.iter(f"{SVG}text")}
    assert tops["below"] > float(image.get("y")) + 50
    assert tops["second"] == tops["2.0"] > tops["below"]
    assert tops["a note"] < float(drawing.get("height"))
    [ground] = [box for box in drawing.iter(f"{SVG}rect") if box.get("fill") == "#123456"]
    assert float(ground.get("y")) + float(ground.get("height")) < tops["second"]


def test_long_texts_are_broken_and_nothing_of_them_is_lost():
    name = "demo:" + "abcdefghij" * 8
    lines = _texts(grid("", [Column("", 80)], [[Cell(f"{name} and more")]]))
    assert len(lines) > 5
    assert "".join(lines).replace(" ", "") == f"{name}andmore"


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_text(text):
    drawing = grid(text, [Column(text, 120)], [[Cell(text)], [Cell("<img src=x onerror=alert(1)>")]], text)
    elements = {element.tag for element in ET.fromstring(drawing).iter()}
    assert elements == {f"{SVG}svg", f"{SVG}rect", f"{SVG}text"}


@pytest.mark.parametrize("text", ["\x00", "\x0b", "\ufffe"])
def test_what_xml_cannot_hold_is_marked(text):
    assert _texts(grid("", [Column("", 80)], [[Cell(f"a{text}b")]])) == ["a\ufffdb"]
