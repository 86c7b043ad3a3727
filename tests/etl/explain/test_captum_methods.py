"""LayerCAM, and attributions of captum as explanation methods."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from torch import nn

from etl.explain import Cancelled, Context, PreparedModel, explain, parameters_of
from etl.explain.captum_method import CaptumMethod
from etl.explain.grad_cam import GradCAM
from etl.explain.integrated_gradients import IntegratedGradients
from etl.explain.layer_cam import LayerCAM
from etl.explain.occlusion import Occlusion
from etl.explain.postprocess import normalise
from warehouse.errors import UserError

NETWORKS = (
    "demo:alexnet",
    "demo:resnet18",
    "demo:squeezenet1_1",
    "demo:densenet121",
    "demo:mobilenet_v2",
    "convnext_tiny",
)
SIDE = 64


@pytest.fixture
def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tiny():
    """A network whose score is no linear function of the image, nor of its last map."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 5, 3),
            nn.Tanh(),
            nn.Conv2d(5, 6, 3),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(96, 4),
        ).eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(3))


def plugin(make, **members: Any) -> CaptumMethod:
    """What a user writes to plug in an attribution."""
    words = {"name": "mine", "title": "Mine", "description": "My method.", "paper": "Me."}
    return type(
        "Mine", (CaptumMethod,), {**words, "attribution": lambda self, classifier: make(classifier), **members}
    )()


def _raw(method, model, images, targets, context=None, **parameters):
    prepared = PreparedModel(model, images)
    with prepared.session():
        values = parameters_of(method, parameters)
        found = method.attribute(prepared, prepared.images(images), targets, values, context or Context())
    return found.maps, prepared


def _positive(attributions):
    return attributions.detach().sum(dim=1).relu()


@pytest.mark.parametrize("name", NETWORKS)
def test_layer_cam_equals_the_equations(network, images, speaking_targets, by_hand, name):
    model = network(name)
    trunk, head = by_hand.cut(name, model)
    targets = speaking_targets(model, images)
    for image, target, heatmap in zip(images, targets, explain(model, images, targets, "layer-cam"), strict=True):
        a, g = by_hand.derivative(trunk, head, image, target)
        total = np.zeros(a.shape[1:])
        for k in range(len(a)):
            total += np.maximum(g[k], 0) * a[k]
        expected = by_hand.min_max(by_hand.bilinear(np.maximum(total, 0), SIDE, SIDE))
        assert expected.max() == 1
        np.testing.assert_allclose(heatmap.numpy(), expected, atol=1e-4)


def test_layer_cam_of_a_relu_layer_equals_captum(network, images, speaking_targets):
    """With activations of at least zero, ReLU(g) A is the positive part of captum's g A."""
    model = network("demo:resnet18")
    targets = speaking_targets(model, images)
    captum = plugin(
        lambda classifier: attr.LayerGradientXActivation(classifier, classifier.layer),
        map=lambda self, attributions: attributions.relu().sum(dim=1),
    )
    torch.testing.assert_close(
        explain(model, images, targets, captum), explain(model, images, targets, LayerCAM()), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("name", ["demo:resnet18", "demo:densenet121", "efficientnet_b0"])
def test_integrated_gradients_equal_captum_on_the_users_module(network, images, name):
    model, targets = network(name), torch.tensor([3, 7])
    direct = attr.IntegratedGradients(model).attribute(images, target=targets, n_steps=12)
    expected = normalise(_positive(direct), (SIDE, SIDE))
    maps = explain(model, images, targets, "integrated-gradients", steps=12)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["demo:resnet18", "demo:densenet121"])
def test_occlusion_equals_captum_on_the_users_module(network, images, name):
    model, targets = network(name), torch.tensor([3, 7])
    direct = attr.Occlusion(model).attribute(images, (3, 16, 16), strides=(3, 10, 10), target=targets)
    expected = normalise(_positive(direct), (SIDE, SIDE))
    maps = explain(model, images, targets, "occlusion", window=0.25, stride=0.15)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-4)


def test_integrated_gradients_equal_a_fine_sum(tiny, x):
    target, points = 1, 500
    total = torch.zeros(1, 3, 12, 12, dtype=torch.float64)
    model, image = tiny.double(), x[:1].double()
    for i in range(points):
        start = (image * (i + 0.5) / points).requires_grad_()
        total += torch.autograd.grad(model(start)[0, target], start)[0] / points
    expected = _positive(image * total)
    # The score has kinks along the way, so that quadrature is not exact either.
    found, _ = _raw(IntegratedGradients(), model, image, torch.tensor([target]), steps=300)
    torch.testing.assert_close(normalise(found), normalise(expected), rtol=0, atol=0.02)


def test_occlusion_equals_covering_by_hand(tiny, x):
    image = x[:1]
    fall, covers = torch.zeros(12, 12), torch.zeros(12, 12)
    with torch.no_grad():
        for top in (0, 3, 6, 9):  # the last window is cut off by the edge
            for left in (0, 3, 6, 9):
                rows, columns = slice(top, top + 4), slice(left, left + 4)
                covered = image.clone()
                covered[:, :, rows, columns] = 0
                fall[rows, columns] += (tiny(image) - tiny(covered))[0, 2]
                covers[rows, columns] += 1
    expected = normalise((fall / covers).relu()[None])
    found, _ = _raw(Occlusion(), tiny, image, torch.tensor([2]), window=4 / 12, stride=3 / 12)
    torch.testing.assert_close(normalise(found), expected, rtol=0, atol=1e-4)


def test_passes_are_counted(tiny, x):
    _, prepared = _raw(IntegratedGradients(), tiny, x, None, steps=10, context=Context(chunk=4))
    assert (prepared.forwards, prepared.backwards) == (2 * 11, 2 * 10)
    _, prepared = _raw(Occlusion(), tiny, x, None, window=0.5, stride=0.25, context=Context(chunk=4))
    assert (prepared.forwards, prepared.backwards) == (2 * (2 + 3 * 3), 0)
    assert Occlusion().cost(Occlusion.Parameters(0.5, 0.25), 512) == 2 + 3 * 3
    assert IntegratedGradients().cost(IntegratedGradients.Parameters(10), 512) == 1 + 10 * 2.5


@pytest.mark.parametrize("method", [IntegratedGradients(), Occlusion()], ids=lambda method: method.name)
@pytest.mark.parametrize("context", [Context(chunk=1), Context(chunk=7), Context(memory=1)], ids=["1", "7", "memory"])
def test_the_size_of_passes_does_not_matter(tiny, x, method, context):
    targets = torch.tensor([0, 3])
    expected, _ = _raw(method, tiny, x, targets)
    found, _ = _raw(method, tiny, x, targets, context)
    torch.testing.assert_close(normalise(found), normalise(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", [IntegratedGradients(), Occlusion()], ids=lambda method: method.name)
def test_passes_are_halved_when_memory_runs_out(tiny, x, method):
    class Small(nn.Module):
        def __init__(self, most):
            super().__init__()
            self.net, self.most = tiny, most

        def forward(self, images):
            if len(images) > self.most:
                raise torch.OutOfMemoryError("no memory")
            return self.net(images)

    targets = torch.tensor([0, 3])
    expected, _ = _raw(method, tiny, x, targets)
    found, _ = _raw(method, Small(3), x, targets)
    torch.testing.assert_close(normalise(found), normalise(expected), rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="not enough memory"):
        _raw(method, Small(0), x, targets)


@pytest.mark.parametrize("method", [IntegratedGradients(), Occlusion()], ids=lambda method: method.name)
def test_work_stops_between_passes_and_the_model_stays_usable(tiny, x, method):
    prepared = PreparedModel(tiny, x)
    values, seen = method.Parameters(), []
    withdrawn = Context(chunk=5, cancelled=lambda: len(seen) > 3, progress=lambda fraction, _: seen.append(fraction))
    with prepared.session():
        with pytest.raises(Cancelled):
            method.attribute(prepared, prepared.images(x), None, values, withdrawn)
        assert prepared.forwards <= 1 + 5 * 4
        again = method.attribute(prepared, prepared.images(x), None, values, Context())
    assert not any(module._forward_hooks or module._backward_hooks for module in prepared.module.modules())
    torch.testing.assert_close(again.maps, _raw(method, tiny, x, None)[0])


ATTRIBUTIONS = {
    "Saliency": attr.Saliency,
    "InputXGradient": attr.InputXGradient,
    "GuidedBackprop": attr.GuidedBackprop,
    "DeepLift": attr.DeepLift,
    "FeatureAblation": attr.FeatureAblation,
    "NoiseTunnel": lambda classifier: attr.NoiseTunnel(attr.Saliency(classifier)),
    "GuidedGradCam": lambda classifier: attr.GuidedGradCam(classifier, classifier.layer),
    "LayerActivation": lambda classifier: attr.LayerActivation(classifier, classifier.layer),
    "LayerGradCam": lambda classifier: attr.LayerGradCam(classifier, classifier.layer),
    "LayerConductance": lambda classifier: attr.LayerConductance(classifier, classifier.layer),
    "LayerIntegratedGradients": lambda classifier: attr.LayerIntegratedGradients(classifier, classifier.layer),
}
QUIET = (
    "ignore:Setting forward, backward hooks",  # said by GuidedBackprop and DeepLift of every model
    "ignore:Setting backward hooks",
    "ignore:.*did not already require gradients",  # NoiseTunnel
    "ignore:.*full_backward_hook",
)


@pytest.mark.parametrize("name", ATTRIBUTIONS)
@pytest.mark.filterwarnings(*QUIET)
def test_any_attribution_can_be_plugged_in(tiny, x, name):
    make = ATTRIBUTIONS[name]
    arguments = {
        "FeatureAblation": {
            "feature_mask": torch.arange(36).reshape(1, 1, 6, 6).repeat_interleave(2, 2).repeat_interleave(2, 3)
        }
    }
    method = plugin(make, arguments=lambda self, image, parameters, chunk: arguments.get(name, {}))
    if name == "LayerActivation":  # takes no target
        method = plugin(lambda classifier: _WithoutTarget(make(classifier)))
    maps = explain(tiny, x, torch.tensor([1, 2]), method)
    assert maps.shape == (2, 12, 12)
    assert torch.isfinite(maps).all()
    assert (maps.amax(dim=(1, 2)) == 1).all()
    assert not any(module._forward_hooks or module._backward_hooks for module in tiny.modules())


@dataclass
class _WithoutTarget:
    attribution: attr.LayerActivation

    def attribute(self, image, target):
        return self.attribution.attribute(image)


def test_captums_layer_grad_cam_equals_ours(network, images, speaking_targets):
    model = network("demo:resnet18")
    targets = speaking_targets(model, images)
    captum = plugin(lambda classifier: attr.LayerGradCam(classifier, classifier.layer))
    torch.testing.assert_close(
        explain(model, images, targets, captum), explain(model, images, targets, GradCAM()), rtol=0, atol=1e-4
    )


def test_layer_attributions_of_tokens_become_maps():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm, self.fc = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8), nn.Linear(8, 5)

        def forward(self, images):
            return self.fc(self.norm(self.patches(images).flatten(2).transpose(1, 2)).mean(1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Tokens().eval()
    image = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    captum = plugin(lambda classifier: attr.LayerGradientXActivation(classifier, classifier.layer))
    maps, prepared = _raw(captum, model, image, torch.tensor([2]))
    assert (prepared.layer.name, maps.shape) == ("norm", (1, 4, 6))
    with torch.no_grad():
        tokens = model.norm(model.patches(image).flatten(2).transpose(1, 2))
    expected = (tokens * model.fc.weight[2]).sum(dim=2).relu() / 24
    torch.testing.assert_close(maps, expected.reshape(1, 4, 6))


def test_a_layer_that_captum_cannot_see_is_refused(network, images):
    captum = plugin(lambda classifier: attr.LayerGradCam(classifier, classifier.layer))
    with pytest.raises(UserError, match=r"_swish \(call 2\), only submodules that run once"):
        explain(network("efficientnet-lite0"), images, None, captum)


def test_the_built_in_ones_warn_of_nothing(tiny, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("integrated-gradients", "occlusion", "layer-cam"):
            explain(tiny, x, torch.tensor([0, 1]), name)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (IntegratedGradients(), {"steps": 0}),
        (IntegratedGradients(), {"steps": 2.5}),
        (IntegratedGradients(), {"steps": True}),
        (Occlusion(), {"window": 0}),
        (Occlusion(), {"window": 1.5}),
        (Occlusion(), {"stride": float("nan")}),
        (Occlusion(), {"window": 0.1, "stride": 0.2}),
        (LayerCAM(), {"steps": 3}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else value.name,
)
def test_parameters_out_of_range_are_refused(method, parameters):
    with pytest.raises(UserError):
        parameters_of(method, parameters)


def test_a_window_of_the_whole_image_gives_no_map_but_no_error(tiny, x):
    with pytest.warns(UserWarning, match="zero everywhere"):
        maps = explain(tiny, x, None, "occlusion", window=1, stride=1)
    assert not maps.any()


def test_captum_is_imported_only_when_it_is_needed():
    code = (
        "import sys; from etl.explain import load_method;"
        "[load_method(name) for name in ('layer-cam', 'integrated-gradients', 'occlusion')];"
        "assert 'captum' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
