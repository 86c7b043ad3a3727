"""Convolutions merged with what follows them, in passes that record no graph, on a CPU.

PyTorch brings the weights of a convolution to the order that oneDNN prefers in every call, and makes new tensors for
the sum and the activation function after it. Here weights are packed once, a sum and a ReLU after a convolution are
done by it, the sum is written where the other summand lies if nobody reads that any more, 3 x 3 convolutions take fewer
multiplications (:mod:`etl.explain.winograd`), and the first one sees an image under masks without masked images
(:mod:`etl.explain.masked`).
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from etl.explain.masked import MaskedConvolution
from etl.explain.packed import Geometry, Packed, can_pack
from etl.explain.sums import ADDING, IN_PLACE, Sum, SumWatch, memory_of
from etl.explain.watched import convolution_arguments
from etl.explain.winograd import Winograd, suits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from etl.explain.masked import MaskedImages
    from etl.explain.packed import Bounds, Convolution, FrozenConvolution

_CLAMPING: dict[Any, tuple[str, ...]] = {
    F.relu: ("inplace",),
    F.relu6: ("inplace",),
    F.hardtanh: ("min_val", "max_val", "inplace"),
}
"""Functions that may clamp in place, and their arguments after the first."""

_LEAST = 1e6
"""Multiply-adds of convolutions for each function that is called for an image. Where there are fewer, as in ShuffleNet,
watching the functions takes longer than is saved."""

_ALIKE = 1e-3
"""Of the range of the scores: more than this is no rounding."""


@dataclass(frozen=True)
class Plan:
    """What convolutions of a module can do beside.

    Parameters
    ----------
    sums
        By the name of the convolution's weight.
    first
        The name of the weight of the convolution that alone reads the images.
    """

    sums: Mapping[str, Sum]
    first: str | None = None


def can_merge(module: nn.Module, images: Tensor) -> bool:
    """Whether there is something to gain for these images on this machine."""
    if images.device.type != "cpu" or images.dtype != torch.float32 or not can_pack(images.dtype):
        return False
    return any(isinstance(part, nn.Conv2d) for part in module.modules())


def mergeable(module: nn.Module, example: Tensor) -> Plan | None:
    """Find what convolutions of a frozen module can do beside, and try it.

    Parameters
    ----------
    module
        In evaluation mode; as in the passes that are to be merged.
    example
        Input of the module, (1, 3, H, W).

    Returns
    -------
    Plan or None
        For :class:`Merging`. None if the module is to be left alone: it has hooks, which may keep what they see; it
        has little to do for one image; merged passes fail or give other scores, as may be if it uses functions that
        PyTorch does not show; or scores are not finite, since a merged ReLU of NaN is zero.
    """
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        return None
    try:
        with torch.no_grad():
            watch, images = SumWatch(module), example.clone()
            with watch:
                output = module(images)
                watch.end(output)
            if watch.work() < _LEAST:
                return None
            plan = Plan(watch.sums(), watch.first(images))
            with Merging(module, plan).doing():
                merged = module(example.clone())
    except Exception:  # noqa: BLE001 - a user's module may raise anything where it meets what it does not know
        return None
    return plan if _are_alike(output, merged) else None


def _are_alike(expected: object, found: object) -> bool:
    pairs = [[leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)] for tree in (expected, found)]
    return len(pairs[0]) == len(pairs[1]) and all(
        a.shape == b.shape
        and bool(a.isfinite().all())
        and float((a - b).abs().max()) <= _ALIKE * float(a.max() - a.min())
        for a, b in zip(*pairs, strict=True)
        if a.numel() and a.is_floating_point()
    )


class Merging(TorchFunctionMode):
    """Watches a pass and does convolutions of a module's own weights merged with what follows.

    A convolution waits for the next function, whichever it is, so no order is changed that could be noticed. A pass
    whose first convolution reads NaN or infinity, as a model may make of an image without contrast, is left alone:
    merged, a ReLU would make zero of NaN, and nobody would learn of it. Concerns this thread alone.

    Parameters
    ----------
    module
        Frozen; its weights do not change.
    plan
        From :func:`mergeable`.
    """

    def __init__(self, module: nn.Module, plan: Plan) -> None:
        super().__init__()
        self._weights = {id(parameter): parameter for parameter in module.parameters()}
        named = dict(module.named_parameters())
        self._sums = {id(named[name]): found for name, found in plan.sums.items()}
        self._dtype = next(module.parameters()).dtype
        self._can_pack = can_pack(self._dtype)
        self._first = None if plan.first is None else named[plan.first]
        self._convolutions: dict[tuple[Any, ...], FrozenConvolution] = {}
        self._known: dict[tuple[Any, ...], tuple[FrozenConvolution, torch.Size]] = {}
        self._waiting: _Waiting | None = None
        self._seen: _Seen | None = None
        self._on = True
        self._is_finite = False  # as far as the first convolution of this pass can tell

    @property
    def nbytes(self) -> int:
        """Memory of copies of the weights, in bytes."""
        return sum(convolution.nbytes for convolution in self._convolutions.values())

    @contextmanager
    def doing(self, masked: MaskedImages | None = None, masks: Tensor | None = None) -> Iterator[Tensor]:
        """Merge what is called within, without a graph.

        Parameters
        ----------
        masked, masks
            What the module is to see, if not what it is given: an image under these masks (B, h, w).

        Yields
        ------
        torch.Tensor
            What to give to the module in that case, (B, 3, H, W). It is empty until it is read, and stays so if the
            first convolution can do without.
        """
        try:
            with torch.no_grad(), self:
                if masked is None:
                    yield torch.empty(0)
                else:
                    assert masks is not None
                    self._seen = _Seen(masked, masks, self._dtype)
                    yield self._seen.images
                self._finish()
        finally:
            self._waiting = self._seen = None
            self._on, self._is_finite = True, False

    @contextmanager
    def before_graph(self) -> Iterator[Callable[[], None]]:
        """Merge what is called within before a graph begins.

        Yields
        ------
        callable
            To be called when it does: nothing is merged from then on.
        """

        def stop() -> None:
            self._finish()
            self._on = False

        try:
            with self:
                yield stop
                self._finish()
        finally:
            self._waiting = None
            self._on, self._is_finite = True, False

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self._on:
            return func(*args, **kwargs)
        waiting = self._waiting
        if waiting is not None:
            if func in ADDING and not kwargs and waiting.add(args, in_place=func in IN_PLACE):
                return waiting.result
            if args and args[0] is waiting.result:
                waiting.bounds = _bounds(func, args[1:], kwargs)
            self._finish()
            if waiting.bounds is not None:
                return waiting.result
        seen, self._seen = self._seen, None
        if func is torch.conv2d:
            call = convolution_arguments(args, kwargs)
            if seen is not None and call["weight"] is self._first and call["input"] is seen.images:
                self._waiting = seen.convolution(call)
                if self._waiting is not None:
                    return self._waiting.result
            if seen is not None:
                seen.make()
                seen = None
            if self._takes(call) and self._reads_numbers(call["input"]):
                self._waiting = self._convolution(call)
                return self._waiting.result
        if seen is not None:
            seen.make()
        return func(*args, **kwargs)

    def _finish(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.compute()

    def _takes(self, call: Mapping[str, Any]) -> bool:
        images, weight = call["input"], call["weight"]
        return (
            self._can_pack
            and id(weight) in self._weights
            and type(images) is Tensor
            and images.dtype == weight.dtype
            and images.ndim == weight.ndim
            and images.is_contiguous(memory_format=torch.channels_last)
            and not (images.requires_grad and torch.is_grad_enabled())
            and not isinstance(call["padding"], str)
        )

    def _reads_numbers(self, images: Tensor) -> bool:
        if not self._is_finite:
            self._on = self._is_finite = math.isfinite(images.sum())
        return self._on

    def _convolution(self, call: Mapping[str, Any]) -> _Waiting:
        images, weight, bias = call["input"], call["weight"], call["bias"]
        geometry = Geometry.of(call)
        key = (id(weight), id(bias), geometry, images.shape)
        if key not in self._known:
            kind: type[FrozenConvolution] = Winograd if suits(images, weight, geometry) else Packed
            of_any_shape = (*key[:3], kind)
            if of_any_shape not in self._convolutions:
                self._convolutions[of_any_shape] = kind(weight, bias, geometry, images.shape)
            self._known[key] = (self._convolutions[of_any_shape], geometry.shape(images, weight))
        return _Waiting(images, *self._known[key], images.new_empty(0), self._sums.get(id(weight)))


class _Seen:
    """The images of a pass, an image under masks, that are empty until they are needed."""

    def __init__(self, masked: MaskedImages, masks: Tensor, dtype: torch.dtype) -> None:
        self._masked, self._masks = masked, masks
        self.images = masks.new_empty(0, dtype=dtype)

    def make(self) -> None:
        made = self._masked.images(self._masks).contiguous(memory_format=torch.channels_last)
        self.images.set_(made.to(self.images.dtype))  # type: ignore[call-overload]

    def convolution(self, call: Mapping[str, Any]) -> _Waiting | None:
        if isinstance(call["padding"], str):
            return None
        weight, geometry = call["weight"], Geometry.of(call)
        if not self._masked.can_convolve(weight, geometry):
            return None
        shape = geometry.shape(self._masked.image.expand(len(self._masks), -1, -1, -1), weight)
        convolution = MaskedConvolution(self._masked, self._masks, weight, call["bias"], geometry)
        return _Waiting(self.images, convolution, shape, weight.new_empty(0))


@dataclass
class _Waiting:
    """A convolution that is not computed yet; ``result`` is empty until then."""

    images: Tensor
    convolution: Convolution
    shape: torch.Size
    result: Tensor
    sum: Sum | None = None
    other: Tensor | None = None
    into: bool = False
    bounds: Bounds | None = None

    def add(self, args: tuple[Any, ...], *, in_place: bool) -> bool:
        """Take what is to be added, if :meth:`compute` can do so; ``result`` is then that of the sum."""
        others = [arg for arg in args if arg is not self.result]
        if self.sum is None or self.other is not None or len(args) != 2 or len(others) != 1:
            return False
        (other,) = others
        if type(other) is not Tensor or other.shape != self.shape or other.dtype != self.images.dtype:
            return False
        if other.requires_grad and torch.is_grad_enabled():
            return False
        may_write = memory_of(other) != memory_of(self.images)
        must_write = in_place and args[0] is other
        if not other.is_contiguous(memory_format=torch.channels_last) or (must_write and not may_write):
            return False
        self.other = other
        self.into = must_write or (may_write and self.sum.overwrites)
        self.result = args[0] if in_place else self.images.new_empty(0)
        return True

    def compute(self) -> None:
        made = self.convolution(self.images, self.other, self.bounds, into=self.into)
        if made is not self.result:
            self.result.set_(made)  # type: ignore[call-overload]


def _bounds(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Bounds | None:
    """Say between what limits a function clamps in place; None for all others."""
    if func in {torch.relu_, torch.Tensor.relu_}:
        return 0.0, math.inf
    given = dict(zip(_CLAMPING.get(func, ()), args, strict=False)) | dict(kwargs)
    if func not in _CLAMPING or not given.get("inplace"):
        return None
    if func is F.hardtanh:
        return given.get("min_val", -1.0), given.get("max_val", 1.0)
    return 0.0, (math.inf if func is F.relu else 6.0)
