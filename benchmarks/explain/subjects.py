"""What is explained: networks, images, and the layer at which everybody explains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision
from PIL import Image
from skimage import data
from torch import Tensor, nn

from etl.explain.prepared import PreparedModel
from etl.models import resolve

if TYPE_CHECKING:
    from pathlib import Path

LITE = "efficientnet-lite0"
MODELS = ("resnet18", "resnet50", "mobilenet_v2", "densenet121", "alexnet", LITE)
LAYERS = {
    "resnet18": "layer4",
    "resnet50": "layer4",
    "mobilenet_v2": "features",
    "densenet121": "features",
    "alexnet": "features.11",
    LITE: "head",
}


@dataclass
class Subject:
    """A network and images for it.

    Attributes
    ----------
    name
        Of the network.
    module
        The network as peers get it: in evaluation mode, its parameters as they come.
    images
        (B, 3, H, W), normalised.
    """

    name: str
    module: nn.Module
    images: Tensor

    @cached_property
    def prepared(self) -> PreparedModel:
        """The network as the engine holds it: folded, channels-last."""
        prepared = PreparedModel(self.module, self.images, LAYERS[self.name], channels_last=True, fold=True)
        assert prepared.layer
        return prepared

    def forward(self) -> Tensor:
        """Run the unit: a plain eager float32 forward pass without gradients."""
        with torch.no_grad():
            result: Tensor = self.module(self.images)
        return result


def subject(name: str, batch: int, photos: Path | None = None) -> Subject:
    """Make a network; EfficientNet-Lite0 with its pretrained weights and photos, the others with random ones."""
    if name == LITE:
        loaded = resolve("efficientnet-lite:lite0").load()
        pixels = [loaded.preprocess.pixels(photo) for photo in _photos(photos, batch)]
        images = loaded.preprocess.batch(torch.stack(pixels)).contiguous()
        return Subject(name, loaded.module, images)
    torch.manual_seed(0)
    return Subject(name, torchvision.models.get_model(name, weights=None).eval(), torch.rand(batch, 3, 224, 224))


def _photos(folder: Path | None, count: int) -> list[Image.Image]:
    """Photos of a folder, or those that come with scikit-image; repeated if there are fewer."""
    if folder is None:
        found = [Image.fromarray(getattr(data, name)()) for name in ("chelsea", "coffee", "astronaut", "rocket")]
    else:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
        step = max(1, len(files) // count)
        found = [Image.open(path).convert("RGB") for path in files[::step][:count]]
    return [found[i % len(found)] for i in range(count)]


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's r of two maps."""
    return float(np.corrcoef(one.flatten().double().numpy(), other.flatten().double().numpy())[0, 1])
