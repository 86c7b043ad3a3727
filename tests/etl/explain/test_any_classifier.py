"""All five methods on every classifier of torchvision, whose layers nobody names."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from etl.explain import PreparedModel, explain
from etl.explain.grad_cam import grad_cam_map

METHODS = {
    "grad-cam": {},
    "grad-cam++": {},
    "smooth-grad-cam++": {"samples": 2},
    "score-cam": {"channels": 4},
    "bbmp": {"iterations": 2},
}
GRADIENT_METHODS = ("grad-cam", "grad-cam++", "smooth-grad-cam++")

LAYERS = {
    "alexnet": "features.11",  # before the last pooling, as in the paper
    "convnext": "features",
    "densenet": "features",
    "efficientnet": "features",
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "maxvit": "blocks.3",
    "mnasnet": "layers",
    "mobilenet": "features",
    "regnet": "trunk_output",
    "resnet": "layer4",
    "resnext": "layer4",
    "shufflenet": "conv5",
    "squeezenet": "features",
    "swin": "permute",  # the normalised map of the last stage, in the order of a convolution
    "vgg11": "features.19",
    "vgg13": "features.23",
    "vgg16": "features.29",
    "vgg19": "features.35",
    "vgg11_bn": "features.27",
    "vgg13_bn": "features.33",
    "vgg16_bn": "features.42",
    "vgg19_bn": "features.51",
    # Classified from the class token, so that patches count for the last time before the last attention.
    "vit_b": "encoder.layers.encoder_layer_11.ln_1",
    "vit_l": "encoder.layers.encoder_layer_23.ln_1",
    "vit_h": "encoder.layers.encoder_layer_31.ln_1",
    "wide_resnet": "layer4",
}
"""By the beginning of the name; the longest that fits counts."""

LARGE = 100_000  # parameters that are worth a shortcut
FILLING = {"uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_", "zero_", "fill_"}


class _WithoutInitialising(TorchFunctionMode):
    """Leave large parameters as they are while a model is built: drawing random numbers takes most of the time."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        is_large = bool(args) and isinstance(args[0], nn.Parameter) and args[0].numel() > LARGE
        return args[0] if is_large and func.__name__ in FILLING else func(*args, **(kwargs or {}))


def _build(name: str) -> tuple[nn.Module, int]:
    """A model with random weights of the usual size, and the side of a small image that it takes."""
    side, options = 40, {}
    if name.startswith(("alexnet", "convnext", "densenet", "googlenet", "squeezenet")):
        side = 64  # one pixel is left of less
    elif name.startswith("vit"):
        side = options["image_size"] = 3 * int(name.rpartition("_")[2])
    elif name == "maxvit_t":
        side = 224  # its windows of 7 x 7 must fit into every stage
    elif name == "inception_v3":
        side = 107
    if name in {"googlenet", "inception_v3"}:
        options = {"init_weights": False}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        with _WithoutInitialising():
            model = torchvision.models.get_model(name, weights=None, **options)
        numbers = torch.randn(1_000_003)
        for parameter in model.parameters():
            if parameter.numel() > LARGE:
                scale = math.sqrt(2 / parameter[0].numel())
                for part in parameter.view(-1).split(len(numbers)):
                    torch.mul(numbers[: len(part)], scale, out=part)
        # Statistics of real activations, without which the depth of a network decides how large its scores are.
        norms = [module for module in model.eval().modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train().momentum = 1.0
        if norms:
            model(torch.randn(2, 3, side, side))
    return model.eval(), side


def _speaking_target(model: nn.Module, image: Tensor) -> tuple[PreparedModel, Tensor]:
    """The class with the strongest Grad-CAM map: a map of zeros would show nothing."""
    prepared = PreparedModel(model, image)
    with prepared.session():
        cut = prepared.cut(prepared.images(image))
        peaks = [grad_cam_map(cut.activations, cut.gradients(torch.tensor([c]))).amax() for c in range(16)]
        height, width = cut.activations.shape[2:]
        assert height * width > 1
        assert height == width
    return prepared, torch.stack(peaks).argmax()[None]


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_all_methods_on_every_classifier_of_torchvision(monkeypatch, name):
    # BBMP looks for the disk that it begins with in 34 steps, which would be most of the time.
    monkeypatch.setattr("etl.explain.bbmp._radii", lambda: range(0, 180, 60))
    model, side = _build(name)
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    prepared, target = _speaking_target(model, image)
    assert str(prepared.layer) == LAYERS[max((begin for begin in LAYERS if name.startswith(begin)), key=len)]
    for method, parameters in METHODS.items():
        maps = explain(model, image, target, method, **parameters)
        assert maps.shape == (1, side, side)
        assert maps.dtype == torch.float32
        assert torch.isfinite(maps).all()
        assert maps.min() >= 0
        assert maps.max() <= 1
        if method in GRADIENT_METHODS:
            assert maps.max() == 1
