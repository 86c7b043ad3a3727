"""Grad-CAM against the printed equations, on networks cut by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from etl.explain import PreparedModel, explain
from etl.explain.graph import flattened_map

NETWORKS = (
    "alexnet",
    "resnet18",
    "squeezenet1_1",
    "densenet121",
    "mobilenet_v2",
    "shufflenet_v2_x0_5",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "efficientnet-lite0",
)


def _oracle(by_hand, trunk, head, image, target):
    """Equations 1 and 2 of the paper for one image (3, H, W) and one class."""
    a, g = by_hand.derivative(trunk, head, image, target)
    heatmap = np.zeros(a.shape[1:])
    for k in range(len(a)):
        alpha = g[k].sum() / g[k].size
        heatmap += alpha * a[k]
    heatmap = np.maximum(heatmap, 0)
    return by_hand.min_max(by_hand.bilinear(heatmap, image.shape[1], image.shape[2]))


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_equations(network, images, speaking_targets, by_hand, name):
    model = network(name)
    trunk, head = by_hand.cut(name, model)
    targets = speaking_targets(model, images)
    maps = explain(model, images, targets)
    assert maps.shape == (2, 64, 64)
    assert maps.dtype == torch.float32
    for image, target, heatmap in zip(images, targets, maps, strict=True):
        np.testing.assert_allclose(heatmap.numpy(), _oracle(by_hand, trunk, head, image, target), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
def test_predicted_class_is_the_default_target(network, images):
    model = network("resnet18")
    with torch.no_grad():
        predicted = model(images).argmax(1)
    torch.testing.assert_close(explain(model, images), explain(model, images, predicted), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
def test_the_target_matters(network, images, speaking_targets):
    model = network("resnet18")
    targets = speaking_targets(model, images)
    one, other = explain(model, images, targets), explain(model, images, targets + 1)
    assert (one - other).abs().amax(dim=(1, 2)).min() > 0.1


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet-lite0"])
def test_a_batch_equals_single_images(network, images, speaking_targets, name):
    model = network(name)
    targets = speaking_targets(model, images)
    singles = [explain(model, images[i : i + 1], targets[i : i + 1])[0] for i in range(2)]
    torch.testing.assert_close(explain(model, images, targets), torch.stack(singles), rtol=0, atol=1e-4)


def test_equals_the_class_activation_map_of_a_linear_head(by_hand):
    """For a network of a convolution, global average pooling and a linear layer Grad-CAM is ReLU(CAM)."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
    )
    x = torch.randn(2, 3, 9, 7)
    cam = torch.einsum("kc,bchw->bkhw", model[4].weight.detach(), model[1](model[0](x)).detach())
    expected = np.stack([by_hand.min_max(cam[i, i + 1].relu().double().numpy()) for i in range(2)])
    np.testing.assert_allclose(explain(model, x, torch.tensor([1, 2])).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_equals_captum(network, images, speaking_targets, by_hand, name):
    captum = pytest.importorskip("captum.attr")
    model = network(name)
    targets = speaking_targets(model, images)
    layer = {"resnet18": "layer4", "mobilenet_v2": "features", "squeezenet1_1": "features"}[name]
    heat = captum.LayerGradCam(model, model.get_submodule(layer)).attribute(images, targets, relu_attributions=True)
    heat = F.interpolate(heat.detach(), size=(64, 64), mode="bilinear")[:, 0].double().numpy()
    expected = np.stack([by_hand.min_max(h) for h in heat])
    np.testing.assert_allclose(explain(model, images, targets).numpy(), expected, atol=1e-3)


def test_many_images_are_explained_in_chunks(network, speaking_targets):
    model = network("squeezenet1_1")
    x = torch.randn(19, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    targets = speaking_targets(model, x)
    torch.testing.assert_close(explain(model, x, targets)[16:], explain(model, x[16:], targets[16:]), rtol=0, atol=1e-4)


def test_costs_one_forward_pass_an_image(network, images):
    prepared = PreparedModel(network("resnet18"), images)
    assert prepared.layer.name == "layer4"  # costs a pass of its own, once
    before = prepared.forwards
    with prepared.session():
        prepared.cut(prepared.images(images)).gradients(torch.tensor([1, 2]))
    assert prepared.forwards - before == 2


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn"])
def test_behind_a_flattened_map_the_mean_gradient_needs_no_gradient_of_every_position(
    network, images, name, channels_last
):
    prepared = PreparedModel(network(name), images, channels_last=channels_last, fold=True)
    with prepared.session():
        cut = prepared.cut(prepared.images(images))
        assert flattened_map(cut.logits, cut.node) is not None
        for targets in (torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[3], [0]])):
            expected = [gradients.mean(dim=(2, 3), keepdim=True) for gradients in cut.gradients_of(targets)]
            found = cut.mean_gradients_of(targets)
            assert expected[0].abs().max() > 0
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())


class _Headed(nn.Module):
    """A convolution, and a head that uses a fully connected layer in one way or another."""

    def __init__(self, head):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.fc = nn.Linear(4 * 36, 5)
        self.head = head

    def forward(self, x):
        return self.head(self.fc, self.maps(x))


@pytest.mark.parametrize(
    ("head", "provable"),
    [
        (lambda fc, a: fc(a[:, :, :6, :6].flatten(1)), False),  # some positions are not read
        (lambda fc, a: fc(F.max_pool2d(a, 2).flatten(1)), True),
        (lambda fc, a: fc(F.adaptive_avg_pool2d(a, 6).flatten(1)), True),  # windows that overlap
        (lambda fc, a: fc(F.max_pool2d(a, 2).flatten(1)) ** 2, True),
        (lambda fc, a: fc(F.avg_pool2d(a, 3, 2, 1).flatten(1)), False),  # the padding takes a share
        (lambda fc, a: fc(F.max_pool2d(a, 2).tanh().flatten(1)), False),
        (lambda fc, a: fc(F.max_pool2d(a, 2).flatten(1)) + a.mean(dim=(1, 2, 3))[:, None], False),
        (lambda fc, a: fc((F.max_pool2d(a, 2) * a.mean()).flatten(1)), False),
        (lambda fc, a: F.linear(F.max_pool2d(a, 2).flatten(1), fc.weight * a.detach().mean(), fc.bias), True),
        (lambda fc, a: fc(F.max_pool2d(a, 2).permute(0, 2, 3, 1).flatten(1)), False),
        (lambda fc, a: fc(F.max_pool2d(a, 2).transpose(1, 2).flatten(1)), False),
    ],
)
def test_the_way_to_a_flattened_map_is_proved_not_guessed(head, provable):
    torch.manual_seed(0)
    prepared = PreparedModel(_Headed(head), torch.rand(1, 3, 14, 14), "maps")
    targets = torch.tensor([[1, 2], [3, 4]])
    with prepared.session():
        for _ in range(2):  # of the second images, with nothing kept from the first that belongs to them alone
            cut = prepared.cut(prepared.images(torch.rand(2, 3, 14, 14)))
            assert (flattened_map(cut.logits, cut.node) is not None) == provable
            expected = [gradients.mean(dim=(2, 3), keepdim=True) for gradients in cut.gradients_of(targets)]
            for one, other in zip(cut.mean_gradients_of(targets), expected, strict=True):
                torch.testing.assert_close(one, other)
