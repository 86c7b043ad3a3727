"""What a model costs: parameters, floating-point operations, time for one image."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module) -> int:
    """Count trainable and frozen parameters, shared ones once; buffers are not parameters."""
    return sum(p.numel() for p in module.parameters())


def flops(module: nn.Module, example: Tensor) -> int:
    """Count the floating-point operations of one image's forward pass.

    A multiply-accumulate counts as two operations, and only convolutions, matrix products and attention count, as in
    :mod:`torch.utils.flop_counter`: ResNet-50 at 224 x 224 has 8.2e9, twice the 4.1 billion multiply-accumulates that
    papers call "4.1 GFLOPs".

    Parameters
    ----------
    module
        In evaluation mode.
    example
        The module's input for one image, (1, 3, H, W).
    """
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(example)
    return int(counter.get_total_flops())


def latency_ms(module: nn.Module, example: Tensor, seconds: float = 0.3, repeats: int = 20) -> float:
    """Measure the median time of one image's forward pass, in milliseconds, after one pass to warm up.

    Parameters
    ----------
    module
        In evaluation mode.
    example
        The module's input for one image, (1, 3, H, W), on the module's device.
    seconds
        No further pass is started after this time, but at least three are made.
    repeats
        Largest number of passes.
    """
    times: list[float] = []
    with torch.inference_mode():
        _run(module, example)
        end = time.perf_counter() + seconds
        while len(times) < 3 or (len(times) < repeats and time.perf_counter() < end):
            start = time.perf_counter()
            _run(module, example)
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def _run(module: nn.Module, example: Tensor) -> None:
    module(example)
    if example.is_cuda:
        torch.cuda.synchronize(example.device)
