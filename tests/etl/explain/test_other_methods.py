"""Grad-CAM++, Smooth Grad-CAM++ and Score-CAM against the printed equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from etl.explain import Context, PreparedModel, explain
from etl.explain.grad_cam_pp import GradCAMPlusPlus, grad_cam_pp_map
from etl.explain.score_cam import ScoreCAM
from etl.explain.smooth_grad_cam_pp import SmoothGradCAMPlusPlus
from warehouse.errors import UserError

NETWORKS = (
    "demo:alexnet",
    "demo:resnet18",
    "demo:squeezenet1_1",
    "demo:densenet121",
    "demo:mobilenet_v2",
    "demo:shufflenet_v2_x0_5",
)
SIDE = 64


@pytest.fixture
def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def convnext():
    """A small network whose activations are negative, too, and whose head is not linear in them."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6), nn.Linear(6, 4)
    ).eval()


def _finish(by_hand, heatmap, image):
    return by_hand.min_max(by_hand.bilinear(heatmap, image.shape[1], image.shape[2]))


def _equation_19(a, g):
    """alpha by the printed fraction, one pixel of one channel at a time."""
    alpha = np.zeros_like(g)
    for k in range(len(a)):
        total = a[k].sum()
        for i, j in np.ndindex(*g[k].shape):
            if g[k, i, j] != 0:
                alpha[k, i, j] = g[k, i, j] ** 2 / (2 * g[k, i, j] ** 2 + total * g[k, i, j] ** 3)
    return alpha


def _weighted(a, g, alpha):
    heatmap = np.zeros(a.shape[1:])
    for k in range(len(a)):
        heatmap += (alpha[k] * np.maximum(g[k], 0)).sum() * a[k]
    return np.maximum(heatmap, 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_pp_equals_the_equations(network, images, speaking_targets, by_hand, name):
    model = network(name)
    trunk, head = by_hand.cut(name, model)
    targets = speaking_targets(model, images)
    for image, target, heatmap in zip(images, targets, explain(model, images, targets, GradCAMPlusPlus()), strict=True):
        a, g = by_hand.derivative(trunk, head, image, target)
        expected = _finish(by_hand, _weighted(a, g, _equation_19(a, g)), image)
        assert expected.max() == 1
        np.testing.assert_allclose(heatmap.numpy(), expected, atol=1e-4)


def test_grad_cam_pp_where_the_denominator_matters(convnext, by_hand):
    """Activations and gradients of size one: 2 + g sum A is far from 2, and negative for some pixels."""
    torch.manual_seed(3)
    a, g = torch.randn(2, 5, 4, 4).relu(), torch.randn(2, 5, 4, 4)
    found = grad_cam_pp_map(a, g).double().numpy()
    for i in range(2):
        a_i, g_i = a[i].double().numpy(), g[i].double().numpy()
        np.testing.assert_allclose(found[i], _weighted(a_i, g_i, _equation_19(a_i, g_i)), rtol=1e-3, atol=1e-4)


def test_grad_cam_pp_of_zero_gradients_is_zero_and_finite():
    assert not grad_cam_pp_map(torch.rand(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).any()
    cancelling = grad_cam_pp_map(torch.full((1, 1, 1, 2), -1.0), torch.ones(1, 1, 1, 2))  # 2 + 1 * (-2) = 0
    assert torch.isfinite(cancelling).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_smooth_grad_cam_pp_equals_the_equations(network, images, speaking_targets, by_hand, name):
    model = network(name)
    trunk, head = by_hand.cut(name, model)
    targets = speaking_targets(model, images)
    noise = torch.randn((3, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(5))
    maps = explain(model, images, targets, SmoothGradCAMPlusPlus(), samples=3, noise=0.2, seed=5)
    for image, target, heatmap in zip(images, targets, maps, strict=True):
        total = 0.0
        for sample in noise:
            a, g = by_hand.derivative(trunk, head, image + 0.2 * (image.max() - image.min()) * sample, target)
            total = total + _weighted(a, g, _equation_19(a, g))
        np.testing.assert_allclose(heatmap.numpy(), _finish(by_hand, total / 3, image), atol=1e-4)


@pytest.mark.parametrize("name", ["demo:alexnet", "demo:squeezenet1_1"])
def test_averaged_gradients_equal_the_equations(network, images, speaking_targets, by_hand, name):
    model = network(name)
    trunk, head = by_hand.cut(name, model)
    targets = speaking_targets(model, images)
    noise = torch.randn((3, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    maps = explain(model, images, targets, SmoothGradCAMPlusPlus(), samples=3, average="gradients")
    for image, target, heatmap in zip(images, targets, maps, strict=True):
        a, _ = by_hand.derivative(trunk, head, image, target)
        gradients = [
            by_hand.derivative(trunk, head, image + 0.15 * (image.max() - image.min()) * sample, target)[1]
            for sample in noise
        ]
        d1, d2, d3 = (np.mean([g**power for g in gradients], axis=0) for power in (1, 2, 3))
        alpha = np.zeros_like(d2)
        for k in range(len(a)):
            for i, j in np.ndindex(*d2[k].shape):
                if d2[k, i, j] > 0:
                    alpha[k, i, j] = d2[k, i, j] / (2 * d2[k, i, j] + a[k].sum() * d3[k, i, j])
        np.testing.assert_allclose(heatmap.numpy(), _finish(by_hand, _weighted(a, d1, alpha), image), atol=1e-4)


@pytest.mark.parametrize("average", ["maps", "gradients"])
def test_smooth_without_noise_is_grad_cam_pp(network, images, speaking_targets, average):
    model = network("demo:alexnet")
    targets = speaking_targets(model, images)
    smooth = explain(model, images, targets, SmoothGradCAMPlusPlus(), noise=0.0, samples=2, average=average)
    torch.testing.assert_close(smooth, explain(model, images, targets, GradCAMPlusPlus()), rtol=0, atol=1e-5)


def test_averaged_gradients_of_a_linear_head_are_grad_cam_pp(network, images, speaking_targets):
    model = network("demo:resnet18")
    targets = speaking_targets(model, images)
    smooth = explain(model, images, targets, SmoothGradCAMPlusPlus(), samples=3, average="gradients")
    torch.testing.assert_close(smooth, explain(model, images, targets, GradCAMPlusPlus()), rtol=0, atol=1e-5)


def test_smooth_maps_depend_on_the_seed_not_on_chunks(network, images, speaking_targets):
    model = network("demo:alexnet")
    targets = speaking_targets(model, images)
    method, prepared = SmoothGradCAMPlusPlus(), PreparedModel(model, images)
    found = []
    for seed, chunk in ((0, 16), (0, 3), (1, 16)):
        with prepared.session():
            parameters = method.Parameters(seed=seed)
            result = method.attribute(prepared, prepared.images(images), targets, parameters, Context(chunk=chunk))
        found.append(result.maps)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=0)
    assert (found[0] - found[2]).abs().max() > 0.01 * found[0].max()


def _algorithm_1(by_hand, model, trunk, image, target, weight):
    """Score-CAM as printed: every channel that has a mask is scored."""
    with torch.no_grad():
        a = trunk(image[None])[0].double().numpy()
        live = [k for k in range(len(a)) if a[k].max() > a[k].min()]
        masks = [by_hand.min_max(by_hand.bilinear(a[k], *image.shape[1:])) for k in live]
        logits = torch.cat([model((image * torch.from_numpy(mask).float())[None]) for mask in masks]).double()
        baseline = float(model(torch.zeros_like(image)[None])[0, target])
    if weight == "logit-softmax":
        scores = logits[:, target].numpy() - baseline
        alpha = np.exp(scores) / np.exp(scores).sum()
    else:
        alpha = logits.softmax(dim=1)[:, target].numpy()
    heatmap = np.zeros(a.shape[1:])
    for i, k in enumerate(live):
        heatmap += alpha[i] * a[k]
    return np.maximum(heatmap, 0)


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        *((name, "logit-softmax") for name in NETWORKS),
        ("demo:alexnet", "probability"),
        ("demo:resnet18", "probability"),
    ],
)
def test_score_cam_equals_algorithm_1(network, images, by_hand, name, weight):
    model, image = network(name), images[:1, :, :48, :48]
    trunk, _ = by_hand.cut(name, model)
    heatmap = explain(model, image, torch.tensor([5]), ScoreCAM(), weight=weight)[0]
    expected = _algorithm_1(by_hand, model, trunk, image[0], 5, weight)
    np.testing.assert_allclose(heatmap.numpy(), _finish(by_hand, expected, image[0]), atol=1e-4)


def test_score_cam_merges_equal_masks_and_skips_constant_channels():
    class Channels(nn.Module):
        """Channels 0, 1 and 2 have one mask, channel 3 another, channel 4 is constant."""

        def __init__(self):
            super().__init__()
            self.act, self.fc = nn.Identity(), nn.Linear(5, 3)
            self.maps = nn.ReLU()

        def forward(self, x):
            red, green = x[:, :1, ::4, ::4], x[:, 1:2, ::4, ::4]
            a = self.maps(torch.cat([red, 2 * red, 4 * red, green, torch.full_like(red, 0.5)], dim=1))
            return self.fc(a.mean((2, 3)))

    torch.manual_seed(0)
    model, x = Channels().eval(), torch.rand(1, 3, 16, 16)
    prepared, method = PreparedModel(model, x), ScoreCAM()
    assert prepared.layer.name == "maps"
    before = prepared.forwards
    with prepared.session():
        method.attribute(prepared, prepared.images(x), torch.tensor([1]), method.Parameters(), Context())
    assert prepared.forwards - before == 1 + 2


def test_score_cam_with_fewer_channels_says_that_it_approximates(network, images):
    model, method = network("demo:resnet18"), ScoreCAM()
    prepared = PreparedModel(model, images)
    with prepared.session():
        exact = method.attribute(prepared, prepared.images(images), None, method.Parameters(), Context())
        before = prepared.forwards
        fast = method.attribute(prepared, prepared.images(images), None, method.Parameters(channels=16), Context())
    assert prepared.forwards - before <= 2 * 17
    assert exact.flags == ((), ())
    assert all("approximation" in flags[0] for flags in fast.flags)
    for one, other in zip(exact.maps, fast.maps, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.8


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (SmoothGradCAMPlusPlus(), {"samples": 0}),
        (SmoothGradCAMPlusPlus(), {"noise": -1}),
        (SmoothGradCAMPlusPlus(), {"average": "median"}),
        (SmoothGradCAMPlusPlus(), {"seed": 0.5}),
        (ScoreCAM(), {"weight": "cosine"}),
        (ScoreCAM(), {"channels": 0}),
    ],
)
def test_parameters_out_of_range_are_refused(network, images, method, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        explain(network("demo:resnet18"), images, method=method, **wrong)


def test_peers_agree_where_definitions_coincide(network, images, speaking_targets, by_hand):
    cam = pytest.importorskip("torchcam.methods")
    model = network("demo:resnet18")
    targets = speaking_targets(model, images)
    with cam.GradCAM(model, "layer4") as extractor:
        scores = model(images)
        theirs = extractor(targets.tolist(), scores, normalized=False)[0].detach()
    theirs = F.interpolate(theirs[:, None], size=(SIDE, SIDE), mode="bilinear")[:, 0].double().numpy()
    ours = explain(model, images, targets).numpy()
    for i in range(2):
        np.testing.assert_allclose(ours[i], by_hand.min_max(theirs[i]), atol=1e-3)
