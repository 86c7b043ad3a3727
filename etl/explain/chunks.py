"""Long work in passes that fit into memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import torch

from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_log = logging.getLogger(__name__)


def in_chunks(total: int, size: int, run: Callable[[slice], T]) -> Iterator[T]:
    """Do work on the items 0 to ``total`` in passes; when memory runs out, halve the passes and go on.

    Parameters
    ----------
    total
        Number of items.
    size
        Most items of a pass.
    run
        Does the work on a slice of the items; called again with half of them if it ran out of memory.

    Yields
    ------
    object
        What ``run`` returned, in order.

    Raises
    ------
    UserError
        If memory does not suffice for a single item.
    """
    start = 0
    while start < total:
        part = slice(start, min(start + size, total))
        try:
            result = run(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if part.stop - part.start == 1:
                raise UserError(
                    "There is not enough memory to explain even one image at a time; use a smaller model or another "
                    "device."
                ) from error
            size = (part.stop - part.start) // 2
            _log.warning("Out of memory with %d images in a pass; going on with %d.", part.stop - part.start, size)
        else:
            yield result
            start = part.stop
            continue
        # Only here, outside of the handler, nothing holds the tensors of the failed pass any more.
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch failed because there was no memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
