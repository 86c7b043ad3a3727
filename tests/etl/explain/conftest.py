"""Networks with random weights, built once a test session."""

from __future__ import annotations

import math
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from etl.demo.architectures import build
from etl.explain import PreparedModel, merging
from etl.explain.grad_cam import grad_cam_map

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 64


@pytest.fixture(autouse=True, scope="session")
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny networks lose more by waiting for each other's threads than they gain
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _merged():
    """Merge convolutions of the smallest networks, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_LEAST", 0)
        yield


@cache
def _network(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "efficientnet-lite0":
            lite = pytest.importorskip("efficientnet_lite_pytorch")
            return lite.EfficientNet.from_name("efficientnet-lite0").eval()
        if name.startswith("demo:"):
            return build(name.removeprefix("demo:")).eval()
        extra = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
        model = torchvision.models.get_model(name, weights=None, **extra)
        # Heads of zeros (vision transformers) would make every map constant.
        for module in model.modules():
            if isinstance(module, nn.Linear) and not module.weight.any():
                nn.init.normal_(module.weight, std=0.02)
        return model.eval()


@pytest.fixture(scope="session")
def network() -> Callable[[str], nn.Module]:
    """A network by its torchvision name, ``"efficientnet-lite0"`` or ``"demo:<name>"``; shared by all tests."""
    return _network


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def speaking_targets() -> Callable[[nn.Module, Tensor], Tensor]:
    """For each image the class with the strongest Grad-CAM map: comparing maps of zeros would test nothing."""

    def choose(model: nn.Module, batch: Tensor) -> Tensor:
        prepared = PreparedModel(model, batch)
        with prepared.session():
            cut = prepared.cut(prepared.images(batch))
            peaks = [
                grad_cam_map(cut.activations, cut.gradients(torch.full((len(batch),), c))).amax(dim=(1, 2))
                for c in range(min(24, cut.logits.shape[1]))
            ]
        best = torch.stack(peaks).max(dim=0)
        assert (best.values > 0).all()
        return best.indices

    return choose


@pytest.fixture(scope="session")
def by_hand() -> SimpleNamespace:
    """Slow and plain building blocks of the oracles, which share nothing with the engine."""
    return SimpleNamespace(cut=_cut, derivative=_derivative, bilinear=_bilinear, min_max=_min_max)


def _chain(model, *names):
    def trunk(x):
        for name in names:
            x = getattr(model, name)(x)
        return x

    return trunk


def _pooled(model, head):
    return lambda a: head(torch.flatten(F.adaptive_avg_pool2d(a, 1), 1))


def _cut(name, model):
    """The network as two functions, before and after its last feature map, written down from its source."""
    name = name.removeprefix("demo:")
    if name.startswith("resnet"):
        stages = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        return _chain(model, *stages), _pooled(model, model.fc)
    if name == "alexnet":
        last = len(model.features) - 1  # a max-pooling layer, which belongs to the head
        return model.features[:last], lambda a: model.classifier(
            torch.flatten(model.avgpool(model.features[last](a)), 1)
        )
    if name.startswith("squeezenet"):
        return model.features, lambda a: torch.flatten(model.classifier(a), 1)
    if name.startswith("densenet"):
        return lambda x: F.relu(model.features(x)), _pooled(model, model.classifier)
    if name.startswith("shufflenet"):
        stages = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
        return _chain(model, *stages), lambda a: model.fc(a.mean([2, 3]))
    if name in {"mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"}:
        return model.features, _pooled(model, model.classifier)
    if name == "convnext_tiny":
        return model.features, lambda a: model.classifier(model.avgpool(a))
    if name == "efficientnet-lite0":
        return lambda x: model.extract_features(x), lambda a: model._fc(torch.flatten(model._avg_pooling(a), 1))
    raise AssertionError(name)


def _derivative(trunk, head, image, target):
    """A and d y_c / d A, float64 (C, h, w), of one image (3, H, W)."""
    with torch.no_grad():
        start = trunk(image[None]).clone()
    start.requires_grad_()
    (gradient,) = torch.autograd.grad(head(start.clone())[0, target], start)
    return start.detach()[0].double().numpy(), gradient[0].double().numpy()


def _bilinear(image, height, width):
    """Interpolation between pixel centres, by its definition."""
    return _weights(image.shape[0], height) @ image @ _weights(image.shape[1], width).T


def _weights(size, new_size):
    matrix = np.zeros((new_size, size))
    for i in range(new_size):
        y = min(max((i + 0.5) * size / new_size - 0.5, 0), size - 1)
        low = math.floor(y)
        matrix[i, low] += 1 - (y - low)
        matrix[i, min(low + 1, size - 1)] += y - low
    return matrix


def _min_max(image):
    span = image.max() - image.min()
    return np.zeros_like(image) if span == 0 else (image - image.min()) / span
