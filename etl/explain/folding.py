"""Batch normalisation folded into the convolution before it: the same function in fewer passes over memory."""

from __future__ import annotations

import logging
from collections import Counter

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_log = logging.getLogger(__name__)


def fold_batch_norms(module: nn.Module) -> int:
    """Fold every ``Conv2d`` - ``BatchNorm2d`` pair of a frozen copy, in place.

    In evaluation mode a batch normalisation is an affine function per channel, so it can be multiplied into the weights
    of the convolution whose only consumer it is. Module names stay: a folded batch normalisation becomes an
    ``nn.Identity``, and hooks that were on it see the same tensor as before.

    Parameters
    ----------
    module
        In evaluation mode, with parameters of its own right to be replaced (:func:`etl.explain.shadow.shadow`). Tensors
        are replaced, never written, so a module that shares them keeps its own.

    Returns
    -------
    int
        Number of pairs folded; 0 if the forward pass cannot be traced symbolically, which changes nothing.
    """
    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:  # noqa: BLE001 - tracing runs foreign code on stand-ins for tensors
        _log.debug("%s cannot be traced, so nothing is folded: %s", type(module).__name__, error)
        return 0
    modules = dict(module.named_modules())
    calls = Counter(id(modules[str(node.target)]) for node in graph.nodes if node.op == "call_module")
    folded = 0
    for node in graph.nodes:
        pair = _pair(node, modules)
        if pair is None or any(calls[id(part)] != 1 for part in pair):
            continue
        _fold(*pair)
        parent, _, name = str(node.target).rpartition(".")
        setattr(modules[parent], name, _stand_in(pair[1]))
        folded += 1
    return folded


def _pair(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    """Return the convolution and the batch normalisation that a node ends, if it is the convolution's only consumer."""
    if node.op != "call_module" or not node.args:
        return None
    source, norm = node.args[0], modules[str(node.target)]
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
        return None
    conv = modules[str(source.target)]
    # Exactly these types: a subclass may compute something else.
    if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
        return None
    # A hook on the convolution expects its own output; weight normalisation makes the weight anew in every pass.
    if conv._forward_hooks or conv._forward_pre_hooks or "weight" not in conv._parameters:
        return None
    return conv, norm


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
