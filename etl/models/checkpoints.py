"""Reading checkpoints that nobody vouches for: tensors only, nothing in a file is ever executed."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from etl.models import ModelError

StateDict = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def read_state_dict(path: Path | str) -> StateDict:
    """Read a state dict from a ``.safetensors`` file or from what ``torch.save`` wrote.

    Dictionaries of training scripts (``{"state_dict": ..., "epoch": ...}``) and the prefixes of ``DataParallel``,
    ``torch.compile`` and Lightning are unwrapped.

    Raises
    ------
    ModelError
        If the file does not exist, is damaged, or holds anything but tensors and plain containers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelError(f"The checkpoint {path} does not exist.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"The checkpoint {path} holds more than tensors, or is no checkpoint, and was not opened further; "
            f"save model.state_dict() and use that file."
        ) from error
    except Exception as error:
        raise ModelError(f"The checkpoint {path} cannot be read: {str(error) or type(error).__name__}") from error
    return _unwrap(content, path)


def load_into(module: nn.Module, state: StateDict, source: str) -> nn.Module:
    """Load a state dict strictly.

    Raises
    ------
    ModelError
        If a key is missing, unexpected or of another shape; the message names the first ones.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        own = module.state_dict()
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        reshaped = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
        parts = [
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for keys, what in ((missing, "missing"), (unexpected, "unexpected"), (reshaped, "of another shape"))
            if keys
        ]
        raise ModelError(f"The checkpoint {source} does not fit the architecture: {'; '.join(parts)}.") from error
    return module


def count_classes(build: Callable[[int], nn.Module], state: Mapping[str, Tensor], source: str) -> int:
    """Read the number of classes of a checkpoint from the parameters whose shape depends on it.

    Parameters
    ----------
    build
        Builds the architecture for a number of classes; called on the meta device.
    state
        The checkpoint.
    source
        Its name, for the error.

    Raises
    ------
    ModelError
        If no such parameter is in the checkpoint.
    """
    with torch.device("meta"):
        few, more = build(7).state_dict(), build(11).state_dict()
    for key, value in few.items():
        for axis, (a, b) in enumerate(zip(value.shape, more[key].shape, strict=True)):
            if (a, b) == (7, 11) and key in state and state[key].ndim == value.ndim:
                return int(state[key].shape[axis])
    raise ModelError(f"The checkpoint {source} does not fit the architecture: it has no classification layer.")


def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal.

    Raises
    ------
    ModelError
        If it cannot be read.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"The checkpoint {path} cannot be read: {error.strerror or error}") from error


def state_sha256(module: nn.Module) -> str:
    """Return the SHA-256 over the names, types, shapes and values of a module's parameters and buffers, hexadecimal."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unwrap(content: Any, path: Path) -> StateDict:
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = isinstance(content, Mapping) and {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors or len(tensors) != len(content):
        raise ModelError(f"The checkpoint {path} holds no state dict; save model.state_dict() and use that file.")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key[len(prefix) :]: value for key, value in tensors.items()}
    # Double and half precision are stored to be precise or small; models run in float32.
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
