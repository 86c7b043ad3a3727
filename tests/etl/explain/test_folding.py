"""Folding batch normalisations changes the cost of a pass and nothing else."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
import torchvision
from torch import nn

from etl.demo import zoo
from etl.explain.folding import fold_batch_norms
from etl.explain.grad_cam import GradCAM
from etl.explain.postprocess import normalise
from etl.explain.prepared import PreparedModel
from etl.explain.protocol import Context, NoParameters
from etl.explain.shadow import shadow
from etl.models import resolve

# Convolutions followed by a batch normalisation of their own; DenseNet normalises before most of its convolutions.
PAIRS = {"resnet18": 20, "mobilenet_v2": 52, "densenet121": 59, "shufflenet_v2_x0_5": 56, "efficientnet_b0": 49}


def _trained_like(name):
    """A network whose batch normalisations are far from the identity, as training leaves them."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.3)
    return model


@pytest.mark.parametrize(("name", "pairs"), PAIRS.items())
def test_scores_stay_and_the_original_is_not_touched(name, pairs):
    model = _trained_like(name)
    before = copy.deepcopy(model.state_dict())
    twin = shadow(model)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model(images)
        assert fold_batch_norms(twin, images[:1]) == pairs
        found = twin(images)
    assert (found - expected).abs().max() <= 1e-4 * expected.std()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in twin.parameters())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "shufflenet_v2_x1_0", "squeezenet1_1"])
def test_maps_of_trained_networks_stay(name):
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    maps = []
    for fold in (False, True):
        prepared = PreparedModel(zoo.load(name), images, fold=fold, channels_last=fold)
        with prepared.session():
            found = GradCAM().attribute(prepared, prepared.images(images), None, NoParameters(), Context())
        maps.append(normalise(found.maps, (96, 96)))
    assert maps[0].amax() == 1
    assert (maps[0] - maps[1]).abs().max() <= 1e-4


class _Twice(nn.Module):
    """Its normalisation is used twice, its convolution has a second consumer: neither may be folded."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 1)
        self.shared = nn.BatchNorm2d(4)
        self.third = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.shared(self.first(x))
        x = self.shared(self.second(x))
        y = self.third(x)
        return (self.norm(y) + y).mean((2, 3))


class _Returned(nn.Module):
    """What the convolution returns is also a result, looked at by nobody else."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y).mean((2, 3)), y


class _Branching(_Returned):
    """Cannot be traced symbolically."""

    def forward(self, x):
        return self.norm(self.conv(x)).mean((2, 3)) if x.sum() > 0 else x.mean((2, 3))


@pytest.mark.parametrize("model", [_Twice(), _Returned()], ids=["shared", "returned"])
def test_what_cannot_be_folded_is_left_alone(model):
    twin = shadow(model.eval())
    assert fold_batch_norms(twin, torch.rand(1, 3, 9, 9)) == 0
    assert [type(part) for part in twin.modules()] == [type(part) for part in model.modules()]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in twin.modules())


def test_control_flow_is_no_obstacle():
    model, images = _Branching().eval(), torch.rand(2, 3, 9, 9)
    model.norm.running_mean.normal_()
    twin = shadow(model)
    assert fold_batch_norms(twin, images[:1]) == 1
    with torch.inference_mode():
        torch.testing.assert_close(twin(images), model(images))


def test_folding_in_one_thread_does_not_disturb_another():
    """Symbolic tracing would: it changes ``nn.Module.__call__`` for all threads."""
    model, images = _trained_like("resnet18"), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model(images)
    stop, wrong = threading.Event(), []

    def run():
        while not stop.is_set():
            with torch.inference_mode():
                found = model(images)
            if type(found) is not torch.Tensor or not torch.equal(found, expected):
                wrong.append(found)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(10):
            assert fold_batch_norms(shadow(model), images) == PAIRS["resnet18"]
    finally:
        stop.set()
        thread.join()
    assert not wrong


def test_a_hook_on_a_folded_normalisation_sees_the_same_tensor():
    model = _trained_like("resnet18")
    images, seen = torch.rand(1, 3, 64, 64), []
    for fold in (False, True):
        twin = shadow(model)
        twin.layer4[1].bn2.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        if fold:
            fold_batch_norms(twin, images)
        with torch.inference_mode():
            twin(images)
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-4)


class _Padded(nn.Conv2d):
    """As in many ports from TensorFlow: padding by a module of its own, then the function."""

    def __init__(self, *args, padding, used=("bias", "padding"), **kwargs):
        super().__init__(*args, **kwargs)
        self.static_padding = nn.ZeroPad2d(padding)
        self.used = used

    def forward(self, x):
        bias = self.bias if "bias" in self.used else None
        padding = self.padding if "padding" in self.used else 0
        return nn.functional.conv2d(self.static_padding(x), self.weight, bias, self.stride, padding)


@pytest.mark.parametrize(
    ("padding", "used", "folded"),
    [
        ((2, 2, 1, 1), ("bias", "padding"), (1, nn.Identity)),
        ((0, 1, 0, 1), ("bias", "padding"), (1, nn.ZeroPad2d)),
        ((1, 1, 1, 1), ("padding",), (0, nn.ZeroPad2d)),
        ((1, 1, 1, 1), ("bias",), (0, nn.ZeroPad2d)),
    ],
    ids=["both", "uneven", "ignores its bias", "ignores its padding"],
)
def test_subclasses_of_convolution_are_folded_if_they_use_what_they_get(padding, used, folded):
    torch.manual_seed(0)
    conv = _Padded(3, 4, 3, stride=2, bias=False, padding=padding, used=used)
    model = nn.Sequential(conv, nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
    images = torch.rand(2, 3, 12, 16)
    model(images)
    model.eval()[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    twin = shadow(model)
    assert fold_batch_norms(twin, images[:1]) == folded[0]
    assert type(twin[0].static_padding) is folded[1]
    torch.testing.assert_close(twin(images), model(images), rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in twin.parameters())


@pytest.mark.parametrize("padding", [(0, 1, 0, 1), (2, 1, 1, 2), (0, 0, 3, 0), (1, 1, 2, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_convolution_takes_uneven_padding_exactly(padding, stride):
    torch.manual_seed(0)
    model = nn.Sequential(nn.ZeroPad2d(padding), nn.Conv2d(4, 8, (3, 5), stride, groups=4), nn.Flatten()).eval()
    images = torch.rand(2, 4, 12, 15)
    twin = shadow(model)
    assert fold_batch_norms(twin, images[:1]) == 0
    assert type(twin[0]) is nn.Identity
    assert torch.equal(twin(images), model(images))
    assert model[1].kernel_size == (3, 5)


@pytest.mark.parametrize(
    ("padding", "conv"),
    [
        ((0, 1, 0, 1), nn.Conv2d(4, 4, 3)),
        ((0, 1, 0, 1), nn.Conv2d(4, 4, 3, dilation=2, groups=4)),
        ((0, 1, 0, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4)),
        ((-1, 1, -1, 1), nn.Conv2d(4, 4, 3, groups=4)),
    ],
    ids=["of all channels", "dilated", "with padding of its own", "cropping"],
)
def test_other_padding_is_left_alone(padding, conv):
    model = nn.Sequential(nn.ZeroPad2d(padding), conv, nn.Flatten()).eval()
    twin, images = shadow(model), torch.rand(1, 4, 12, 15)
    fold_batch_norms(twin, images)
    assert type(twin[0]) is nn.ZeroPad2d
    assert torch.equal(twin(images), model(images))


def test_efficientnet_lite_is_folded():
    pytest.importorskip("efficientnet_lite_pytorch")
    model = resolve("efficientnet-lite:lite0").load().module.eval()
    twin = shadow(model)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)
        assert fold_batch_norms(twin, images) == 49
        assert sum(isinstance(part, nn.ZeroPad2d) for part in twin.modules()) == 1  # the first layer's, uneven
        assert (twin(images) - expected).abs().max() <= 1e-4 * expected.std()
