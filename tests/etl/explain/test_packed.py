"""Weights that are packed once, in the order that oneDNN prefers for the images."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from etl.explain import merging
from etl.explain.merging import Merging, Plan
from etl.explain.packed import Geometry, Packed, can_pack

POINTWISE = Geometry((1, 1), (0, 0), (1, 1), 1)


def _last(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).contiguous(
        memory_format=torch.channels_last
    )


def _order(packed):
    return torch.ops.mkldnn._get_mkldnn_serialized_md(packed).tolist()


@pytest.mark.parametrize("batches", [(1, 8, 3), (8, 1, 8)])
def test_each_number_of_images_gets_the_order_that_it_prefers(batches):
    weight = _last(1024, 256, 1, 1, seed=1)
    convolution = Packed(weight, None, POINTWISE, torch.Size((batches[0], 256, 14, 14)))
    orders = []
    for batch in batches:
        images = _last(batch, 256, 14, 14)
        found = convolution(images, None, (0.0, math.inf), into=False)
        torch.testing.assert_close(found, F.conv2d(images, weight).relu(), rtol=1e-4, atol=1e-3)
        preferred = _order(
            torch.ops.mkldnn._reorder_convolution_weight(weight, (0, 0), (1, 1), (1, 1), 1, images.shape)
        )
        assert _order(convolution._for(images.shape)) == preferred
        orders.append(preferred)
    different = [order for i, order in enumerate(orders) if order not in orders[:i]]
    assert convolution.nbytes == len(different) * weight.nbytes  # orders are kept once, whatever number prefers them


def test_of_the_types_that_it_can():
    assert can_pack(torch.float32)
    assert not can_pack(torch.float64)
    assert can_pack(torch.bfloat16) == torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_where_it_cannot_pytorch_convolves(monkeypatch):
    monkeypatch.setattr(merging, "can_pack", lambda _: False)
    model = torch.nn.Conv2d(16, 32, 1).requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)
    images = _last(2, 16, 5, 5)
    alone = Merging(model, Plan({}))
    with alone.doing():
        found = model(images)
    assert torch.equal(found, model(images))
    assert alone.nbytes == 0
