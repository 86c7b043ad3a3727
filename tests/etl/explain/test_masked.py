"""The first convolution under masks against the convolution of masked images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from etl.explain import masked as masked_module
from etl.explain.masked import MaskedConvolution, MaskedImages
from etl.explain.merging import Merging, Plan
from etl.explain.packed import Geometry
from etl.explain.prepared import PreparedModel

IMAGE = torch.randn(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))


def _case(kernel=(7, 7), stride=(2, 2), padding=(3, 3), filters=32, size=(5, 7), groups=1, dilation=(1, 1)):
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(4, *size, generator=generator)
    weight = torch.randn(filters, 3 // groups, *kernel, generator=generator) / 12
    geometry = Geometry(stride, padding, dilation, groups)
    return MaskedImages(IMAGE, size), masks, weight, torch.randn(filters, generator=generator), geometry


CASES = [
    {},
    {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "filters": 64},
    {"kernel": (11, 11), "stride": (4, 4), "padding": (2, 2)},
    {"kernel": (4, 4), "stride": (4, 4), "padding": (0, 0)},
    {"kernel": (3, 5), "stride": (2, 1), "padding": (0, 2)},
    {"size": (3, 3)},
    {"size": (6, 9)},
]


def test_the_images_are_those_under_the_upsampled_maps():
    masked, masks, *_ = _case()
    large = torch.stack(
        [F.interpolate(mask[None, None], size=(64, 80), mode="bilinear", align_corners=False)[0, 0] for mask in masks]
    )
    torch.testing.assert_close(masked.images(masks), IMAGE * large[:, None])


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("bounds", [None, (0.0, math.inf), (0.0, 0.5)])
def test_equal_to_the_convolution_of_the_images(case, bounds):
    masked, masks, weight, bias, geometry = _case(**case)
    assert masked.can_convolve(weight, geometry)
    images = masked.images(masks).double()
    expected = F.conv2d(images, weight.double(), bias.double(), geometry.stride, geometry.padding)
    expected = expected if bounds is None else expected.clamp(*bounds)
    nothing = torch.empty(0)
    for part in (masks[:3], masks[3:], masks):
        convolution = MaskedConvolution(masked, part, weight, bias, geometry)
        found = convolution(nothing, None, bounds, into=False)
        assert found.shape == (len(part), *expected.shape[1:])
        assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-6)
    lower = MaskedConvolution(masked, masks, weight.bfloat16(), None, geometry)(nothing, None, bounds, into=False)
    assert lower.dtype == torch.bfloat16


def test_in_bfloat16():
    masked, masks, weight, bias, geometry = _case()
    weight, bias = weight.bfloat16(), bias.bfloat16()
    expected = F.conv2d(masked.images(masks), weight.float(), bias.float(), geometry.stride, geometry.padding)
    found = MaskedConvolution(masked, masks, weight, bias, geometry)(torch.empty(0), None, None, into=False)
    assert float((found - expected).pow(2).mean().sqrt() / expected.std()) < 0.01


@pytest.mark.parametrize(
    "case",
    [
        {"size": (30, 7)},  # a window meets more than three positions
        {"size": (2, 7)},
        {"filters": 48},
        {"groups": 3, "filters": 96},
        {"dilation": (2, 2)},
    ],
    ids=str,
)
def test_others_are_left_to_the_images(case):
    masked, _, weight, _, geometry = _case(**case)
    assert not masked.can_convolve(weight, geometry)


def test_large_results_are_left_to_the_images(monkeypatch):
    masked, _, weight, _, geometry = _case()
    monkeypatch.setattr(masked_module, "_PLANES", 9 * 4 * 32 * 32 * 40 - 1)
    assert not masked.can_convolve(weight, geometry)
    assert not MaskedImages(IMAGE.double(), (5, 7)).can_convolve(weight, geometry)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 32, 7, stride=2, padding=3)
        self.head = nn.Linear(32, 5)
        self.eval()

    def forward(self, x):
        return self.head(F.relu(self.first(x), inplace=True).mean((2, 3)))


class Normalised(Net):
    def forward(self, x):
        return super().forward(x.sub_(0.1))


class ReadTwice(Net):
    def forward(self, x):
        return super().forward(x) + x.mean((1, 2, 3))[:, None]


class AfterSomethingElse(Net):
    def forward(self, x):
        self.head.weight.norm()
        return super().forward(x)


class OfSameSize(Net):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 7, padding="same")


class ItsScoresAreTheFirstResults(Net):
    def forward(self, x):
        return self.first(x).flatten(1)


@pytest.mark.parametrize(
    ("kind", "is_quick"),
    [
        (Net, True),
        (Normalised, False),
        (ReadTwice, False),
        (AfterSomethingElse, False),
        (OfSameSize, False),
        (ItsScoresAreTheFirstResults, True),
    ],
)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_scores_are_those_of_the_images(monkeypatch, kind, is_quick, dtype):
    model = kind()
    prepared = PreparedModel(model, IMAGE, "first", channels_last=True, fold=True)
    _, masks, *_ = _case()
    masked = MaskedImages(prepared.images(IMAGE), masks.shape[1:])
    made = []
    monkeypatch.setattr(masked, "images", lambda masks: made.append(len(masks)) or MaskedImages.images(masked, masks))
    with prepared.session():
        before = prepared.forwards
        found = [prepared.masked_scores(masked, part, dtype) for part in (masks, masks[:1])]
        assert prepared.forwards == before + 5
        assert made == [] if is_quick else [4, 1]
        expected = prepared.scores(prepared.images(MaskedImages.images(masked, masks)))
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype is None else {"rtol": 0.05, "atol": 0.03}
    torch.testing.assert_close(found[0], expected, **tolerance)  # though the other pass came after it
    torch.testing.assert_close(found[1], expected[:1], **tolerance)


def test_an_image_that_is_not_expected_is_made():
    model = Net().to(memory_format=torch.channels_last).requires_grad_(requires_grad=False)
    masked, masks, *_ = _case()
    merging = Merging(model, Plan({}, first=None))
    with merging.doing(masked, masks) as images:
        found = model(images)
    torch.testing.assert_close(found, model(masked.images(masks)))
