"""What is drawn of explanations for a file, read from the SVG."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from tests.vacpanel.rows import MODELS, a_row, finished
from vacpanel import layers, render
from vacpanel.state import Selection
from vacpanel.views.explanations import Explanations
from vacpanel.views.figures import NOTHING, matrix, shaded
from vacpanel.views.map_rows import key_of
from vacpanel.views.similarity import KNOWN

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def view(opened):
    return Explanations(opened, Selection(generation=opened.generation, model=MODELS[0]))


def _texts(drawing):
    return [text.text for text in ET.fromstring(drawing).iter(f"{SVG}text")]


def _pictures(drawing):
    found = [image.get("href").partition(",")[2] for image in ET.fromstring(drawing).iter(f"{SVG}image")]
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


def test_the_table_has_what_the_page_has_in_its_order(view, opened):
    rows = [
        finished(a_row(opened, image_id=7), flags=["stopped early"]),
        a_row(opened, image_id=8, status="failed", error="The file is gone."),
        a_row(opened, image_id=9),
    ]
    view.controller.rows = rows
    texts = _texts(view.svg())
    assert {"Picture", "Heatmap", "Region", "Colours", "Model", "Top-1", "Confidence", "ROI area"} <= set(texts)
    assert "gone." in " ".join(texts)
    assert "(stopped early)" in " ".join(texts)
    assert texts.count("✗ moon") == 3
    assert texts.count("50.0 %") == 3
    assert texts.count(NOTHING) == 2  # the area of what has no map
    size = view._media.seen_size(7, rows[0].facts["key"])
    area = np.mean(layers.at_size(rows[0].attention, size) >= view.state.threshold)
    assert f"{100 * area:.1f} %" in texts
    # Three pictures, and of the one finished row its heatmap, region and colours.
    pictures = _pictures(view.svg([key_of(row) for row in reversed(rows)]))
    assert len(pictures) == len(_pictures(view.svg())) == 6
    heatmap = render.overlay(view._media.picture(7, rows[0].facts["key"]), rows[0].attention)
    np.testing.assert_allclose(np.asarray(pictures[3]), np.asarray(heatmap), atol=80)
    assert np.abs(np.asarray(pictures[3], dtype=float) - np.asarray(heatmap)).mean() < 5
    # What the page does not show is not drawn.
    assert len(_pictures(view.svg([key_of(rows[2])]))) == 1


def test_before_a_task_the_images_and_the_examples_are_drawn(view):
    examples = len(view._examples.items)
    assert len(_pictures(view.svg())) == examples
    view.state.classes = [3]
    assert len(_pictures(view.svg())) == examples + 4
    assert sum("/" in text for text in _texts(view.svg())) >= 4  # the files' names


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known["name"])
def test_the_matrix_has_its_numbers_and_says_what_they_are(known):
    values = np.array([[1, 0.25, 0.5], [0.25, 1, 0.75], [0.5, 0.75, 1]])
    values = values if known["best"] else 1 - values
    drawing = matrix("Maps", ["a", "b", "c"], values, known, Image.new("RGB", (40, 40)))
    texts = _texts(drawing)
    assert [text for text in texts if "." in text][: values.size] == [f"{value:.3f}" for value in values.flat]
    assert known["says"] in " ".join(texts)
    assert len(_pictures(drawing)) == 1
    grounds = np.array(shaded(values, known["best"]))[..., 0]
    assert (grounds == grounds.T).all()
    assert len(set(np.diag(grounds))) == 1
    assert len(set(grounds[np.triu_indices(3)])) == 4
