"""Smooth Grad-CAM++ against the printed equations, and against Grad-CAM++ where the two are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from etl.explain import Context, PreparedModel, explain
from etl.explain.grad_cam_pp import GradCAMPlusPlus
from etl.explain.smooth_grad_cam_pp import SmoothGradCAMPlusPlus
from tests.etl.explain.conftest import SIDE
from tests.etl.explain.equations import NETWORKS, equation_19, finish, weighted


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
            total = total + weighted(a, g, equation_19(a, g))
        np.testing.assert_allclose(heatmap.numpy(), finish(by_hand, total / 3, image), atol=1e-4)


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
        np.testing.assert_allclose(heatmap.numpy(), finish(by_hand, weighted(a, d1, alpha), image), atol=1e-4)


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


def test_averaged_gradients_of_an_affine_head_cost_one_pass(network, images, speaking_targets):
    model, method = network("demo:resnet18"), SmoothGradCAMPlusPlus()
    targets, prepared = speaking_targets(model, images), PreparedModel(model, images)
    parameters = method.Parameters(samples=100, average="gradients")
    with prepared.session():
        assert prepared.layer
        before = prepared.forwards
        found = method.attribute(prepared, prepared.images(images), targets, parameters, Context())
        assert prepared.forwards - before == len(images)
        plain = GradCAMPlusPlus()
        expected = plain.attribute(prepared, prepared.images(images), targets, plain.Parameters(), Context())
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-5, atol=0)
