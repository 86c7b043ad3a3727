from __future__ import annotations

import pytest
import torch
from torch import nn

from etl.demo.architectures import ARCHITECTURES, build, family


def test_the_papers_thirteen() -> None:
    assert set(ARCHITECTURES) == {
        "alexnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "squeezenet1_0", "squeezenet1_1",
        "densenet121", "densenet169", "mobilenet_v2", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0",
    }  # fmt: skip
    assert len(ARCHITECTURES) == 13


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_forward_and_the_last_map(name: str) -> None:
    model = build(name).eval()
    maps: list[torch.Size] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: maps.append(output.shape))
    with torch.inference_mode():
        logits = model(torch.randn(2, 3, 96, 96))
    assert logits.shape == (2, 64)
    assert torch.isfinite(logits).all()
    assert 5 <= maps[-1][2] == maps[-1][3] <= 12


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, num_classes=5).train()
    # A residual branch whose last scale is zero passes no gradient on; any other value does.
    for parameter in model.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    nn.functional.cross_entropy(model(torch.randn(4, 3, 96, 96)), torch.arange(4)).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("alexnet", ("features", "classifier")),
        ("squeezenet1_0", ("features", "classifier")),
        ("mobilenet_v2", ("features", "classifier")),
        ("densenet121", ("features", "classifier")),
        ("resnet50", ("layer1", "layer4", "fc")),
        ("shufflenet_v2_x1_0", ("stage2", "conv5", "fc")),
    ],
)
def test_modules_are_named_as_in_torchvision(name: str, modules: tuple[str, ...]) -> None:
    assert set(modules) <= dict(build(name).named_children()).keys()


def test_deeper_networks_of_a_family_are_deeper() -> None:
    def depth(name: str) -> int:
        return sum(isinstance(m, nn.Conv2d) for m in build(name).modules())

    assert depth("resnet18") < depth("resnet34") < depth("resnet101") < depth("resnet152")
    assert depth("resnet50") < depth("resnet101")
    assert depth("densenet121") < depth("densenet169")


def test_families() -> None:
    assert {family(n) for n in ARCHITECTURES} == {
        "AlexNet", "DenseNet", "MobileNet", "ResNet", "ShuffleNet", "SqueezeNet",
    }  # fmt: skip
    assert family("resnet152") == "ResNet"


@pytest.mark.parametrize("function", [build, family])
def test_an_unknown_name_is_refused_with_the_known_ones(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=r"no demo architecture 'resnet19'.*resnet18"):
        function("resnet19")
