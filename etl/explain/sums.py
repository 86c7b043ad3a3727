"""Sums of a network that alone use the result of a convolution, found by watching one pass."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from etl.explain.watched import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IN_PLACE = {torch.Tensor.add_, torch.Tensor.__iadd__}
ADDING = {torch.add, torch.Tensor.add, torch.Tensor.__add__, *IN_PLACE}
"""Functions that return the sum of their two arguments."""


@dataclass(frozen=True)
class Sum:
    """A sum that alone uses the result of a convolution.

    Parameters
    ----------
    overwrites
        Whether nobody reads the other summand afterwards, so that the sum can be written there.
    """

    overwrites: bool


class SumWatch(Watch):
    """Notes in which order the memory of tensors is used, in one pass; see :meth:`sums`.

    Parameters
    ----------
    module
        Whose weights have names.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._names = {id(parameter): name for name, parameter in module.named_parameters()}
        self._times: defaultdict[int, list[int]] = defaultdict(list)
        self._made: set[int] = set()
        self._added: list[tuple[int, bool, Tensor, Tensor]] = []
        self._kept: list[Tensor] = []  # so that no memory is given twice
        self._time = 0

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._time += 1
        read = self._use((args, kwargs))
        if func in ADDING and not kwargs and len(args) == len(read) == 2:
            self._added.append((self._time, func in IN_PLACE, read[0], read[1]))
        known = set(self._times)
        result = super().__torch_function__(func, types, args, kwargs)
        self._made |= {memory_of(tensor) for tensor in self._use(result)} - known
        return result

    def _use(self, tree: object) -> list[Tensor]:
        tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout is torch.strided]
        for tensor in tensors:
            self._times[memory_of(tensor)].append(self._time)
        self._kept += tensors
        return tensors

    def end(self, output: object) -> None:
        """Note what the module returns."""
        self._time += 1
        self._use(output)

    def work(self) -> float:
        """Multiply-adds of convolutions for each function that was called."""
        return sum(call.result.numel() * call.weight[0].numel() for call in self.calls) / max(1, self._time)

    def first(self, images: Tensor) -> str | None:
        """Name the weight of the convolution that alone reads the images, if there is one."""
        for call in self.calls:
            if call.source is images and len(set(self._times[memory_of(images)])) == 1:
                return self._names.get(id(call.weight))
        return None

    def sums(self) -> dict[str, Sum]:
        """Say which convolutions' results are summands and nothing else, by the name of the convolution's weight."""
        called = Counter(id(call.weight) for call in self.calls)
        results = {
            memory_of(call.result): self._names[id(call.weight)]
            for call in self.calls
            if called[id(call.weight)] == 1 and id(call.weight) in self._names
        }
        found = {}
        for time, in_place, first, second in self._added:
            for summand, other in ((first, second), (second, first)):
                name, memory = results.get(memory_of(summand)), memory_of(other)
                if name is None or memory == memory_of(summand) or first.shape != second.shape:
                    continue
                times = sorted(set(self._times[memory_of(summand)]))
                if in_place and summand is first:  # where it was there is the sum now
                    times = [t for t in times if t <= time]
                if times[1:] == [time]:
                    found[name] = Sum(overwrites=memory in self._made and self._times[memory][-1] == time)
        return found


def memory_of(tensor: Tensor) -> int:
    """Tell tensors apart that share no memory, as long as they are held."""
    return tensor.untyped_storage()._cdata
