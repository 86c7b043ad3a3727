"""Grad-CAM in forward passes, side by side with torch-cam: ``python -m benchmarks.explain``.

1.00 is one plain eager float32 forward pass of the same model and batch, timed in the same round; each figure is the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision

from etl.explain.grad_cam import GradCAM
from etl.explain.grad_cam_pp import GradCAMPlusPlus
from etl.explain.prepared import PreparedModel
from etl.explain.protocol import Context, NoParameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.explain.one_pass import OnePassMethod

MODELS = ("resnet18", "resnet50", "mobilenet_v2", "densenet121", "alexnet")


def ours(method: OnePassMethod, prepared: PreparedModel, images: torch.Tensor) -> Callable[[], None]:
    """Return a call that explains the batch with a prepared model."""

    def run() -> None:
        with prepared.session():
            method.attribute(prepared, prepared.images(images), None, NoParameters(), Context())

    return run


def torch_cam(model: torch.nn.Module, layer: str, images: torch.Tensor) -> Callable[[], None]:
    """Return a call that explains the batch with torch-cam's Grad-CAM at the same layer."""
    from torchcam.methods import GradCAM as TheirGradCAM

    extractor = TheirGradCAM(model, target_layer=layer)

    def run() -> None:
        scores = model(images)
        extractor(scores.argmax(1).tolist(), scores)

    return run


def seconds(call: Callable[[], None]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    print(f"{platform.machine()}, {options.threads} threads, torch {version('torch')}, torchcam {version('torchcam')}")
    print(
        f"{'model':14} {'B':>2} {'forward':>9} {'Grad-CAM':>9} {'Grad-CAM++':>11} {'torch-cam':>10} {'ours/theirs':>12}"
    )
    for name in MODELS:
        for batch in options.batch:
            torch.manual_seed(0)
            model = torchvision.models.get_model(name, weights=None).eval()
            images = torch.rand(batch, 3, 224, 224)
            prepared = PreparedModel(model, images, channels_last=True, fold=True)
            layer = prepared.layer.name
            calls = {
                "forward": lambda model=model, images=images: _forward(model, images),
                "ours": ours(GradCAM(), prepared, images),
                "ours++": ours(GradCAMPlusPlus(), prepared, images),
                "theirs": torch_cam(torchvision.models.get_model(name, weights=None).eval(), layer, images),
            }
            for call in calls.values():
                call()
            times = {key: np.array([]) for key in calls}
            for _ in range(options.rounds):
                for key, call in calls.items():
                    times[key] = np.append(times[key], seconds(call))
            ratio = {key: float(np.median(value / times["forward"])) for key, value in times.items()}
            against = float(np.median(times["ours"] / times["theirs"]))
            print(
                f"{name:14} {batch:2} {np.median(times['forward']) * 1000:6.0f} ms {ratio['ours']:9.2f} "
                f"{ratio['ours++']:11.2f} {ratio['theirs']:10.2f} {against:12.2f}"
            )


def _forward(model: torch.nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        model(images)


if __name__ == "__main__":
    main()
