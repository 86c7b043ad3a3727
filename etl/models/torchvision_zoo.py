"""torchvision's classifiers, with its published ImageNet weights or with the user's checkpoint."""

from __future__ import annotations

import re
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torchvision

from etl.classes import imagenet
from etl.models import LoadedModel, ModelError
from etl.models.checkpoints import count_classes, file_sha256, load_into, read_state_dict
from etl.preprocess import from_torchvision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

_FAMILIES = {
    "alexnet": "AlexNet",
    "convnext": "ConvNeXt",
    "densenet": "DenseNet",
    "efficientnet": "EfficientNet",
    "googlenet": "GoogLeNet",
    "inception": "Inception",
    "maxvit": "MaxViT",
    "mnasnet": "MNASNet",
    "mobilenet": "MobileNet",
    "regnet": "RegNet",
    "resnet": "ResNet",
    "resnext": "ResNeXt",
    "shufflenet": "ShuffleNet",
    "squeezenet": "SqueezeNet",
    "swin": "Swin",
    "vgg": "VGG",
    "vit": "ViT",
    "wide_resnet": "Wide ResNet",
}


class TorchvisionModels:
    """``torchvision:resnet50``, ``torchvision:resnet50@IMAGENET1K_V1`` or ``torchvision:resnet50@checkpoint.pth``."""

    name = "torchvision"
    description = (
        "torchvision's classifiers with its ImageNet weights (downloaded once), or name@checkpoint (.pth, .safetensors)"
    )

    def available(self) -> str | None:
        """None: torchvision is a dependency."""
        return None

    def names(self) -> Sequence[str]:
        """Return the classification architectures of the installed torchvision."""
        return torchvision.models.list_models(module=torchvision.models)

    def load(self, name: str) -> LoadedModel:
        """Load a model; see :class:`etl.models.ModelProvider`."""
        architecture, _, source = name.partition("@")
        weights = _published(architecture, source)
        return _pretrained(architecture, weights) if weights is not None else _from_file(architecture, source)

    def fingerprint(self, name: str) -> str | None:
        """Return the name of the published weights, which never change, or the hash of the checkpoint."""
        architecture, _, source = name.partition("@")
        weights = _published(architecture, source)
        if weights is not None:
            return f"{weights} {weights.url}"
        default = _default_weights(architecture)
        return f"{file_sha256(source)} {from_torchvision(default.transforms()).fingerprint()}"


def _default_weights(architecture: str) -> Any:
    return torchvision.models.get_model_weights(architecture).DEFAULT


def _published(architecture: str, source: str) -> Any:
    """Return the weights that torchvision publishes under ``source``; None if that is a file."""
    weights = torchvision.models.get_model_weights(architecture)
    if not source:
        return weights.DEFAULT
    return weights.__members__.get(source)


def _pretrained(architecture: str, weights: Any) -> LoadedModel:
    try:
        module = torchvision.models.get_model(architecture, weights=weights, progress=False)
    except (urllib.error.URLError, OSError) as error:
        raise ModelError(
            f"torchvision cannot download the weights of {architecture} ({error}); name a file that you have: "
            f"torchvision:{architecture}@weights.pth"
        ) from error
    names = tuple(weights.meta["categories"])
    table = imagenet()
    return LoadedModel(
        module=module.eval(),
        preprocess=from_torchvision(weights.transforms()),
        outputs=len(names),
        family=family(architecture),
        class_names=names,
        class_wnids=table.wnids if len(names) == len(table) else None,  # type: ignore[arg-type]
    )


def _from_file(architecture: str, source: str) -> LoadedModel:
    def build(num_classes: int) -> nn.Module:
        # GoogLeNet and Inception: the auxiliary heads belong to torchvision's checkpoints, the slow init does not.
        extra = {"init_weights": False} if architecture in {"googlenet", "inception_v3"} else {}
        return torchvision.models.get_model(architecture, weights=None, num_classes=num_classes, **extra)

    state = read_state_dict(Path(source))
    outputs = count_classes(build, state, source)
    return LoadedModel(
        module=load_into(build(outputs), state, source).eval(),
        preprocess=from_torchvision(_default_weights(architecture).transforms()),
        outputs=outputs,
        family=family(architecture),
    )


def family(architecture: str) -> str:
    """Return the family of an architecture's name: ``"resnet18"`` -> ``"ResNet"``; the name's first word if unknown."""
    for prefix in sorted(_FAMILIES, key=len, reverse=True):
        if architecture.startswith(prefix):
            return _FAMILIES[prefix]
    return re.split(r"[\d_]", architecture, maxsplit=1)[0] or architecture
