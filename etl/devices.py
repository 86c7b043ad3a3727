"""Where models run."""

from __future__ import annotations

import torch

from warehouse.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device for ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.

    Raises
    ------
    UserError
        If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"There is no device {name!r}; use auto, cpu, cuda or cuda:0.") from error
    if device.type not in {"cpu", "cuda"}:
        raise UserError(f"The device {name!r} is not supported; use auto, cpu, cuda or cuda:0.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"There is no device {name!r} here: {torch.cuda.device_count()} CUDA devices are available.")
    return device
