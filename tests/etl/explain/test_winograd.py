"""Winograd's convolutions against the direct one in float64."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional as F

from etl.explain import winograd
from etl.explain.loops import load
from etl.explain.merging import Merging, Plan
from etl.explain.packed import Geometry, Packed, can_pack
from etl.explain.winograd import Winograd, suits

RELU = (0.0, math.inf)


def _geometry(padding=(1, 1), stride=(1, 1), dilation=(1, 1), groups=1):
    return Geometry(stride, padding, dilation, groups)


def _last(tensor):
    return tensor.to(memory_format=torch.channels_last)


def _case(batch=2, channels=64, filters=128, size=(14, 14), seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = _last(torch.randn(batch, channels, *size, generator=generator))
    weight = _last(torch.randn(filters, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5)
    return images, weight, torch.randn(filters, generator=generator)


def _error(found, expected):
    return float((found.double() - expected).abs().max() / expected.std())


@pytest.mark.parametrize("size", [(14, 14), (7, 7), (8, 12), (5, 9), (4, 4), (3, 3), (56, 56)])
@pytest.mark.parametrize("padding", [(1, 1), (0, 0), (2, 0)])
def test_equal_to_the_direct_convolution(size, padding):
    images, weight, bias = _case(size=size)
    expected = F.conv2d(images.double(), weight.double(), bias.double(), padding=padding)
    found = Winograd(weight, bias, _geometry(padding), images.shape)(images, None, None, into=False)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert _error(found, expected) < 2e-5


@pytest.mark.parametrize(("channels", "filters"), [(128, 32), (64, 96)])
def test_of_other_numbers_of_channels(channels, filters):
    images, weight, bias = _case(3, channels, filters)
    expected = F.conv2d(images.double(), weight.double(), bias.double(), padding=1)
    found = Winograd(weight, bias, _geometry(), images.shape)(images, None, None, into=False)
    assert _error(found, expected) < 2e-5


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 30)])
def test_of_images_smaller_than_the_kernel(size):
    images, weight, bias = _case(size=size)
    expected = F.conv2d(images.double(), weight.double(), bias.double(), padding=1)
    found = Winograd(weight, bias, _geometry(), images.shape)(images, None, None, into=False)
    assert _error(found, expected) < 2e-5


def test_loses_few_digits_more_than_the_direct_convolution():
    images, weight, bias = _case(4, 256, 256)
    expected = F.conv2d(images.double(), weight.double(), bias.double(), padding=1)
    direct = Packed(weight, bias, _geometry(), images.shape)(images, None, None, into=False)
    found = Winograd(weight, bias, _geometry(), images.shape)(images, None, None, into=False)
    assert _error(found, expected) < 3 * _error(direct, expected)


@pytest.mark.parametrize("bounds", [None, RELU, (0.0, 6.0), (-0.5, 0.25)])
@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("kind", [Winograd, Packed])
def test_adds_and_clamps_as_the_packed_convolution_does(kind, into, bounds):
    images, weight, bias = _case()
    other = _last(torch.randn(2, 128, 14, 14))
    before = other.clone()
    expected = F.conv2d(images, weight, bias, padding=1) + before
    expected = expected if bounds is None else expected.clamp(*bounds)
    found = kind(weight, bias, _geometry(), images.shape)(images, other, bounds, into=into)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    assert (found is other) == into
    assert torch.equal(other, found if into else before)
    alone = kind(weight, None, _geometry(), images.shape)(images, None, bounds, into=False)
    plain = F.conv2d(images, weight, padding=1)
    torch.testing.assert_close(alone, plain if bounds is None else plain.clamp(*bounds), rtol=0, atol=2e-5)


@pytest.mark.parametrize("near", [1, 100 << 10, 1 << 30])
def test_parts_make_the_whole(monkeypatch, near):
    images, weight, bias = _case(3, size=(13, 9))
    whole = Winograd(weight, bias, _geometry(), images.shape)(images, None, RELU, into=False)
    monkeypatch.setattr(winograd, "_NEAR", near)
    parts = Winograd(weight, bias, _geometry(), images.shape)
    torch.testing.assert_close(parts(images, None, RELU, into=False), whole, rtol=0, atol=1e-6)


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="needs a processor that multiplies bfloat16 by oneDNN")
@pytest.mark.parametrize("into", [False, True])
def test_in_bfloat16(into):
    images, weight, bias = (tensor.bfloat16() for tensor in _case(3, size=(13, 14)))
    other = _last(torch.randn(3, 128, 13, 14)).bfloat16()
    expected = (F.conv2d(images.double(), weight.double(), bias.double(), padding=1) + other).relu()
    found = Winograd(weight, bias, _geometry(), images.shape)(images, other, RELU, into=into)
    assert found.dtype == torch.bfloat16
    assert float((found - expected).pow(2).mean().sqrt() / expected.std()) < 0.02  # the direct one: 0.003


def test_another_number_of_images_than_at_first():
    images, weight, bias = _case(7)
    convolution = Winograd(weight, bias, _geometry(), images[:2].shape)
    expected = F.conv2d(images.double(), weight.double(), bias.double(), padding=1)
    for part in (images[:1], images, images[:3]):
        assert _error(convolution(part, None, None, into=False), expected[: len(part)]) < 2e-5


def test_what_is_not_a_number_stays_so():
    images, weight, bias = _case(1)
    images[0, 0, 5, 5] = torch.nan
    found = Winograd(weight, bias, _geometry(), images.shape)(images, None, RELU, into=False)
    assert found[0, :, 4:7, 4:7].isnan().all()
    assert found[0, :, :, 12:].isfinite().all()


def test_several_threads_at_once():
    cases = [_case(2, seed=seed) for seed in range(4)]

    def run(case):
        images, weight, bias = case
        convolution = Winograd(weight, bias, _geometry(), images.shape)
        return [convolution(images, None, None, into=False) for _ in range(10)]

    alone = [run(case)[0] for case in cases]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(run, cases), alone, strict=True):
            assert all(torch.equal(one, expected) for one in found)


def test_is_chosen_where_it_can_be_and_is_faster():
    images, weight, _ = _case(8, 128, 128, (28, 28))
    assert suits(images, weight, _geometry())
    assert not suits(images[:1, :, :9, :9], weight, _geometry())  # so little that reading the weights takes longer
    assert not suits(images.repeat(9, 1, 1, 1)[:, :, :5, :5], weight, _geometry())  # most of the tiles is outside
    assert suits(images.bfloat16(), weight.bfloat16(), _geometry())
    few = images.repeat(2, 1, 1, 1), weight[:32]
    assert suits(*few, _geometry())
    assert not suits(*(tensor.bfloat16() for tensor in few), _geometry())  # products take half the time, transforms not
    assert not suits(images.double(), weight.double(), _geometry())
    assert not suits(images, weight, _geometry(stride=(2, 2)))
    assert not suits(images, weight, _geometry(dilation=(2, 2)))
    assert not suits(images, weight[:, :64], _geometry(groups=2))
    assert not suits(images, weight[:100], _geometry())
    assert not suits(images[:, :96], weight[:, :96], _geometry())
    assert not suits(images, weight[:, :, :1, :1], _geometry(padding=(0, 0)))


def test_without_a_compiler_the_direct_convolution_serves(monkeypatch, caplog):
    images, weight, bias = _case(8, 128, 128, (28, 28))
    model = torch.nn.Conv2d(128, 128, 3, padding=1)
    model.weight, model.bias = (torch.nn.Parameter(t, requires_grad=False) for t in (weight, bias))
    expected = model(images)

    def chosen():
        merging = Merging(model, Plan({}))
        with merging.doing():
            found = model(images)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
        return {type(convolution) for convolution in merging._convolutions.values()}

    assert chosen() == {Winograd}
    load.cache_clear()
    monkeypatch.setitem(sys.modules, "etl.explain.loops.winograd", None)
    try:
        assert chosen() == {Packed}
        assert "take longer than they could" in caplog.text
    finally:
        load.cache_clear()
