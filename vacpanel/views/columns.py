"""Columns that travel inside the message that replaces them.

Bokeh sends every array in two frames of the web socket behind the message. A click replaces tens of short columns, and
pages took longer to collect the frames than to read the numbers in them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from bokeh.core.serialization import Buffer, Serializer

SHORT = 1 << 13  # bytes up to which a column is better inside, compressed and as text
PLAIN = {np.dtype(kind) for kind in ("float32", "float64", "int32", "uint8")}  # all others Bokeh converts first


class Column(np.ndarray):
    """A short array of numbers that is written into the message, as Bokeh writes arrays into pages that it saves."""


def inside(column: Any) -> Any:
    """Return a column to be sent inside the message, if it is short and of numbers, or a list of such; else itself."""
    if isinstance(column, list):
        return [inside(part) for part in column] if column and isinstance(column[0], np.ndarray) else column
    short = isinstance(column, np.ndarray) and column.nbytes <= SHORT and column.dtype in PLAIN
    return np.ascontiguousarray(column).view(Column) if short else column


def _encode(column: Column, serializer: Serializer) -> dict[str, Any]:  # noqa: ARG001
    return {
        "type": "ndarray",
        "array": {"type": "bytes", "data": Buffer(id="", data=column.data).to_base64()},
        "shape": list(column.shape),
        "dtype": column.dtype.name,
        "order": sys.byteorder,
    }


Serializer.register(Column, _encode)
