"""A pass that is watched: which function made a tensor, and how often it was used."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
"""Of ``torch.conv2d``, in the order in which they are given."""

_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}

_MAKING = (torch.conv2d, F.batch_norm, torch.batch_norm)
"""Functions whose result is a new tensor, and no view."""


def convolution_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Name the arguments of a call of ``torch.conv2d``; all of them are there."""
    return _DEFAULTS | dict(zip(_ARGUMENTS, args, strict=False)) | dict(kwargs)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of ``torch.conv2d``; holding the tensors, so that no identity is given twice."""

    source: Tensor
    weight: Tensor
    bias: Tensor | None
    padding: Any
    result: Tensor

    def is_plainly(self, conv: nn.Conv2d) -> bool:
        """Whether this is what ``nn.Conv2d`` would have called with the module's parameters."""
        return self.weight is conv.weight and self.bias is conv.bias and self.padding == conv.padding


class Watch(TorchFunctionMode):
    """Notes the convolutions of a pass, and how often each tensor is an argument of a function that returns tensors.

    Concerns this thread alone.

    Attributes
    ----------
    uses : Counter
        By identity of a tensor; to be trusted of those that are held.
    calls : list of Call
        In their order.
    made : dict
        New tensors of convolutions and batch normalisations, by identity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.uses: Counter[int] = Counter()
        self.calls: list[Call] = []
        self.made: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            self.note((args, kwargs))
        if func is torch.conv2d:
            given = convolution_arguments(args, kwargs or {})
            self.calls.append(Call(given["input"], given["weight"], given["bias"], given["padding"], result))
        if func in _MAKING:
            self.made[id(result)] = result
            self.uses[id(result)] = 0  # not those of a tensor that had this identity before
        return result

    def note(self, used: object) -> None:
        """Count the tensors in arguments, or in what the model returns."""
        self.uses.update(id(leaf) for leaf in tree_leaves(used) if isinstance(leaf, Tensor))
