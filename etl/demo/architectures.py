"""The paper's thirteen CNN architectures, narrowed for 96 x 96 pictograms.

Every network is assembled from torchvision's own blocks and keeps torchvision's module names (``features`` and
``classifier``, ``layer1`` ... ``layer4`` and ``fc``, ...). Widths are divided and strides chosen so that the last
convolutional map is 5 x 5 to 11 x 11: fine enough for class activation maps, coarse enough for two CPU cores.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.shufflenetv2 import ShuffleNetV2
from torchvision.models.squeezenet import Fire

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT_SIZE = 96
"""Side of the input, in pixels; images are not resized."""

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
"""Normalisation of RGB values in [0, 1]: ``(x - MEAN) / STD``."""


class NarrowResNet(ResNet):
    """ResNet whose first stage is ``width`` wide and whose last stage keeps its resolution."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], layers: tuple[int, int, int, int], width: int, num_classes: int
    ) -> None:
        nn.Module.__init__(self)  # torchvision's constructor would build the wide network first
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = width, 1, 1, 64
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, width * 2, layers[1], stride=2)
        self.layer3 = self._make_layer(block, width * 4, layers[2], stride=2)
        self.layer4 = self._make_layer(block, width * 8, layers[3])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(width * 8 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            # Each residual branch starts as nothing, without which the deep networks need far more epochs.
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
            elif isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)


class NarrowAlexNet(nn.Module):
    """AlexNet with a quarter of the channels, a 7 x 7 first convolution and small fully connected layers.

    It has batch normalisation, which the original predates: so narrow, it does not train without.
    """

    def __init__(self, num_classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(16, 48, kernel_size=5, padding=2, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(48, 96, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(96),
            nn.ReLU(inplace=True),
            nn.Conv2d(96, 64, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((5, 5))
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout),
            nn.Linear(64 * 5 * 5, 192, bias=False),
            nn.BatchNorm1d(192),
            nn.ReLU(inplace=True),
            nn.Dropout(p=dropout),
            nn.Linear(192, 192, bias=False),
            nn.BatchNorm1d(192),
            nn.ReLU(inplace=True),
            nn.Linear(192, num_classes),
        )
        _kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, 3, 96, 96)."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class NarrowSqueezeNet(nn.Module):
    """SqueezeNet 1.0 or 1.1 with a quarter of the channels; ``version`` is torchvision's, ``"1_0"`` or ``"1_1"``."""

    def __init__(self, version: str, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        pool = partial(nn.MaxPool2d, kernel_size=3, stride=2, ceil_mode=True)
        fires = [
            Fire(_quarter(inputs), _quarter(squeeze), _quarter(expand), _quarter(expand))
            for inputs, squeeze, expand in (
                (96 if version == "1_0" else 64, 16, 64),
                (128, 16, 64),
                (128, 32, 128),
                (256, 32, 128),
                (256, 48, 192),
                (384, 48, 192),
                (384, 64, 256),
                (512, 64, 256),
            )
        ]
        if version == "1_0":
            stem = nn.Conv2d(3, _quarter(96), kernel_size=7, stride=2)
            blocks = [pool(), *fires[:3], pool(), *fires[3:7], pool(), fires[7]]
        else:
            stem = nn.Conv2d(3, _quarter(64), kernel_size=3, stride=2)
            blocks = [pool(), *fires[:2], pool(), *fires[2:4], pool(), *fires[4:]]
        # Batch normalisation after every stage, which the original lacks, for the reason given for AlexNet.
        layers: list[nn.Module] = [stem, nn.BatchNorm2d(stem.out_channels), nn.ReLU(inplace=True)]
        for block in blocks:
            layers.append(block)
            if isinstance(block, Fire):
                layers.append(nn.BatchNorm2d(block.expand1x1.out_channels + block.expand3x3.out_channels))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout),
            nn.Conv2d(_quarter(512), num_classes, kernel_size=1),
            nn.Identity(),  # torchvision's ReLU on the logits dies here early in training
            nn.AdaptiveAvgPool2d((1, 1)),
        )
        _kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, 3, 96, 96)."""
        return torch.flatten(self.classifier(self.features(x)), 1)


def _quarter(channels: int) -> int:
    return channels // 4


def _kaiming(module: nn.Module) -> None:
    for m in module.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(m.weight, nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)


def _resnet(block: type[BasicBlock | Bottleneck], *layers: int, width: int) -> Callable[[int], nn.Module]:
    def make(num_classes: int) -> nn.Module:
        return NarrowResNet(block, (layers[0], layers[1], layers[2], layers[3]), width, num_classes)

    return make


def _densenet(*blocks: int, growth: int) -> Callable[[int], nn.Module]:
    def make(num_classes: int) -> nn.Module:
        config: Any = blocks
        net = DenseNet(growth, config, num_init_features=2 * growth, bn_size=2, num_classes=num_classes)
        # 12 -> 6 -> 6 -> 6 instead of 24 -> 12 -> 6 -> 3: a third less work, and it ends on 6 x 6.
        net.features.pool0 = nn.MaxPool2d(kernel_size=5, stride=4, padding=2)
        net.features.transition2.pool = nn.Identity()
        net.features.transition3.pool = nn.Identity()
        return net

    return make


def _mobilenet(num_classes: int) -> nn.Module:
    # torchvision's table with a stride of 2 in the first block (24 x 24, the costly 48 x 48 stage is left out) and
    # of 1 before the 24- and 160-channel stages, to end on 6 x 6.
    settings = [
        [1, 16, 1, 2],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 1],
        [6, 320, 1, 1],
    ]
    net = MobileNetV2(num_classes, width_mult=0.3, inverted_residual_setting=settings, dropout=0.1)
    last = net.features[-1]
    narrow = nn.Conv2d(last[0].in_channels, 256, kernel_size=1, bias=False)  # torchvision never goes below 1280
    nn.init.kaiming_normal_(narrow.weight, mode="fan_out")
    net.features[-1] = nn.Sequential(narrow, nn.BatchNorm2d(256), nn.ReLU6(inplace=True))
    net.last_channel = 256
    net.classifier[1] = nn.Linear(256, num_classes)
    nn.init.normal_(net.classifier[1].weight, 0, 0.01)
    nn.init.zeros_(net.classifier[1].bias)
    return net


def _shufflenet(*channels: int) -> Callable[[int], nn.Module]:
    def make(num_classes: int) -> nn.Module:
        net = ShuffleNetV2([4, 8, 4], list(channels), num_classes=num_classes)
        first: Any = net.stage4[0]
        first.branch1[0].stride = first.branch2[3].stride = (1, 1)  # to end on 6 x 6 instead of 3 x 3
        return net

    return make


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "alexnet": NarrowAlexNet,
    "squeezenet1_0": partial(NarrowSqueezeNet, "1_0"),
    "squeezenet1_1": partial(NarrowSqueezeNet, "1_1"),
    "shufflenet_v2_x0_5": _shufflenet(12, 24, 48, 96, 256),
    "shufflenet_v2_x1_0": _shufflenet(12, 58, 116, 232, 256),
    "mobilenet_v2": _mobilenet,
    "resnet18": _resnet(BasicBlock, 2, 2, 2, 2, width=16),
    "resnet34": _resnet(BasicBlock, 3, 4, 6, 3, width=12),
    "resnet50": _resnet(Bottleneck, 3, 4, 6, 3, width=8),
    "resnet101": _resnet(Bottleneck, 3, 4, 23, 3, width=8),
    "resnet152": _resnet(Bottleneck, 3, 8, 36, 3, width=8),
    "densenet121": _densenet(6, 12, 24, 16, growth=8),
    "densenet169": _densenet(6, 12, 32, 32, growth=8),
}

ARCHITECTURES: tuple[str, ...] = tuple(_BUILDERS)
"""Names of the thirteen architectures, torchvision's, in the order in which they are trained."""


def build(name: str, num_classes: int = 64) -> nn.Module:
    """Build an untrained network.

    Parameters
    ----------
    name
        One of :data:`ARCHITECTURES`.
    num_classes
        Size of the output.

    Returns
    -------
    torch.nn.Module
        Takes float32 (B, 3, 96, 96), normalised with ``MEAN`` and ``STD``; returns logits (B, num_classes).

    Raises
    ------
    ValueError
        If there is no such architecture.
    """
    if name not in _BUILDERS:
        raise ValueError(f"there is no demo architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    return _BUILDERS[name](num_classes)


def family(name: str) -> str:
    """Return the family of an architecture: ``"resnet18"`` -> ``"ResNet"``.

    Raises
    ------
    ValueError
        If there is no such architecture.
    """
    if name in _BUILDERS:
        for prefix, title in _FAMILIES.items():
            if name.startswith(prefix):
                return title
    raise ValueError(f"there is no demo architecture {name!r}; there are {', '.join(ARCHITECTURES)}")


_FAMILIES = {
    "alexnet": "AlexNet",
    "squeezenet": "SqueezeNet",
    "shufflenet": "ShuffleNet",
    "mobilenet": "MobileNet",
    "resnet": "ResNet",
    "densenet": "DenseNet",
}
