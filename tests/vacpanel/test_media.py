"""Pictures by address: shared where they are the same, and previews carry their map with them."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from etl.images import open_image
from etl.seen import seen
from vacpanel import layers, render, serving
from vacpanel.media import PREVIEW_SIDE, Media
from vacpanel.routes import ROUTES
from warehouse import UserError

RNG = np.random.default_rng(0)


def _resource(address: str) -> str:
    return re.fullmatch(ROUTES[0][0], f"/{address}")[3]


@pytest.mark.parametrize("shape", [(7, 7), (28, 28), (4, 9)])
def test_a_preview_is_painted_from_its_address_alone(opened, shape):
    media = serving.media_of(opened)
    attention = RNG.integers(0, 256, shape) / np.float32(255)  # what 8 bits hold exactly
    name = media.preview(3, opened.model_row("demo:resnet18").key, attention)
    expected = render.encode(layers.layers(layers.at_size(attention, (192, 192))))
    assert media.load(_resource(media.layers(name))) == ("image/png", expected)


def test_models_that_see_the_same_share_one_picture(opened):
    media = serving.media_of(opened)
    addresses = {media.seen(3, opened.model_row(model).key) for model in map(str, opened.models()["model"])}
    (address,) = addresses
    mime, data = media.load(_resource(address))
    assert mime == "image/jpeg"
    row = opened.model_row("demo:resnet18")
    picture = layers.shown(seen(open_image(opened.image(3).file), row.model, row.preprocess))
    shown = Image.open(io.BytesIO(data))
    assert shown.size == picture.size
    assert np.abs(np.asarray(shown, dtype=float) - np.asarray(picture, dtype=float)).mean() < 4


def test_areas_are_counted_in_the_pixels_of_the_model(opened):
    attention = RNG.random((6, 6)).astype(np.float32)
    key = opened.model_row("demo:alexnet").key
    areas = serving.media_of(opened).areas(3, key, attention)
    assert areas == layers.areas(layers.at_size(attention, (96, 96)))
    assert areas[0] == 96 * 96


def test_an_address_stays_short_and_fits_the_route_whatever_the_map_and_the_key():
    name = Media.preview(123456, "timm-vit_base_patch16_224.augreg_in21k-0123456789ab", RNG.random((224, 224)))
    address = f"/vacpanel-media/0123456789ab/{24 * '0'}/layers/{name}/0"
    assert re.fullmatch(ROUTES[0][0], address)
    assert len(address) < 4 * PREVIEW_SIDE**2 / 3 + 200


@pytest.mark.parametrize("resource", ["overlay/abc/50", "layers/0123/0", "seen/nobody/1", "image/1/x", "../etc/1"])
def test_what_does_not_exist_is_said_to_be_missing(opened, resource):
    with pytest.raises(UserError):
        serving.media_of(opened).load(resource)


def test_without_routes_pictures_are_data_and_a_lost_one_is_nothing(opened, monkeypatch):
    monkeypatch.setattr("vacpanel.media._served", False)
    media = serving.media_of(opened)
    assert media.image(3).startswith("data:image/jpeg;base64,")
    assert media.image(10**6) == ""
    assert media.layers("0123") == ""
