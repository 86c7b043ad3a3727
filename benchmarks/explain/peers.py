"""The peers' calls for the same work: pytorch-grad-cam ("jac", as its author) and torch-cam."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING

import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, ScoreCAM, score_cam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchcam import methods as torchcam

from benchmarks.explain.subjects import LAYERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from benchmarks.explain.subjects import Subject

logging.getLogger().setLevel(logging.ERROR)
score_cam.tqdm.tqdm = lambda steps: steps  # no progress bars in the tables


def jac(subject: Subject, method: str) -> Callable[[], object]:
    """pytorch-grad-cam's method, made once, on the subject's images and predicted classes."""
    module, layer = _own(subject)
    made = {"grad-cam": GradCAM, "grad-cam++": GradCAMPlusPlus, "score-cam": ScoreCAM}[method](module, [layer])
    return lambda: made(input_tensor=subject.images, targets=None)


def jac_channels(subject: Subject, channels: int) -> Callable[[], object]:
    """pytorch-grad-cam's Score-CAM weights of the first channels only."""
    module, layer = _own(subject)
    logits, maps = _maps(subject, module, layer)
    made = ScoreCAM(module, [layer])
    targets = [ClassifierOutputTarget(int(logits.argmax()))]
    return lambda: made.get_cam_weights(subject.images, None, targets, maps[:, :channels].numpy(), None)


def torch_cam(subject: Subject, method: str, **options: int) -> Callable[[], object]:
    """torch-cam's method, made once; the forward pass that it needs is part of the call."""
    module, layer = _own(subject)
    made = {
        "grad-cam": torchcam.GradCAM,
        "smooth-grad-cam++": torchcam.SmoothGradCAMpp,
        "score-cam": torchcam.ScoreCAM,
    }[method](module, target_layer=layer, input_shape=tuple(subject.images.shape[1:]), **options)

    def run() -> None:
        scores = module(subject.images)
        made(scores.argmax(1).tolist(), scores)

    return run


def torch_cam_channels(subject: Subject, channels: int) -> Callable[[], object]:
    """torch-cam's Score-CAM weights of the first channels only."""
    module, layer = _own(subject)
    logits, maps = _maps(subject, module, layer)
    made = torchcam.ScoreCAM(module, target_layer=layer, input_shape=tuple(subject.images.shape[1:]), batch_size=32)
    made.hook_a = [maps[:, :channels]]
    made._input = subject.images
    # Without the hook, which would copy maps that are not asked for.
    made.remove_hooks()
    return lambda: made._get_weights(int(logits.argmax()))


def _own(subject: Subject) -> tuple[nn.Module, nn.Module]:
    """Copy the network, and find the layer: hooks of one peer must not slow the others."""
    module = copy.deepcopy(subject.module)
    return module, module.get_submodule(LAYERS[subject.name])


def _maps(subject: Subject, module: nn.Module, layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and activations at the layer."""
    kept: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda *call: kept.append(call[2].detach()))
    with torch.no_grad():
        logits = module(subject.images)
    handle.remove()
    return logits, kept[0]
