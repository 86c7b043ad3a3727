"""The demo's trained networks: thirteen files of float16 weights, shipped with the package."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from etl.demo.architectures import ARCHITECTURES, MEAN, STD, build

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped weights and of ``training.json``, the record of their training."""


def load(name: str, folder: Path = WEIGHTS) -> nn.Module:
    """Load a trained network.

    Parameters
    ----------
    name
        One of :data:`etl.demo.architectures.ARCHITECTURES`.
    folder
        Where ``<name>.safetensors`` is; the shipped weights by default.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, float32, on the CPU; see :func:`etl.demo.architectures.build` for its input and output
        and :func:`preprocess` for the input's normalisation.

    Raises
    ------
    ValueError
        If there is no such architecture.
    FileNotFoundError
        If it has not been trained.
    """
    model = build(name)
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; train it with: python -m etl.demo.train --model {name}")
    state = {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}
    model.load_state_dict(state)
    return model.eval()


def recorded(name: str, folder: Path = WEIGHTS) -> dict[str, Any]:
    """Return what ``training.json`` says about a network: parameters, images, epochs, seconds, accuracies, versions.

    Raises
    ------
    ValueError
        If there is no such architecture.
    FileNotFoundError, KeyError
        If it has not been trained.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"there is no demo architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    record: dict[str, Any] = _read(folder / "training.json")[name]
    return dict(record)


def dump(model: nn.Module) -> bytes:
    """Serialise the parameters and buffers as a safetensors file; floating-point numbers become float16."""
    return save(
        {
            key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
            for key, value in model.state_dict().items()
        }
    )


def preprocess(images: Tensor) -> Tensor:
    """Normalise images for any network of the demo.

    Parameters
    ----------
    images
        uint8, shape (B, 3, H, W), RGB.

    Returns
    -------
    torch.Tensor
        float32, shape (B, 3, H, W).
    """
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / std


@lru_cache(maxsize=8)
def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record
