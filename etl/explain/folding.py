"""Batch normalisation folded into the convolution before it: the same function in fewer passes over memory."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def fold_batch_norms(module: nn.Module, example: Tensor) -> int:
    """Fold every ``Conv2d`` - ``BatchNorm2d`` pair of a frozen copy, in place.

    In evaluation mode a batch normalisation is an affine function per channel, so it can be multiplied into the weights
    of the convolution whose only consumer it is. Module names stay: a folded batch normalisation becomes an
    ``nn.Identity``, and hooks that were on it see the same tensor as before.

    Pairs are found by watching one pass, which concerns this thread alone; symbolic tracing would change what calling
    a module means in all threads. What a network would do only for other images is not seen.

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
        Number of pairs folded.
    """
    with torch.no_grad():
        pairs = _pairs(module, example)
    for conv, name, norm in pairs:
        _fold(conv, norm)
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, _stand_in(norm))
    return len(pairs)


class _Uses(TorchFunctionMode):
    """Counts by identity how often a tensor is an argument of a function that returns tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[int] = Counter()

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            self.note((args, kwargs))
        return result

    def note(self, used: object) -> None:
        self.counts.update(id(leaf) for leaf in tree_leaves(used) if isinstance(leaf, Tensor))


def _pairs(module: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, str, nn.BatchNorm2d]]:
    """Find convolutions whose output only a batch normalisation uses, each called once in a pass."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # holding the tensors, so that no identity is given twice
    pairs: list[tuple[int, str, nn.BatchNorm2d]] = []
    calls: Counter[int] = Counter()
    uses = _Uses()

    def after_conv(conv: nn.Module, _args: object, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        calls[id(conv)] += 1
        made[id(output)] = conv, output
        uses.counts[id(output)] = 0  # those of tensors that had this identity before

    def before_norm(name: str, norm: nn.BatchNorm2d, args: tuple[Any, ...]) -> None:
        calls[id(norm)] += 1
        if args and id(args[0]) in made:
            pairs.append((id(args[0]), name, norm))

    with ExitStack() as stack:
        # Exactly these types: a subclass may compute something else. The same part may have several names.
        for name, part in module.named_modules():
            if type(part) is nn.Conv2d and _is_plain(part):
                stack.callback(part.register_forward_hook(after_conv).remove)
            elif type(part) is nn.BatchNorm2d and part.running_mean is not None:

                def note(norm: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
                    assert isinstance(norm, nn.BatchNorm2d)
                    before_norm(name, norm, args)

                stack.callback(part.register_forward_pre_hook(note).remove)
        stack.enter_context(uses)
        uses.note(module(example.clone()))
    return [
        (made[key][0], name, norm)
        for key, name, norm in pairs
        if uses.counts[key] == 1 and calls[id(norm)] == calls[id(made[key][0])] == 1
    ]


def _is_plain(conv: nn.Conv2d) -> bool:
    """Whether nobody expects the convolution's own output, and its weight is not made anew in every pass."""
    return not (conv._forward_hooks or conv._forward_pre_hooks) and "weight" in conv._parameters


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    # Fusing makes new parameters, which would record a graph down to the first layer.
    conv.requires_grad_(requires_grad=False)


def _stand_in(norm: nn.BatchNorm2d) -> nn.Identity:
    """Return an identity that keeps the hooks of the batch normalisation it replaces."""
    identity = nn.Identity().eval()
    identity._forward_hooks = norm._forward_hooks
    identity._forward_pre_hooks = norm._forward_pre_hooks
    return identity
