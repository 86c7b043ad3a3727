"""Tiny inputs: a few generated images, and small real networks made by factories in a module of their own."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

FACTORIES = """
import time

import torch
from torch import nn
from torchvision import transforms as T

NAMES = ["blue", "green", "red"]
SEEN = []  # batch sizes of all forward passes

class Net(nn.Module):
    def __init__(self, width, outputs=3, nan=False, fail_on=None):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(width, outputs)
        self.nan, self.fail_on = nan, fail_on

    def forward(self, x):
        SEEN.append(len(x))
        if self.fail_on == len(x):
            raise ValueError("out of luck")
        y = self.classifier(self.features(x).mean((2, 3)))
        return y * float("nan") if self.nan else y

def transform(size=24):
    return T.Compose([T.Resize(size), T.CenterCrop(size), T.ToTensor(), T.Normalize([0.5] * 3, [0.25] * 3)])

def make(width, seed, size=24, names=NAMES, **options):
    torch.manual_seed(seed)
    return Net(width, **options), transform(size), names

def small(): return make(4, 0)
def slow():
    net, t, names = small()
    net.features.register_forward_hook(lambda *_: time.sleep(0.2))
    return net, t, names
def large(): return make(16, 1, size=32)
def reordered():
    net, t, names = small()
    order = [2, 0, 1]
    with torch.no_grad():
        net.classifier.weight.copy_(net.classifier.weight[order])
        net.classifier.bias.copy_(net.classifier.bias[order])
    return net, t, [names[i] for i in order]
def own_transform():
    net, _, names = small()
    tensor = transform()
    return net, lambda image: tensor(image), names
def nan(): return make(4, 0, nan=True)
def raises_in_the_middle(): return make(4, 0, fail_on=2)
def strangers(): return make(4, 0, names=["cat", "dog", "bird"])
def miscounted(): return make(4, 0, names=["blue", "green"])
def not_a_model(): return "resnet50"
def broken(): raise RuntimeError("no weights today")
def bad_transform():
    net, _, names = small()
    return net, lambda image: 1 / 0, names
"""


@pytest.fixture
def factories(tmp_path, monkeypatch) -> ModuleType:
    """The module ``tinynets``, importable while the test runs."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "tinynets.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "tinynets", raising=False)
    module = importlib.import_module("tinynets")
    yield module
    sys.modules.pop("tinynets", None)


def write_image(path: Path, seed: int, tint: int, size: tuple[int, int] = (40, 32)) -> None:
    """A noisy image with one strong channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 120, (size[1], size[0], 3), dtype=np.uint8)
    noise[..., tint] += 120
    Image.fromarray(noise).save(path)


@pytest.fixture
def image_folder(tmp_path) -> Path:
    """Three classes of four PNG images of different sizes."""
    root = tmp_path / "images"
    for tint, name in enumerate(("red", "green", "blue")):
        for k in range(4):
            write_image(root / name / f"{k}.png", 10 * tint + k, tint, size=(36 + 3 * k, 30 + tint))
    return root


@pytest.fixture(autouse=True)
def two_threads():
    """Keep torch from taking the whole machine; restores what a run may have changed."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)
