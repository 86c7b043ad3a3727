"""Grad-CAM++ against the printed equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from etl.explain import explain
from etl.explain.grad_cam_pp import GradCAMPlusPlus, grad_cam_pp_map
from tests.etl.explain.equations import NETWORKS, equation_19, finish, weighted


@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_pp_equals_the_equations(network, images, speaking_targets, by_hand, name):
    model = network(name)
    trunk, head = by_hand.cut(name, model)
    targets = speaking_targets(model, images)
    for image, target, heatmap in zip(images, targets, explain(model, images, targets, GradCAMPlusPlus()), strict=True):
        a, g = by_hand.derivative(trunk, head, image, target)
        expected = finish(by_hand, weighted(a, g, equation_19(a, g)), image)
        assert expected.max() == 1
        np.testing.assert_allclose(heatmap.numpy(), expected, atol=1e-4)


def test_grad_cam_pp_where_the_denominator_matters():
    """Activations and gradients of size one: 2 + g sum A is far from 2, and negative for some pixels."""
    torch.manual_seed(3)
    a, g = torch.randn(2, 5, 4, 4).relu(), torch.randn(2, 5, 4, 4)
    found = grad_cam_pp_map(a, g).double().numpy()
    for i in range(2):
        a_i, g_i = a[i].double().numpy(), g[i].double().numpy()
        np.testing.assert_allclose(found[i], weighted(a_i, g_i, equation_19(a_i, g_i)), rtol=1e-3, atol=1e-4)


def test_grad_cam_pp_of_zero_gradients_is_zero_and_finite():
    assert not grad_cam_pp_map(torch.rand(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).any()
    cancelling = grad_cam_pp_map(torch.full((1, 1, 1, 2), -1.0), torch.ones(1, 1, 1, 2))  # 2 + 1 * (-2) = 0
    assert torch.isfinite(cancelling).all()
