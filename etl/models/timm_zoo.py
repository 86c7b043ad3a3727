"""timm's classifiers (optional extra): with pretrained weights from the Hugging Face hub, or a checkpoint."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from etl.classes import imagenet
from etl.models import LoadedModel, ModelError
from etl.models.checkpoints import count_classes, file_sha256, load_into, read_state_dict
from etl.models.torchvision_zoo import family
from etl.preprocess import INTERPOLATIONS, CallablePreprocess, Preprocess, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


class TimmModels:
    """``timm:resnet50.a1_in1k`` or ``timm:resnet50@checkpoint.safetensors``."""

    name = "timm"
    description = (
        "timm's classifiers (pip install 'vacpanel[timm]'), weights from the Hugging Face hub, or name@checkpoint"
    )

    def available(self) -> str | None:
        """None if timm is installed."""
        return None if find_spec("timm") is not None else "timm is not installed; run: pip install 'vacpanel[timm]'"

    def names(self) -> Sequence[str]:
        """Return timm's architectures, and its pretrained models with their tag."""
        return _names()

    def load(self, name: str) -> LoadedModel:
        """Load a model; see :class:`etl.models.ModelProvider`."""
        import timm

        architecture, at, source = name.partition("@")
        if at:
            return _from_file(architecture, source)
        try:
            module = timm.create_model(architecture, pretrained=True).eval()
        except Exception as error:
            raise ModelError(
                f"timm cannot get the weights of {architecture} ({type(error).__name__}); "
                f"name a file that you have: timm:{architecture}@weights.safetensors"
            ) from error
        table = imagenet()
        is_imagenet = module.num_classes == len(table) and "in1k" in str(module.pretrained_cfg.get("tag") or "in1k")
        return LoadedModel(
            module=module,
            preprocess=_preprocess(module.pretrained_cfg),
            outputs=module.num_classes,
            family=family(architecture),
            class_names=table.names if is_imagenet else None,
            class_wnids=table.wnids if is_imagenet else None,  # type: ignore[arg-type]
        )

    def fingerprint(self, name: str) -> str | None:
        """Return the hub's name of the weights, or the hash of the checkpoint."""
        import timm

        architecture, at, source = name.partition("@")
        config = timm.models.get_pretrained_cfg(architecture)
        if config is None:
            return None
        if at:
            return f"{file_sha256(source)} {_preprocess(config.to_dict()).fingerprint()}"
        return f"timm {config.architecture}.{config.tag} {config.hf_hub_id} {config.url}"


@lru_cache(maxsize=1)
def _names() -> list[str]:
    if find_spec("timm") is None:
        return []
    import timm

    return sorted({*timm.list_models(), *timm.list_pretrained()})


def _from_file(architecture: str, source: str) -> LoadedModel:
    import timm

    def build(num_classes: int) -> nn.Module:
        module: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=num_classes)
        return module

    state = read_state_dict(source)
    outputs = count_classes(build, state, source)
    module: Any = load_into(build(outputs), state, source).eval()
    return LoadedModel(module, _preprocess(module.pretrained_cfg), outputs, family(architecture))


def _preprocess(config: dict[str, Any]) -> Preprocessing:
    """Return timm's evaluation transform for a model."""
    from timm.data import create_transform, resolve_data_config

    data = resolve_data_config({}, pretrained_cfg=config)
    size = data["input_size"][-2:]
    plain = data["crop_mode"] == "center" and data["interpolation"] in INTERPOLATIONS and size[0] == size[1]
    if plain and data["input_size"][0] == 3:
        return Preprocess(
            math.floor(size[0] / data["crop_pct"]),
            int(size[0]),
            data["interpolation"],
            tuple(data["mean"]),
            tuple(data["std"]),
        )
    transform = create_transform(**data, is_training=False)
    return CallablePreprocess(transform, identity="timm " + re.sub(r"\s+", " ", repr(transform)))
