"""The gradient of a strided first convolution against torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from etl.explain import PreparedModel
from etl.explain.stem import image_gradient, quicken_stems


@st.composite
def convolutions(draw):
    kernel, stride, padding = (draw(st.tuples(st.integers(*r), st.integers(*r))) for r in ((1, 8), (1, 5), (0, 4)))
    size = tuple(draw(st.integers(max(1, k - 2 * p), 24)) for k, p in zip(kernel, padding, strict=True))
    return draw(st.integers(1, 4)), kernel, stride, padding, size


@given(convolutions(), st.integers(0, 1000))
def test_equals_the_gradient_of_torch(convolution, seed):
    channels, kernel, stride, padding, size = convolution
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, channels, *kernel, generator=generator, dtype=torch.float64)
    shape = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, padding, kernel, stride, strict=True)]
    gradient = torch.randn(2, 5, *shape, generator=generator, dtype=torch.float64)
    expected = torch.nn.grad.conv2d_input((2, channels, *size), weight, gradient, stride, padding)
    torch.testing.assert_close(image_gradient(gradient, weight, stride, padding, size), expected)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "densenet121", "convnext_tiny", "googlenet"])
def test_a_prepared_model_has_the_gradient_of_the_model(network, images, name):
    model = copy.deepcopy(network(name)).double().requires_grad_(requires_grad=False)
    prepared = PreparedModel(model)
    assert any(type(part) is not nn.Conv2d for part in prepared.module.modules() if isinstance(part, nn.Conv2d))
    assert all(type(part) is nn.Conv2d for part in model.modules() if isinstance(part, nn.Conv2d))
    found = []
    for scores in (model, prepared.differentiable_scores):
        start = images.double().requires_grad_()
        found.append(torch.autograd.grad(scores(start)[:, 3].sum(), start)[0])
    assert found[0].abs().max() > 0
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(3, 4, 7),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.Conv2d(16, 4, 7, stride=2),
        nn.Conv2d(3, 3, 7, stride=2, groups=3),
        nn.Conv2d(3, 4, 7, stride=2, dilation=2),
        nn.Conv2d(3, 4, 7, stride=2, padding=3, padding_mode="reflect"),
    ],
)
def test_other_convolutions_stay_as_they_are(other):
    quicken_stems(other)
    assert type(other) is nn.Conv2d


def test_gradients_of_several_scores_can_be_batched_and_differentiated_again():
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 4, 5, stride=2, padding=2).requires_grad_(requires_grad=False)
    plain = copy.deepcopy(stem)
    quicken_stems(stem)
    start = torch.randn(2, 3, 9, 9, requires_grad=True)
    weights = torch.randn(5, 2, 4, 5, 5)
    batched = [
        torch.autograd.grad(one(start).tanh(), start, weights, is_grads_batched=True)[0] for one in (stem, plain)
    ]
    torch.testing.assert_close(*batched)
    twice = []
    for one in (stem, plain):
        (first,) = torch.autograd.grad(one(start).pow(3).sum(), start, create_graph=True)
        twice.append(torch.autograd.grad(first.square().sum(), start)[0])
    torch.testing.assert_close(*twice)
