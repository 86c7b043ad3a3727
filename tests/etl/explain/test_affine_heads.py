"""Networks whose scores are affine in the explained layer are recognised, by proof."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from etl.explain import PreparedModel


@pytest.mark.parametrize(
    ("name", "affine"),
    [
        *(("demo:" + name, True) for name in ("resnet18", "densenet121", "mobilenet_v2", "shufflenet_v2_x0_5")),
        ("demo:alexnet", False),
        ("demo:squeezenet1_1", True),
        ("squeezenet1_1", False),  # torchvision's has an activation after its last convolution
        ("googlenet", True),
        ("convnext_tiny", False),
        ("mobilenet_v3_small", False),
    ],
)
def test_affine_heads_are_recognised(network, images, name, affine):
    prepared = PreparedModel(network(name), images)
    with prepared.session():
        assert prepared.cut(prepared.images(images)).has_affine_head == affine


@pytest.mark.parametrize(
    ("head", "affine"),
    [
        (lambda a: a.mean((2, 3)) * torch.arange(3.0) + 1, True),
        (lambda a: (a / 7).sum((2, 3)), True),
        (lambda a: (7 / (a + 9)).sum((2, 3)), False),
        (lambda a: (a * a).sum((2, 3)), False),
        (lambda a: a.amax((2, 3)), False),
        (lambda a: a.mean((2, 3)).softmax(1), False),
    ],
)
def test_affinity_is_proved_not_guessed(head, affine):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return head(self.maps(x))

    prepared = PreparedModel(Net(), torch.rand(1, 3, 9, 9), "maps")
    with prepared.session():
        assert prepared.cut(prepared.images(torch.rand(2, 3, 9, 9))).has_affine_head == affine
