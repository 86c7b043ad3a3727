"""Grad-CAM++, Smooth Grad-CAM++ and Score-CAM against the printed equations."""

from __future__ import annotations

import copy

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch
from torch import nn
from torch.nn import functional as F

from etl.explain import Context, PreparedModel, explain
from etl.explain.grad_cam_pp import GradCAMPlusPlus, grad_cam_pp_map
from etl.explain.score_cam import ScoreCAM, _by_variance, _distinct, _stretched
from etl.explain.smooth_grad_cam_pp import SmoothGradCAMPlusPlus
from etl.models import resolve
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


def test_score_cam_shows_previews_that_become_the_map(network, images):
    model, method = network("resnet18"), ScoreCAM()
    prepared, seen = PreparedModel(model, images), []
    context = Context(chunk=16, progress=lambda fraction, maps: seen.append((fraction, maps)))
    with prepared.session():
        result = method.attribute(prepared, prepared.images(images), None, method.Parameters(), context)
    previews = [(fraction, maps) for fraction, maps in seen if maps is not None]
    assert [maps is None for fraction, maps in seen][:8] == [True] * 8  # the first 128 masks are not worth showing
    assert 5 < len(previews) < len(seen)
    assert all(maps.shape == result.maps.shape for _, maps in previews)
    # While the first image is explained the second has no map, and afterwards the first has its own.
    first = [maps for fraction, maps in previews if fraction < 0.5]
    second = [maps for fraction, maps in previews if fraction >= 0.5]
    assert all(torch.isnan(maps[1]).all() and not torch.isnan(maps[0]).any() for maps in first)
    assert all(torch.equal(maps[0], result.maps[0]) for maps in second)


@pytest.mark.slow
def test_previews_of_a_trained_network_are_good():
    pytest.importorskip("efficientnet_lite_pytorch", reason="the pretrained models are the extra 'imagenet'")
    loaded = resolve("efficientnet-lite:lite0").load()
    photo = loaded.preprocess.pixels(PIL.Image.fromarray(skimage.data.chelsea()))
    image = loaded.preprocess.batch(photo[None])
    model, method, previews = PreparedModel(loaded.module, image, fold=True, channels_last=True), ScoreCAM(), []

    def progress(_fraction, maps):
        if maps is not None:
            previews.append((model.forwards, maps[0]))

    with model.session():
        assert model.layer
        before = model.forwards
        exact = method.attribute(
            model, model.images(image), None, method.Parameters(), Context(chunk=8, progress=progress)
        )
    r = [_r(preview, exact.maps[0]) for _, preview in previews]
    assert previews[0][0] - before == 1 + 128
    assert r[0] >= 0.985
    assert r[-1] >= 0.9999


def _r(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def test_score_cam_scores_by_variance_and_each_mask_once():
    maps = torch.tensor([[0.0, 1.0], [0.0, 8.0], [3.0, 3.0], [4.0, 0.0], [0.0, 2.0]]).reshape(5, 1, 2)
    order = _by_variance(maps)
    assert order.tolist() == [1, 3, 4, 0]  # the constant one is left out
    masks, mask_of = _distinct(_stretched(maps[order]))
    assert masks.flatten(1).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert mask_of.tolist() == [0, 1, 0, 0]


def test_score_cam_in_bfloat16_says_that_it_approximates(network, images):
    model, method = network("demo:alexnet"), ScoreCAM()
    prepared = PreparedModel(model, images)
    with prepared.session():
        exact = method.attribute(prepared, prepared.images(images), None, method.Parameters(), Context())
        weights = prepared.nbytes
        fast = method.attribute(
            prepared, prepared.images(images), None, method.Parameters(precision="bfloat16"), Context()
        )
    assert fast.flags == (("approximation: bfloat16",),) * 2
    assert prepared.nbytes == pytest.approx(1.5 * weights, rel=0.01)  # a copy in half the size
    assert not torch.equal(exact.maps, fast.maps)
    torch.testing.assert_close(exact.logits, fast.logits)
    assert all(_r(one, other) > 0.95 for one, other in zip(exact.maps, fast.maps, strict=True))


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


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (SmoothGradCAMPlusPlus(), {"samples": 0}),
        (SmoothGradCAMPlusPlus(), {"noise": -1}),
        (SmoothGradCAMPlusPlus(), {"average": "median"}),
        (SmoothGradCAMPlusPlus(), {"seed": 0.5}),
        (ScoreCAM(), {"weight": "cosine"}),
        (ScoreCAM(), {"channels": 0}),
        (ScoreCAM(), {"precision": "float16"}),
    ],
)
def test_parameters_out_of_range_are_refused(network, images, method, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        explain(network("demo:resnet18"), images, method=method, **wrong)


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
