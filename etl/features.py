"""Penultimate features: what goes into a classifier's last layer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from torch.utils.hooks import RemovableHandle


def last_layer(module: nn.Module, example: Tensor, outputs: int) -> str | None:
    """Find a classifier's last layer by watching one forward pass.

    That is the linear layer executed last that has one output per class; where there is none, the last such convolution
    (SqueezeNet).

    Parameters
    ----------
    module
        In evaluation mode.
    example
        Its input for one image, (1, 3, H, W).
    outputs
        Number of classes.

    Returns
    -------
    str or None
        Its name in ``module.named_modules()``; None if there is no such layer.
    """
    executed: list[tuple[str, nn.Module]] = []
    handles = [
        child.register_forward_pre_hook(lambda m, _args, name=name: executed.append((name, m)))
        for name, child in module.named_modules()
        if isinstance(child, (nn.Linear, nn.Conv2d))
    ]
    try:
        with torch.inference_mode():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    linear = [name for name, m in executed if isinstance(m, nn.Linear) and m.out_features == outputs]
    convolution = [name for name, m in executed if isinstance(m, nn.Conv2d) and m.out_channels == outputs]
    found = linear or convolution
    return found[-1] if found else None


class FeatureTap:
    """Records the input of a classifier's last layer during forward passes, while it is open.

    Parameters
    ----------
    module
        The classifier.
    layer
        Name of its last layer, see :func:`last_layer`; None takes the logits.
    """

    def __init__(self, module: nn.Module, layer: str | None) -> None:
        self.layer = layer
        self._module = module
        self._handle: RemovableHandle | None = None
        self._input: Tensor | None = None

    def __enter__(self) -> FeatureTap:
        if self.layer is not None:
            self._handle = self._module.get_submodule(self.layer).register_forward_pre_hook(self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._input = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Leave the module without a hook for a while."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def take(self, logits: Tensor) -> Tensor:
        """Return the features of the last forward pass, float32, shape (B, d); maps and token sequences are averaged.

        Parameters
        ----------
        logits
            What the pass returned.
        """
        x, self._input = (logits if self._input is None else self._input), None
        if x.ndim == 4:
            x = x.mean(dim=(2, 3))
        elif x.ndim == 3:
            x = x.mean(dim=1)
        return x.flatten(1).float()

    def _record(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        # A copy: nobody who watched the pass knows that this is read after it.
        self._input = arguments[0].clone()
