"""Compiled loops in the threads in which PyTorch's own operators run.

Those threads stay awake for some milliseconds after an operator, to be ready for the next one. Threads of anybody else
would have to share the processors with them: on two processors, work in between then takes nearly as long as in one
thread, and so does the operator that follows. Importing this fails where PyTorch's OpenMP cannot be found.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import torch
from numba import njit, types
from threadpoolctl import threadpool_info

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

SIGNATURE = types.void(types.CPointer(types.voidptr))
"""Of what :func:`in_parallel` runs, with :func:`numba.cfunc`: it gets the pointers and finds out with
:func:`part_of` which part is its own."""

_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


@njit(inline="always")
def part_of(count):
    """Say which of ``count`` things are for this thread: from the first to before the last."""
    return count * _thread() // _threads(), count * (_thread() + 1) // _threads()


def _loaded() -> ctypes.CDLL:
    paths = [Path(found["filepath"]) for found in threadpool_info() if found["user_api"] == "openmp"]
    own = [path for path in paths if Path(torch.__file__).parent in path.parents] or paths
    if len(own) != 1:
        raise ImportError(f"Which OpenMP is PyTorch's cannot be told among {paths}.")
    found = ctypes.CDLL(str(own[0]))
    if not hasattr(found, "GOMP_parallel"):  # GCC's, which LLVM's and Intel's have for its sake
        raise ImportError(f"{own[0]} cannot be called as GCC's OpenMP.")
    for function in ("omp_get_thread_num", "omp_get_num_threads"):
        llvm.add_symbol(function, ctypes.cast(getattr(found, function), ctypes.c_void_p).value)
    return found


_LIBRARY = _loaded()


def in_parallel(part: Any, arrays: Sequence[np.ndarray]) -> None:
    """Run a compiled function in as many threads as PyTorch uses, and wait for all; other Python threads go on.

    Parameters
    ----------
    part
        Made by ``numba.cfunc(SIGNATURE)``; nothing in it raises.
    arrays
        Contiguous; ``part`` gets pointers to their first elements.
    """
    pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    _LIBRARY.GOMP_parallel(ctypes.c_void_p(part.address), pointers, torch.get_num_threads(), 0)
