"""What stands beside a convolution folded into it: the same function in fewer passes over memory."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from etl.explain.watched import Watch

if TYPE_CHECKING:
    from collections.abc import Callable


def fold_batch_norms(module: nn.Module, example: Tensor) -> int:
    """Fold batch normalisations and zero padding into the convolutions of a frozen copy, in place.

    In evaluation mode a batch normalisation is an affine function per channel, so it can be multiplied into the weights
    of the convolution whose only consumer it is. An ``nn.ZeroPad2d`` that pads both sides alike is an argument of the
    convolution that follows; one that does not is that for a depthwise convolution whose windows have zeros added on
    the side with less, which is faster than copying the image (two to three times in EfficientNet-Lite). Module names
    stay: what was folded becomes an ``nn.Identity``, and hooks that were on it see the same tensor as before.

    Pairs are found by watching one pass, which concerns this thread alone; symbolic tracing would change what calling
    a module means in all threads. What a network would do only for other images is not seen. A subclass of
    ``nn.Conv2d`` is watched once more and gets back what it does not use in the way of ``nn.Conv2d``.

    Parameters
    ----------
    module
        In evaluation mode, with parameters of its own right to be replaced (:func:`etl.explain.shadow.shadow`). Tensors
        are replaced, never written, so a module that shares them keeps its own.
    example
        Input of the module, (1, 3, H, W).

    Returns
    -------
    int
        Number of batch normalisations folded.
    """
    with torch.no_grad():
        folds = _found(module, example)
        for fold in folds:
            fold.do()
        if any(type(fold.conv) is not nn.Conv2d for fold in folds):
            watch = Watch()
            with watch:
                module(example.clone())
            wrong = [fold for fold in folds if not any(call.is_plainly(fold.conv) for call in watch.calls)]
            for fold in reversed(wrong):
                fold.undo()
    return sum(isinstance(fold.folded, nn.BatchNorm2d) for fold in folds if fold.done)


@dataclass(eq=False)
class _Fold:
    """A convolution and the module beside it that is to become a part of it."""

    root: nn.Module
    conv: nn.Conv2d
    name: str
    folded: nn.BatchNorm2d | nn.ZeroPad2d
    done: bool = False

    def do(self) -> None:
        self._before = {name: getattr(self.conv, name) for name in ("weight", "bias", "padding", "kernel_size")}
        if isinstance(self.folded, nn.BatchNorm2d):
            _fold_norm(self.conv, self.folded)
        else:
            _fold_padding(self.conv, self.folded)
        self._put(_stand_in(self.folded))
        self.done = True

    def undo(self) -> None:
        for name, value in self._before.items():
            setattr(self.conv, name, value)
        self._put(self.folded)
        self.done = False

    def _put(self, module: nn.Module) -> None:
        parent, _, child = self.name.rpartition(".")
        setattr(self.root.get_submodule(parent), child, module)


def _found(module: nn.Module, example: Tensor) -> list[_Fold]:
    """Find convolutions with a normalisation or padding that nothing else uses, each called once in a pass."""
    entered: list[tuple[str, nn.BatchNorm2d, Tensor]] = []
    padded: list[tuple[str, nn.ZeroPad2d, Tensor]] = []
    calls: Counter[int] = Counter()
    watch = Watch()
    with ExitStack() as stack:
        # Exactly these types: a subclass may compute something else. The same part may have several names.
        for name, part in module.named_modules():
            if type(part) is nn.BatchNorm2d and part.running_mean is not None:
                stack.callback(part.register_forward_pre_hook(_noting_input(name, entered, calls)).remove)
            elif type(part) is nn.ZeroPad2d and min(part.padding) >= 0 and _is_unwatched(part):
                stack.callback(part.register_forward_hook(_noting_output(name, padded, calls, watch)).remove)
        stack.enter_context(watch)
        watch.note(module(example.clone()))
    owners = _owners(module)
    weights = Counter(id(call.weight) for call in watch.calls)
    convs = {id(call.weight): owners.get(id(call.weight)) for call in watch.calls}
    folds = []
    for call in watch.calls:
        conv = convs[id(call.weight)]
        if conv is None or weights[id(call.weight)] != 1 or not call.is_plainly(conv):
            continue
        for name, norm, tensor in entered:
            if tensor is call.result and watch.uses[id(tensor)] == 1 == calls[id(norm)]:
                folds.append(_Fold(module, conv, name, norm))
        for name, padding, tensor in padded:
            is_only = watch.uses[id(tensor)] == 1 == calls[id(padding)]
            if tensor is call.source and is_only and _takes_padding(conv, padding):
                folds.append(_Fold(module, conv, name, padding))
    return folds


def _noting_input(
    name: str, into: list[tuple[str, nn.BatchNorm2d, Tensor]], calls: Counter[int]
) -> Callable[..., None]:
    def note(module: nn.BatchNorm2d, args: tuple[Any, ...]) -> None:
        calls[id(module)] += 1
        if args and isinstance(args[0], Tensor):
            into.append((name, module, args[0]))

    return note


def _noting_output(
    name: str, into: list[tuple[str, nn.ZeroPad2d, Tensor]], calls: Counter[int], watch: Watch
) -> Callable[..., None]:
    def note(module: nn.ZeroPad2d, _args: object, output: Tensor) -> None:
        calls[id(module)] += 1
        watch.uses[id(output)] = 0
        into.append((name, module, output))

    return note


def _owners(module: nn.Module) -> dict[int, nn.Conv2d | None]:
    """Tell whose weight a tensor is, by its identity; None where it belongs to several or is not to be changed."""
    owners: dict[int, nn.Conv2d | None] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is None:
                continue
            alone = id(parameter) not in owners and isinstance(part, nn.Conv2d) and name == "weight"
            owners[id(parameter)] = part if alone and _is_unwatched(part) else None  # type: ignore[assignment]
    return owners


def _is_unwatched(part: nn.Module) -> bool:
    """Whether nobody expects the module's own output."""
    return not (part._forward_hooks or part._forward_pre_hooks)


def _takes_padding(conv: nn.Conv2d, padding: nn.ZeroPad2d) -> bool:
    """Whether the convolution can do the padding, and is no slower for it."""
    left, right, top, bottom = padding.padding
    has_none = conv.padding == (0, 0) and conv.padding_mode == "zeros"
    return has_none and (
        (left, top) == (right, bottom) or (conv.groups == conv.in_channels and conv.dilation == (1, 1))
    )


def _fold_padding(conv: nn.Conv2d, padding: nn.ZeroPad2d) -> None:
    left, right, top, bottom = padding.padding
    conv.padding = (max(top, bottom), max(left, right))
    # A window that begins further out has nothing but zeros for what is there; one that ends further out, likewise.
    zeros = [max(difference, 0) for difference in (right - left, left - right, bottom - top, top - bottom)]
    if any(zeros):
        conv.weight = nn.Parameter(F.pad(conv.weight, zeros), requires_grad=False)
        conv.kernel_size = conv.weight.shape[2:]


def _fold_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    # Fusing makes new parameters, which would record a graph down to the first layer.
    conv.requires_grad_(requires_grad=False)


def _stand_in(folded: nn.Module) -> nn.Identity:
    """Return an identity that keeps the hooks of the module it replaces."""
    identity = nn.Identity().eval()
    identity._forward_hooks = folded._forward_hooks
    identity._forward_pre_hooks = folded._forward_pre_hooks
    return identity
