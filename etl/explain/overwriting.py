"""Activation functions that write over what they read, where nobody else needs it.

A new tensor for the result costs more than the function: the system has to fill its memory with zeros first.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from etl.explain.watched import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_KINDS = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid)


def overwritable(module: nn.Module, example: Tensor) -> list[nn.Module]:
    """Find activation functions that alone use what they read, each time that they are called.

    That is so if it was made by a convolution or batch normalisation and is an argument of nothing else, as seen in one
    pass; what a network would do only for other images is not seen. A network with hooks has none, because hooks may
    keep what they see.

    Parameters
    ----------
    module
        In evaluation mode.
    example
        Input of the module, (1, 3, H, W).

    Returns
    -------
    list of torch.nn.Module
        Parts with ``inplace=False``, for :func:`overwriting`.
    """
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        return []
    read: defaultdict[nn.Module, list[Tensor]] = defaultdict(list)
    watch = Watch()
    with ExitStack() as stack:
        for part in module.modules():
            if type(part) in _KINDS and not part.inplace:
                stack.callback(part.register_forward_pre_hook(_noting(read)).remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(watch)
        watch.note(module(example.clone()))
    return [
        part
        for part, tensors in read.items()
        if all(watch.made.get(id(tensor)) is tensor and watch.uses[id(tensor)] == 1 for tensor in tensors)
    ]


@contextmanager
def overwriting(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Let activation functions write over what they read, in passes that record no graph."""
    for part in parts:
        part.inplace = True  # type: ignore[assignment]
    try:
        yield
    finally:
        for part in parts:
            part.inplace = False  # type: ignore[assignment]


def _noting(read: defaultdict[nn.Module, list[Tensor]]) -> Callable[..., None]:
    def note(part: nn.Module, args: tuple[Any, ...]) -> None:
        read[part].extend(args)

    return note
