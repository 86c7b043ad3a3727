"""What one image costs a model: multiplications and memory, measured by watching one pass."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COUNTS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten.mkldnn_linear: lambda rows, weight, *_, **__: 2 * rows.numel() * len(weight),
    torch.ops.aten.mkldnn_linear_backward_input: lambda _, rows, weight, **__: 2 * rows.numel() * weight.shape[1],
}


@dataclass(frozen=True)
class Footprint:
    """Cost of a computation.

    Parameters
    ----------
    multiply_adds
        Multiplications with addition, of matrix products and convolutions.
    nbytes
        Most memory at one moment of the tensors that the computation made, in bytes.
    """

    multiply_adds: int
    nbytes: int


def footprint(call: Callable[[], object]) -> Footprint:
    """Run a computation and measure it.

    Parameters
    ----------
    call
        Without arguments; its result is dropped.

    Returns
    -------
    Footprint
        The same in every run. Work space within an operator does not count.
    """
    with _Watch() as watch:
        call()
    return Footprint(watch.flops // 2, watch.peak)


class _Watch(TorchDispatchMode):
    """Adds up the storages that operators return, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.peak = 0
        self._live: dict[int, int] = {}
        self._total = 0

    def __torch_dispatch__(
        self, func: Any, _types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # What comes in was there before, or is known already.
        known = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        count = _COUNTS.get(func._overloadpacket)
        if count is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=result))
        for tensor in _tensors(result):
            self._add(tensor.untyped_storage(), known)
        return result

    def _add(self, storage: torch.UntypedStorage, known: set[int]) -> None:
        key = storage._cdata
        if key in self._live or key in known:
            return
        self._live[key] = storage.nbytes()
        self._total += storage.nbytes()
        self.peak = max(self.peak, self._total)
        weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self._total -= self._live.pop(key)


def _tensors(tree: object) -> list[Tensor]:
    """Return the tensors that have a storage: those of oneDNN, in between, keep it to themselves."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and not leaf.is_mkldnn]
