"""Loops that PyTorch has not, compiled when a machine first needs them."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor


@cache
def load(name: str, dtype: torch.dtype) -> Any:
    """Compile loops, in some seconds when a machine does so first, later in a moment.

    Parameters
    ----------
    name
        Of a module of this package: ``"winograd"`` or ``"masked"``.
    dtype
        float32 or bfloat16.

    Returns
    -------
    object or None
        What its function ``compiled`` returns, for :func:`etl.explain.loops.openmp.in_parallel`. None where it cannot
        be compiled: then there is a slower way.
    """
    try:
        module = import_module(f"{__name__}.{name}")
        return module.compiled(np.float32 if dtype == torch.float32 else np.uint16)
    except Exception as error:  # noqa: BLE001 - no OpenMP, nowhere to keep what was compiled, another numba
        why = str(error).partition("\n")[0]
        logging.getLogger(__name__).warning("Explanations take longer than they could: %s: %s", name, why)
        return None


def flat(tensor: Tensor) -> np.ndarray:
    """View a contiguous float32 or bfloat16 tensor as an array of one dimension; of uint16 for bfloat16."""
    line = tensor.reshape(-1)
    return (line if line.dtype == torch.float32 else line.view(torch.uint16)).numpy()
