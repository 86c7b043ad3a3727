"""Numbers of float32 and bfloat16 arrays, in compiled loops; NumPy knows no bfloat16, so its bits are uint16 there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

COMPILED: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}
"""How loops are compiled: once a machine, and to set NaN and infinity free as PyTorch does."""

_F, _I = np.float32, np.uint32


def read(values: Any, index: Any) -> Any:
    """Read a float32, or the upper half of one, which is a bfloat16."""


def write(values: Any, index: Any, value: Any) -> None:
    """Write a float32, or round it to its upper half, to even ones if in the middle."""


@overload(read, inline="always")
def _reading(values, index):
    if values.dtype is types.uint16:
        return lambda values, index: _I(_I(values[index]) << _I(16)).view(_F)
    return lambda values, index: values[index]


@overload(write, inline="always")
def _writing(values, index, value):
    if values.dtype is types.uint16:

        def rounded(values, index, value):
            bits = _F(value).view(_I)
            values[index] = (bits + _I(0x7FFF) + ((bits >> _I(16)) & _I(1))) >> _I(16)

        return rounded

    def whole(values, index, value):
        values[index] = value

    return whole


@njit(inline="always")
def clamped(value, low, high):
    """Clamp; NaN stays, because it comes first."""
    value = max(value, low)
    return min(value, high)
