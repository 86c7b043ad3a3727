"""Grad-CAM and Score-CAM against the packages that have them, too."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from etl.explain import explain
from tests.etl.explain.conftest import SIDE


@pytest.fixture
def peers_subject(network, images, speaking_targets):
    model = network("demo:resnet18")
    return copy.deepcopy(model), images, speaking_targets(model, images)


def _enlarged(maps, by_hand):
    large = F.interpolate(torch.as_tensor(maps)[:, None].float(), size=(SIDE, SIDE), mode="bilinear")[:, 0]
    return np.stack([by_hand.min_max(one) for one in large.double().numpy()])


def test_grad_cam_equals_torch_cam(peers_subject, by_hand):
    cam = pytest.importorskip("torchcam.methods")
    model, images, targets = peers_subject
    ours = explain(model, images, targets).numpy()
    with cam.GradCAM(model, "layer4") as extractor:
        theirs = extractor(targets.tolist(), model(images), normalized=False)[0].detach()
    np.testing.assert_allclose(ours, _enlarged(theirs, by_hand), atol=1e-3)


def test_score_cam_equals_torch_cam(peers_subject, by_hand):
    """torch-cam stretches masks before it enlarges them, which differs by some thousandths (0.003 measured)."""
    cam = pytest.importorskip("torchcam.methods")
    model, images, targets = peers_subject
    ours = explain(model, images[:1], targets[:1], "score-cam").numpy()
    with cam.ScoreCAM(model, "layer4") as extractor, torch.no_grad():
        model(images[:1])
        theirs = extractor(int(targets[0]), normalized=False)[0].detach()
    np.testing.assert_allclose(ours, _enlarged(theirs, by_hand), atol=0.02)


def test_grad_cam_equals_pytorch_grad_cam(peers_subject):
    cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, images, targets = peers_subject
    ours = explain(model, images, targets).numpy()
    with cam.GradCAM(model, [model.layer4]) as extractor:
        theirs = extractor(images, [ClassifierOutputTarget(int(t)) for t in targets])
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_grad_cam_equals_captum(peers_subject, by_hand):
    from captum.attr import LayerGradCam

    model, images, targets = peers_subject
    ours = explain(model, images, targets).numpy()
    theirs = LayerGradCam(model, model.layer4).attribute(images, targets, relu_attributions=True).detach()[:, 0]
    np.testing.assert_allclose(ours, _enlarged(theirs, by_hand), atol=1e-3)
