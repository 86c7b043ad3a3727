"""Pictures by address: previews carry their map with them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from etl.images import open_image
from etl.seen import seen
from vacpanel import render, serving
from vacpanel.media import PREVIEW_SIDE, Media
from vacpanel.routes import ROUTES

RNG = np.random.default_rng(0)


@pytest.fixture
def opened(demo_warehouse):
    return serving.open_warehouse(demo_warehouse)


@pytest.mark.parametrize("shape", [(7, 7), (28, 28), (4, 9)])
@pytest.mark.parametrize("kind", ["overlay", "masked"])
def test_a_preview_is_painted_from_its_address_alone(opened, kind, shape):
    media = serving.media_of(opened)
    row, image = opened.model_row("demo:resnet18"), opened.image(3)
    attention = RNG.integers(0, 256, shape) / np.float32(255)  # what 8 bits hold exactly
    loaded = media.load(f"{kind}/{media.preview(3, row.key, attention)}/40")
    picture = seen(open_image(image.file), row.model, row.preprocess)
    assert loaded == ("image/jpeg", render.encode(getattr(render, kind)(picture, attention, 0.4), "JPEG"))


def test_an_address_stays_short_and_fits_the_route_whatever_the_map_and_the_key():
    name = Media.preview(123456, "timm-vit_base_patch16_224.augreg_in21k-0123456789ab", RNG.random((224, 224)))
    address = f"/vacpanel-media/0123456789ab/{24 * '0'}/overlay/{name}/50"
    assert re.fullmatch(ROUTES[0][0], address)
    assert len(address) < 4 * PREVIEW_SIDE**2 / 3 + 200
