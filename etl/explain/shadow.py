"""A frozen stand-in for a user's module: same numbers, shared weights, nothing of the original touched."""

from __future__ import annotations

import copy
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HALF = (torch.float16, torch.bfloat16)
_NO_WEIGHTS = "The model is on the meta device and has no weights; load them before explaining it."


@contextmanager
def clean_torch(device: torch.device, *, restore_random: bool = True) -> Iterator[None]:
    """Gradients on, inference mode and autocast off, random state restored at the end, whatever the caller has set.

    Parameters
    ----------
    device
        Where the work will run; its random state is kept too.
    restore_random
        False leaves the random state alone. It belongs to the whole process, so restoring it in one thread would rewind
        the others; methods draw from generators of their own.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if not restore_random:
            pass
        elif device.type == "cpu":
            stack.enter_context(torch.random.fork_rng(devices=[]))
        else:
            stack.enter_context(torch.random.fork_rng(devices=[device], device_type=device.type))
        yield


def shadow(module: nn.Module) -> nn.Module:
    """Copy a module in evaluation mode, with frozen parameters.

    Parameters share the original's memory: the copy never writes them, and moving it elsewhere gives it its own.
    Buffers are cloned, hooks copied. Weights in half precision become float32: gradients of a confident class underflow
    in float16.

    Parameters
    ----------
    module
        Any module; it is only read. ``DataParallel`` and ``torch.compile`` wrappers are taken off.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, no parameter requires a gradient.

    Raises
    ------
    UserError
        If the module is scripted, not initialised, on the meta device, or cannot be copied.
    """
    module = _unwrapped(module)
    memo: dict[int, object] = {}
    with torch.inference_mode(mode=False), torch.no_grad():
        for part in module.modules():
            _remember_tensors(part, memo)
        try:
            twin = copy.deepcopy(module, memo)
        except (TypeError, RuntimeError, ValueError, AttributeError) as error:
            raise UserError(f"The model {type(module).__name__} cannot be copied for explanation: {error}.") from error
        twin.eval()
        twin.requires_grad_(requires_grad=False)
        if any(p.dtype in _HALF for p in twin.parameters()):
            twin.float()
    return twin


def placement(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating-point type of a module's first floating-point tensor; CPU and float32 without one.

    Raises
    ------
    UserError
        If the tensor is on the meta device, where nothing can be computed.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            if tensor.is_meta:
                raise UserError(_NO_WEIGHTS)
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def _unwrapped(module: nn.Module) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        raise UserError(
            "A TorchScript module cannot be explained because its layers cannot be reached; pass the nn.Module it was "
            "made from."
        )
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return _unwrapped(module.module)
    original = module.__dict__.get("_orig_mod", module._modules.get("_orig_mod"))  # torch.compile's OptimizedModule
    return module if original is None else _unwrapped(original)


def _remember_tensors(part: nn.Module, memo: dict[int, object]) -> None:
    """Tell ``copy.deepcopy`` what to use in place of each tensor that a module holds directly."""
    for parameter in part._parameters.values():
        if parameter is None or id(parameter) in memo:
            continue
        if nn.parameter.is_lazy(parameter):
            raise UserError("The model has lazy layers that are not initialised yet; run it once on an image first.")
        if parameter.is_meta:
            raise UserError(_NO_WEIGHTS)
        # An inference tensor can take part in no backward pass, so it must be cloned.
        data = parameter.detach().clone() if parameter.is_inference() else parameter.detach()
        memo[id(parameter)] = nn.Parameter(data, requires_grad=False)
    for value in (*part._buffers.values(), *vars(part).values()):
        # vars: weight_norm and friends keep computed, non-leaf tensors as plain attributes.
        if isinstance(value, Tensor) and id(value) not in memo:
            memo[id(value)] = value.detach().clone()
