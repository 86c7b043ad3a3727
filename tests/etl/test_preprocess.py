"""Preprocessing against torchvision's own transforms, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF
from torchvision.transforms._presets import ImageClassification

from etl.preprocess import CallablePreprocess, Preprocess, from_torchvision
from warehouse.errors import UserError

SIZES = [(500, 375), (375, 500), (333, 500), (256, 256), (224, 224), (97, 61), (61, 97), (20, 300), (300, 21), (1, 1)]


def picture(width, height):
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


PRESETS = {
    "resnet50": ImageClassification(crop_size=224, resize_size=232),
    "alexnet": ImageClassification(crop_size=224),
    "vit": ImageClassification(crop_size=96, resize_size=96, interpolation=InterpolationMode.BICUBIC),
    "padded": ImageClassification(crop_size=64, resize_size=31),
    "odd": ImageClassification(crop_size=51, resize_size=60, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.1)),
}


@pytest.mark.parametrize("size", [(400, 30), (30, 401), (301, 299), (90, 60), (3000, 1)])
@pytest.mark.parametrize("crop", [48, 51, 200])
def test_elongated_images_are_cropped_while_they_are_resized(size, crop, monkeypatch):
    """The same picture but for rounding, since Pillow computes the filter's weights from another corner."""
    image, preprocess = picture(*size), Preprocess(100, crop)
    whole = preprocess.pixels(image).int()
    monkeypatch.setattr("etl.geometry._MOST_PIXELS", 0)
    part = preprocess.pixels(image).int()
    assert part.shape == whole.shape
    assert (part - whole).abs().max() <= 2


def test_an_image_of_one_row_takes_little_memory():
    """Resized as a whole, 20,000 x 1 pixels would become 5,120,000 x 256."""
    image = Image.fromarray(np.full((1, 20_000, 3), 77, np.uint8))
    assert bool((Preprocess().pixels(image) == 77).all())


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", SIZES)
def test_equals_torchvision_presets(name, size):
    preset, image = PRESETS[name], picture(*size)
    ours = from_torchvision(preset)
    assert isinstance(ours, Preprocess)
    cropped = TF.center_crop(TF.resize(image, preset.resize_size, interpolation=preset.interpolation), preset.crop_size)
    pixels = ours.pixels(image)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, TF.pil_to_tensor(cropped))
    assert np.array_equal(np.asarray(ours.view(image)), np.asarray(cropped))
    batch = ours.batch(pixels[None])
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch[0], preset(image))


@pytest.mark.parametrize(
    "steps",
    [
        [T.Resize(40), T.CenterCrop(32)],
        [T.CenterCrop((48, 48))],
        [T.Resize(33, interpolation=InterpolationMode.LANCZOS)],
        [],
    ],
)
def test_equals_a_compose(steps):
    transform = T.Compose([*steps, T.ToTensor(), T.Normalize([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])])
    ours, image = from_torchvision(transform), picture(50, 41)
    assert isinstance(ours, Preprocess)
    assert torch.equal(ours.batch(ours.pixels(image)[None])[0], transform(image))


@pytest.mark.parametrize(
    "transform",
    [
        T.Compose([T.Resize((32, 48)), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)]),
        T.Compose([T.Resize(32), T.CenterCrop(32), T.ToTensor()]),
        T.Compose([T.Grayscale(3), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)]),
        lambda image: TF.to_tensor(image.resize((16, 16))),
    ],
)
def test_other_transforms_are_called_as_they_are(transform):
    ours, image = from_torchvision(transform), picture(50, 41)
    assert isinstance(ours, CallablePreprocess)
    assert torch.equal(ours.batch(ours.pixels(image)[None])[0], transform(image))
    assert ours.view(image).size == tuple(transform(image).shape[:0:-1])


def test_a_transform_that_returns_no_image_is_named():
    with pytest.raises(UserError, match=r"\(3, H, W\); it returned \(1, 41, 50\)"):
        CallablePreprocess(lambda image: TF.to_tensor(image)[:1]).pixels(picture(50, 41))
    with pytest.raises(UserError, match="it returned Image"):
        CallablePreprocess(lambda image: image).pixels(picture(50, 41))


def test_batch_leaves_the_pixels_alone():
    pixels = Preprocess(crop=8, resize=8).pixels(picture(20, 20))[None]
    before = pixels.clone()
    Preprocess(crop=8, resize=8).batch(pixels)
    assert torch.equal(pixels, before)


def test_fingerprints_tell_transforms_apart():
    assert Preprocess().fingerprint() == from_torchvision(PRESETS["alexnet"]).fingerprint()
    variants = [
        Preprocess(),
        Preprocess(resize=232),
        Preprocess(crop=256),
        Preprocess(interpolation="bicubic"),
        Preprocess(mean=(0.5, 0.5, 0.5)),
        CallablePreprocess(T.Compose([T.Grayscale(3), T.ToTensor()])),
        CallablePreprocess(T.Compose([T.Grayscale(3), T.RandomInvert(1.0), T.ToTensor()])),
    ]
    assert len({v.fingerprint() for v in variants}) == len(variants)


def test_fingerprints_do_not_depend_on_addresses():
    def make():
        return CallablePreprocess(lambda image: TF.to_tensor(image))

    assert make().fingerprint() == make().fingerprint()
