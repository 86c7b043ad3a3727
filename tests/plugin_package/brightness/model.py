"""A model: tells dark images from light ones."""

from __future__ import annotations

import torch
from torch import nn

from etl.models import LoadedModel
from etl.preprocess import Preprocess

WEIGHTS = {"grey": (1 / 3, 1 / 3, 1 / 3), "green": (0.0, 1.0, 0.0)}


class BrightnessModels:
    """``brightness:grey`` counts all colours alike, ``brightness:green`` looks at green only."""

    name = "brightness"
    description = "tells dark images from light ones, an example of a plug-in"

    def available(self) -> str | None:
        """None: nothing else is needed."""
        return None

    def names(self) -> list[str]:
        """What can be named."""
        return list(WEIGHTS)

    def fingerprint(self, name: str) -> str:
        """Equal if and only if the model computes the same."""
        return f"brightness {WEIGHTS[name]} 1"

    def load(self, name: str) -> LoadedModel:
        """Make the network."""
        layer = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            light = 10 * torch.tensor(WEIGHTS[name]).reshape(3, 1, 1)
            layer.weight.copy_(torch.stack([-light, light]))
            layer.bias.zero_()
        module = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        half = (0.5, 0.5, 0.5)
        return LoadedModel(module, Preprocess(64, 64, mean=half, std=half), 2, "Brightness", ("dark", "light"))
